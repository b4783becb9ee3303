"""Makes and renews the project's virtual environment: `python3 tools/environment.py {runtime,test}`.

Each step keeps a stamp with the hash of all it depends on, so a second call does nothing. Without a sourced
ROS 2 the environment holds ROS 2's PyPI wheels; with one it sees the sourced one. Standard library only.
"""

from __future__ import annotations

import argparse
import ctypes.util
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMPS = VENV / "h2onet_setup"
BUILD = ROOT / "build"
LOG = BUILD / "setup.log"
EXTRAS = {"runtime": "", "test": "[test,train,openvino,ray,tensorrt,int8]"}
WHEEL_PYTHONS = ((3, 10), (3, 13))
OFFLINE = re.compile("NewConnectionError|ConnectTimeoutError|ProxyError|SSLError|Network is unreachable")
OFFLINE_HINT = (
    " pip did not reach a package index. Connect this machine for the first set-up, name the proxy in "
    "HTTPS_PROXY, or a mirror in PIP_INDEX_URL; then call make again, which goes on from here."
)


class SetupError(Exception):
    """Set-up cannot go on; the text tells the user what to do."""


@dataclass(frozen=True)
class SystemNeed:
    """One thing that the operating system must bring, and the Debian/Ubuntu package that holds it."""

    package: str
    level: str
    present: Callable[[], bool]


