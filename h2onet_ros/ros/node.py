"""The program `hand_mesh_node`: how it starts, ends and fails. What it does is in `hand_node`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

EXIT_OK, EXIT_FAILURE = 0, 1


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop (SIGINT, SIGTERM) or cannot go on.

    Returns:
        0 if it was told to stop, 1 after an error, which is printed as one message.
    """
    # Until rclpy has its own handlers, SIGTERM is to end the start-up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(args)
    except KeyboardInterrupt:
        return EXIT_OK


def _run(args: Sequence[str] | None) -> int:
    # Imports take most of the start-up; inside `main` an interruption of them is no stack trace either.
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.logging import get_logger

    from h2onet_ros.engines.base import EngineError
    from h2onet_ros.engines.bundle import BundleError
    from h2onet_ros.ros.hand_node import HandMeshNode
    from h2onet_ros.ros.parameters import ParameterError

    node = None
    try:
        rclpy.init(args=args)
        node = HandMeshNode()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (BundleError, EngineError, ParameterError) as error:
        get_logger("hand_mesh_node").fatal(str(error))
        return EXIT_FAILURE
    finally:
        # A second Ctrl-C must not interrupt the cleaning up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        summary = node.close() if node else None
        rclpy.try_shutdown()
    if node and node.failure:
        get_logger("hand_mesh_node").fatal(f"stopped by an error: {node.failure!r}")
        return EXIT_FAILURE
    if summary:
        get_logger("hand_mesh_node").info(summary)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
