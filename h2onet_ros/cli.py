"""`h2onet`: one command for what is not a ROS node.

Each subcommand is a module with `main(arguments) -> exit code`, imported when it is called: most need
packages that the others do not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "photos": ("h2onet_ros.photos.command", "hands of photographs: overlays, joints, meshes"),
    "evaluate-bag": ("h2onet_ros.bag.evaluate", "hands of a recording, without ROS, with figures"),
    "compare": ("h2onet_ros.bag.comparison.command", "two evaluations of one recording side by side"),
    "make-bag": ("h2onet_ros.bag.make_bag", "a recording of a video, of pictures, or of rendered hands"),
    "demo": ("h2onet_ros.ros.demo", "a camera, the hand node and a recorder, over DDS on this machine"),
    "weights": ("h2onet_ros.weights", "weights bundles: info, export, import of published checkpoints"),
}
"""Subcommand: the module that does it, and what it does."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit code."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "h2onet",
        description="3D hand meshes from an RGB camera.",
        epilog=f"commands:\n{lines}\n\nh2onet <command> --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the command takes")
    parsed = parser.parse_args(args)
    return int(import_module(COMMANDS[parsed.command][0]).main(parsed.arguments))


if __name__ == "__main__":
    sys.exit(main())
