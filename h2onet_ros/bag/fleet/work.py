"""What a worker does with a job."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from h2onet_ros.bag.fleet.jobs import Job, JobResult


def run_job(
    job: Job,
    on_progress: Callable[[int, int | None], None],
    is_interrupted: Callable[[], bool],
) -> JobResult:
    """Evaluate one recording; whatever goes wrong is in the result, so that it does not stop the others.

    Args:
        job: what to do.
        on_progress: told images done and images expected (None: unknown).
        is_interrupted: asked between images.
    """
    # Not before: the process that only hands out jobs needs none of it.
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.evaluation.run import evaluate
    from h2onet_ros.engines import BundleError, EngineError
    from h2onet_ros.perception.camera import CameraError
    from h2onet_ros.perception.network import NetworkError

    try:
        result = evaluate(
            job.bag, job.out, job.settings, is_interrupted=is_interrupted, on_progress=on_progress
        )
    except (BagError, BundleError, CameraError, EngineError, NetworkError) as error:
        return JobResult("failed", [str(error)])
    except Exception as error:
        place = "".join(traceback.format_exception(error)[-2:]).strip()
        return JobResult("failed", [f"A fault of the program, please report it: {place}"])
    if result.is_interrupted:
        return JobResult("interrupted", result.problems, result.metrics, result.timings)
    return JobResult("losses" if result.problems else "done", result.problems, result.metrics, result.timings)
