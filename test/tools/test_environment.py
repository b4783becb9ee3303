"""What `make` does before anything else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = CHECKOUT / "tools" / "environment.py"


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """The program as a module, working in a folder of the test."""
    spec = importlib.util.spec_from_file_location("environment_tool", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for name in ("ROS_DISTRO", "AMENT_PREFIX_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, path in {"ROOT": "", "VENV": ".venv", "STAMPS": ".venv/stamps", "BUILD": "build"}.items():
        monkeypatch.setattr(module, name, tmp_path / path)
    monkeypatch.setattr(module, "LOG", tmp_path / "build" / "setup.log")
    return module


def run(**environment: str) -> subprocess.CompletedProcess:
    kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    # The Python that the virtual environment was made from: a user's own, without this project's packages.
    python = str(Path(sys.base_prefix) / "bin" / "python3")
    return subprocess.run(
        [python, str(PROGRAM), "runtime"], env=kept | environment, capture_output=True, text=True
    )


def test_missing_programs_are_named_with_the_command_that_installs_them(tmp_path):
    done = run(PATH=str(tmp_path))
    assert done.returncode == 1
    assert "apt-get install --no-install-recommends g++ make cmake" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sourced_ros_that_python_cannot_import_is_told_of():
    done = run(ROS_DISTRO="humble", AMENT_PREFIX_PATH="/opt/ros/humble")
    assert done.returncode == 1
    assert "ROS 2 humble is sourced" in done.stderr and "cannot import rclpy" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_without_wheels_is_told_of(tool, monkeypatch):
    monkeypatch.setattr(tool.sys, "version_info", (3, 9, 1))
    with pytest.raises(tool.SetupError, match=r"3\.10 to 3\.13, this is 3\.9 .*PYTHON="):
        tool.Setup("runtime").run()


def test_a_step_is_done_again_only_when_its_inputs_change(tool, capsys):
    setup, done = tool.Setup("runtime"), []
    for key in ("one", "one", "two", "one"):
        setup._step("step", "a step", key, lambda key=key: done.append(key))
    assert done == ["one", "two", "one"]
    assert capsys.readouterr().out.count("[setup] a step") == 3


def test_a_step_that_failed_is_tried_again(tool):
    setup, tries = tool.Setup("runtime"), []

    def fail_once() -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            setup._call([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])

    with pytest.raises(tool.SetupError, match=r"the reason[\s\S]*setup\.log"):
        setup._step("step", "a step", "key", fail_once)
    setup._step("step", "a step", "key", fail_once)
    setup._step("step", "a step", "key", fail_once)
    assert tries == [0, 1]


def test_a_machine_without_a_network_is_told_what_to_do(tool, monkeypatch):
    setup = tool.Setup("runtime")
    # Nobody listens on this port.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    nowhere |= {"PIP_RETRIES": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    for name, value in nowhere.items():
        monkeypatch.setitem(setup.environment, name, value)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "h2onet-no-such-package"]
    with pytest.raises(tool.SetupError, match=r"did not reach a package index.*PIP_INDEX_URL"):
        setup._call(command)
    with pytest.raises(tool.SetupError) as error:
        setup._call([sys.executable, "-c", "raise SystemExit(1)"])
    assert "PIP_INDEX_URL" not in str(error.value)


def test_the_hash_follows_names_and_contents(tool, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = tool.digest("x", folder)
    assert tool.digest("x", folder) == first != tool.digest("y", folder)
    (folder / "a").write_text("2")
    changed = tool.digest("x", folder)
    shutil.move(folder / "a", folder / "b")
    assert len({first, changed, tool.digest("x", folder)}) == 3


def test_a_sourced_ros_keeps_its_numpy(tool, monkeypatch):
    import numpy

    monkeypatch.setenv("ROS_DISTRO", "humble")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/humble")
    setup, calls = tool.Setup("runtime"), []
    monkeypatch.setattr(setup, "_call", lambda command: calls.append([str(part) for part in command]))
    setup._pip("something")
    constraints = calls[0][calls[0].index("something") - 1]
    assert Path(constraints).read_text() == f"numpy=={numpy.__version__}\n"