def _has_module(name: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode == 0


def _has_headers() -> bool:
    return (Path(sysconfig.get_path("include")) / "Python.h").exists()


def _has_software_gl() -> bool:
    folders = [Path("/usr/lib"), Path("/usr/lib64")]
    return any(next(folder.glob("**/dri/*swrast*_dri.so"), None) for folder in folders if folder.exists())


SYSTEM_NEEDS = (
    SystemNeed("python3-venv", "runtime", lambda: _has_module("ensurepip, venv")),
    SystemNeed("python3-dev", "runtime", _has_headers),
    SystemNeed("g++", "runtime", lambda: shutil.which("g++") is not None),
    SystemNeed("make", "runtime", lambda: shutil.which("make") is not None),
    SystemNeed("cmake", "runtime", lambda: shutil.which("cmake") is not None),
    SystemNeed("libegl1", "test", lambda: ctypes.util.find_library("EGL") is not None),
    SystemNeed("libgl1", "test", lambda: ctypes.util.find_library("GL") is not None),
    SystemNeed("libgl1-mesa-dri", "test", _has_software_gl),
)


def missing_packages(level: str) -> list[str]:
    """Names of the Debian/Ubuntu packages that `level` needs and this machine lacks."""
    return [
        need.package for need in SYSTEM_NEEDS if (need.level in ("runtime", level)) and not need.present()
    ]


def sourced_ros() -> str | None:
    """Name of the ROS 2 distribution that is sourced, or None."""
    distro, prefixes = os.environ.get("ROS_DISTRO"), os.environ.get("AMENT_PREFIX_PATH")
    return distro if distro and prefixes else None


def digest(*parts: str | Path) -> str:
    """Hash of texts and of the contents of files and folders."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            sha.update(part.encode())
            continue
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if path.is_file():
                sha.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return sha.hexdigest()


class Setup:
    """The steps, in order. Each is skipped while its stamp holds the hash of its inputs."""

    def __init__(self, level: str) -> None:
        self.level = level
        self.ros = sourced_ros()
        self.mode = f"ros {self.ros}" if self.ros else "wheels"
        self.key = digest(self.mode, sys.version)
        self.environment = {
            **os.environ,
            "VIRTUAL_ENV": str(VENV),
            "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        # The wheels restart Python with their library path, and mark that in the environment; the mark of
        # another environment's Python would keep this one's from doing the same.
        self.environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
        self.environment.pop("PYTHONHOME", None)

    def run(self) -> None:
        """Bring the environment up to date."""
        self._check_python()
        if not STAMPS.exists():
            print(f"[setup] the first set-up takes minutes; what its steps print goes to {LOG}", flush=True)
        self._step("venv", "virtual environment", self.key, self._make_venv)
        if not self.ros:
            wheels = ROOT / "requirements" / "ros_wheels.txt"
            self.key = digest(self.key, wheels)
            self._step("ros", "ROS 2 wheels", self.key, lambda: self._pip("-r", str(wheels)))
        messages = ROOT / "h2onet_msgs"
        self._step("messages", "h2onet_msgs", digest(self.key, messages), self._build_messages)
        key = digest(self.key, ROOT / "setup.py", ROOT / "constraints.txt", EXTRAS[self.level])
        self._step(self.level, f"Python packages ({self.level})", key, self._install_package)

    def _check_python(self) -> None:
        oldest, newest = WHEEL_PYTHONS
        version = sys.version_info[:2]
        if self.ros:
            if not _has_module("rclpy"):
                raise SetupError(
                    f"ROS 2 {self.ros} is sourced, but {sys.executable} cannot import rclpy. "
                    "Use the Python that this ROS was built for, e.g. `make PYTHON=/usr/bin/python3 ...`."
                )
        elif not oldest <= version <= newest:
            raise SetupError(
                f"ROS 2's wheels exist for Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}, "
                f"this is {version[0]}.{version[1]} ({sys.executable}). Name another one, e.g. "
                "`make PYTHON=python3.11 ...`, or source a ROS 2 installation."
            )
        missing = missing_packages(self.level)
        if missing:
            raise SetupError(
                f"This machine lacks {', '.join(missing)}. On Debian or Ubuntu install with\n"
                f"    sudo apt-get install --no-install-recommends {' '.join(missing)}"
            )

    def _step(self, name: str, title: str, key: str, action: Callable[[], None]) -> None:
        stamp = STAMPS / name
        if stamp.exists() and stamp.read_text() == key:
            return
        print(f"[setup] {title} ...", end=" ", flush=True)
        started = time.monotonic()
        action()
        STAMPS.mkdir(parents=True, exist_ok=True)
        stamp.write_text(key)
        print(f"{time.monotonic() - started:.0f} s", flush=True)

    def _call(self, command: Iterable[str | Path]) -> None:
        BUILD.mkdir(exist_ok=True)
        arguments = [str(part) for part in command]
        start = LOG.stat().st_size if LOG.exists() else 0
        with LOG.open("a") as log:
            log.write(f"\n$ {' '.join(arguments)}\n")
            log.flush()
            failed = subprocess.run(
                arguments, env=self.environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            ).returncode
        if failed:
            print("failed", flush=True)
            output = LOG.read_bytes()[start:].decode(errors="replace")
            tail = "\n".join(output.splitlines()[-15:])
            hint = OFFLINE_HINT if OFFLINE.search(output) else ""
            raise SetupError(f"{tail}\n\nA set-up step failed; its whole output is in {LOG}.{hint}")

    def _pip(self, *arguments: str) -> None:
        constraints: list[str | Path] = ["-c", ROOT / "constraints.txt"]
        if self.ros:
            constraints += ["-c", self._numpy_of_ros()]
        self._call([VENV / "bin" / "python", "-m", "pip", "install", "-q", *constraints, *arguments])

    def _numpy_of_ros(self) -> Path:
        """A constraints file with the NumPy that the sourced ROS's messages were compiled for."""
        program = "import numpy; print(numpy.__version__)"
        asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        if asked.returncode:
            raise SetupError(
                f"{sys.executable} cannot import numpy, which ROS 2 needs: install python3-numpy."
            )
        path = BUILD / "ros_constraints.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"numpy=={asked.stdout.strip()}\n")
        return path

    def _make_venv(self) -> None:
        options = ["--system-site-packages"] if self.ros else []
        # An environment of another Python or ROS cannot be mended; one without stamps is used as it is.
        if STAMPS.exists():
            options.append("--clear")
        self._call([sys.executable, "-m", "venv", *options, VENV])

    def _build_messages(self) -> None:
        build = BUILD / "h2onet_msgs"
        shutil.rmtree(build, ignore_errors=True)
        self._call(["cmake", "-S", ROOT / "h2onet_msgs", "-B", build, f"-DCMAKE_INSTALL_PREFIX={VENV}"])
        self._call(["cmake", "--build", build, "--target", "install", "--parallel", str(os.cpu_count() or 1)])

    def _install_package(self) -> None:
        self._pip("-e", f"{ROOT}{EXTRAS[self.level]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("level", choices=sorted(EXTRAS), help="runtime: node and demo; test: all of it")
    parser.add_argument("--missing", action="store_true", help="only print the apt packages that are missing")
    arguments = parser.parse_args()
    if arguments.missing:
        print(" ".join(missing_packages(arguments.level)))
        return 0
    try:
        Setup(arguments.level).run()
    except (SetupError, OSError) as error:  # OSError: a full disk, a checkout of somebody else's
        print(f"[setup] {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n[setup] interrupted; the next call goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
