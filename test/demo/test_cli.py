"""The command `h2onet`."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from h2onet_ros import cli

ROOT = Path(__file__).parents[2]


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT)


def run(*arguments):
    return python("-m", "h2onet_ros.cli", *arguments)


def test_help_names_every_command_and_imports_none_of_them():
    program = "import sys; from h2onet_ros.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    program += "print([name for name in ('numpy', 'cv2', 'rclpy', 'torch') if name in sys.modules])"
    result = python("-c", program)
    assert all(f"\n  {name} " in result.stdout for name in cli.COMMANDS)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name):
    result = run(name, "--help")
    assert result.returncode == 0 and "usage" in result.stdout
    assert callable(importlib.import_module(cli.COMMANDS[name][0]).main)


def test_exit_codes_are_passed_on():
    result = run("demo", "--video", "nowhere.mp4")
    assert result.returncode == 2 and "nothing is there" in result.stderr


def test_an_unknown_command_is_refused():
    result = run("juggle")
    assert result.returncode == 2 and "'juggle'" in result.stderr
