"""Children that end well, badly, or not at all; domains that are free."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from h2onet_ros.ros.domain import reserved_domain
from h2onet_ros.ros.supervisor import Supervisor, explain_exit

STUBBORN = """
import signal, sys, json
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print(json.dumps({"event": "up"}), flush=True)
sys.stdin.read()
signal.pause()
"""


def start(children, tmp_path, name, program):
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return children.start(name, command, os.environ, tmp_path / "logs" / f"{name}.log")


def wait_for(children, kind):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        event = children.next_event(0.5)
        if event and event.kind == kind:
            return event
    raise AssertionError(f"no event {kind}")


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_events_and_exit_codes_are_passed_on(tmp_path):
    with Supervisor() as children:
        child = start(
            children,
            tmp_path,
            "talker",
            """
            import json, sys
            print("not for us")
            print(json.dumps({"event": "said", "line": sys.stdin.readline().strip()}), flush=True)
            print("a cause", file=sys.stderr)
            sys.exit(3)
            """,
        )
        child.send_line("hello")
        assert wait_for(children, "said").values == {"line": "hello"}
        assert wait_for(children, "exit").values == {"code": 3}
        assert child.exit_code == 3 and child.last_words() == "a cause" and not child.was_told_to_stop


def test_the_fatal_message_of_a_ros_log_is_its_last_word(tmp_path):
    with Supervisor() as children:
        child = start(
            children,
            tmp_path,
            "node",
            """
            import sys
            print("[INFO] [1.5] [n]: fine\\n[FATAL] [2.5] [n]: no weights\\nTraceback", file=sys.stderr)
            """,
        )
        wait_for(children, "exit")
        assert child.last_words() == "no weights"


def test_a_child_that_ignores_signals_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "h2onet_ros.ros.supervisor.PATIENCE",
        ((signal.SIGINT, 0.1), (signal.SIGTERM, 0.1), (signal.SIGKILL, 10.0)),
    )
    with Supervisor() as children:
        child = start(children, tmp_path, "stubborn", STUBBORN)
        wait_for(children, "up")
    assert child.exit_code == -signal.SIGKILL and is_gone(child.pid)


def test_a_second_signal_makes_it_urgent(tmp_path):
    with Supervisor() as children:
        child = start(children, tmp_path, "stubborn", STUBBORN)
        wait_for(children, "up")
        before = time.monotonic()
        children.stop(["stubborn"], is_urgent=lambda: True)
        assert child.exit_code == -signal.SIGKILL and time.monotonic() - before < 5


def test_children_die_with_a_parent_that_is_killed(tmp_path):
    program = textwrap.dedent(
        """
        import os, pathlib, sys
        from h2onet_ros.ros.supervisor import Supervisor
        sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
        child = Supervisor().start("sleeper", sleeper, os.environ, pathlib.Path(sys.argv[1]))
        print(child.pid, flush=True)
        sys.stdin.read()
        """
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as parent:
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        parent.kill()
        # Becomes readable when the process ends.
        import select

        assert select.select([handle], [], [], 30)[0]
        os.close(handle)


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (-9, "want of memory"), (-11, "SIGSEGV"), (-15, "SIGTERM"), (-99, "signal 99")],
)
def test_exit_codes_are_explained(code, words):
    assert words in explain_exit(code)


def test_reserved_domains_differ_and_avoid_taken_ports():
    with reserved_domain() as first, reserved_domain() as second:
        assert first != second


def test_a_domain_whose_port_is_taken_is_not_given_out(monkeypatch):
    with reserved_domain() as domain:
        # One that no fixture keeps for itself.
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("", 7400 + 250 * domain + 10))
        monkeypatch.setattr("h2onet_ros.ros.domain.DOMAINS", [domain])
        with pytest.raises(RuntimeError, match="Expected a free ROS domain"), reserved_domain():
            pass
    with reserved_domain() as free:
        assert free == domain
