"""The program `hand_mesh_node`: how it starts, ends and fails. What it does is in `hand_node`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop (SIGINT, SIGTERM) or cannot go on.

    Returns:
        0 if it was told to stop; after an error, which is printed as one message, 2 for arguments that ROS
        does not understand and 1 for any other.
    """
    # SIGTERM is to end the start-up as Ctrl-C does; and a shell's background job starts with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return _run(args)
    except KeyboardInterrupt:
        return EXIT_OK
    except ModuleNotFoundError as error:
        print(
            f"hand_mesh_node: expected the Python module {error.name}, but it cannot be found. Source ROS 2 "
            "and the workspace that h2onet_msgs was built in, or the checkout's tools/ros_env.sh.",
            file=sys.stderr,
        )
        return EXIT_FAILURE


def _run(args: Sequence[str] | None) -> int:
    # Imports take most of the start-up; inside `main` an interruption of them is no stack trace either.
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.logging import get_logger

    from h2onet_ros.engines import BundleError, EngineError
    from h2onet_ros.perception.network import NetworkError
    from h2onet_ros.ros.hand_node import HandMeshNode
    from h2onet_ros.ros.parameters import ParameterError

    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # rclpy's own errors have no public names.
        print(f"hand_mesh_node: wrong arguments: {error}", file=sys.stderr)
        return EXIT_USAGE
    node = None
    try:
        node = HandMeshNode()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (BundleError, EngineError, NetworkError, ParameterError) as error:
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
