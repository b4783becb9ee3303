"""Where installed files lie, and the environment of processes that talk over DDS on this machine alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def config_path(name: str) -> Path:
    """A file of `config/`, from the checkout or from where the package is installed.

    Raises:
        FileNotFoundError: if it is in neither.
    """
    folders = [CHECKOUT / "config"]
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        folders.append(Path(prefix) / "share" / "h2onet_ros" / "config")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"expected {name} in one of {', '.join(map(str, folders))}; source the workspace that has h2onet_ros"
    )


def local_environment(base: Mapping[str, str] | None = None, domain_id: int | None = None) -> dict[str, str]:
    """Environment for a child process whose DDS traffic stays on this machine and carries whole images.

    Args:
        base: what to start from; the present environment if None. What it sets already is kept.
        domain_id: ROS domain of the child; the one in `base` if None.
    """
    environment = dict(os.environ if base is None else base)
    # Kept, it would tell a child of another virtual environment that its library path was already set.
    environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if environment.get("ROS_DISTRO") == "humble":
        environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    profiles = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if not any(environment.get(name) for name in profiles):
        # Up to Jazzy the old name; later ones complain about it on every start.
        name = profiles[environment.get("ROS_DISTRO") in ("humble", "jazzy")]
        environment[name] = str(config_path("fastdds_shm.xml"))
    if domain_id is not None:
        environment["ROS_DOMAIN_ID"] = str(domain_id)
    return environment
