"""The program `hand_mesh_node`: how it starts, ends and fails. What it does is in `hand_node`."""

from __future__ import annotations

import signal
import sys

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop (SIGINT, SIGTERM) or cannot go on.

    Returns:
        0 if it was told to stop; after an error, which is printed as one message, 2 for arguments that ROS
        does not understand and 1 for any other.
    """
    # An exception in the middle of an import would come out as the imported library's own error: during the
    # start-up a signal is only remembered. Later rclpy's handlers end the spinning, and call these.
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    try:
        return _run(args, signals)
    except ModuleNotFoundError as error:
        print(
            f"hand_mesh_node: expected the Python module {error.name}, but it cannot be found. Source ROS 2 "
            "and the workspace that h2onet_msgs was built in, or the checkout's tools/ros_env.sh.",
            file=sys.stderr,
        )
        return EXIT_FAILURE


def _run(args: list[str] | None, signals: list[int]) -> int:
    # Most of the start-up is imports; signals are to be handled before them.
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.logging import get_logger

    from h2onet_ros.engines import BundleError, EngineError
    from h2onet_ros.perception.network import NetworkError
    from h2onet_ros.ros.hand_node import HandMeshNode
    from h2onet_ros.ros.parameters import ParameterError

    logger = get_logger("hand_mesh_node")
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # rclpy's own errors have no public names.
        print(f"hand_mesh_node: wrong arguments: {error}", file=sys.stderr)
        return EXIT_USAGE
    node = None
    try:
        # A signal that came before rclpy had its handlers has not taken the context away.
        if not signals:
            node = HandMeshNode()
            if node.parameters.autostart:
                node.start()
            rclpy.spin(node)
    except ExternalShutdownException:
        pass
    except (BundleError, EngineError, NetworkError, ParameterError) as error:
        logger.fatal(str(error))
        return EXIT_FAILURE
    except Exception:
        # A signal takes the context away, also from a node that is still being made.
        if not signals and rclpy.ok():
            raise
    finally:
        summary = node.close() if node else ""
        rclpy.try_shutdown()
    if summary:
        logger.info(summary)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
