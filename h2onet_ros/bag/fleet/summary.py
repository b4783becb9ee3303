"""One result of many: sums of counts, and means weighted by what they are means of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from h2onet_ros.bag.evaluation.scores import classification_scores, detection_scores, ratio
from h2onet_ros.bag.fleet.jobs import Job, JobResult

FORMAT = 1


def summarise(
    jobs: Sequence[Job], results: Sequence[JobResult], seconds: float, workers: str
) -> dict[str, Any]:
    """What recordings.json holds: a row for each recording, and all of them together.

    Args:
        jobs, results: in the same order.
        seconds: from the first job's start to the last one's end.
        workers: where they ran, in words.
    """
    rows = [
        {
            "name": job.name,
            "bag": job.bag,
            "out": job.out,
            "status": result.status,
            "attempts": result.attempts,
            "problems": result.problems,
            "seconds": (result.timings or {}).get("seconds"),
            "metrics": result.metrics,
        }
        for job, result in zip(jobs, results)
    ]
    counts = {
        status: sum(row["status"] == status for row in rows)
        for status in dict.fromkeys(r.status for r in results)
    }
    return {
        "format": FORMAT,
        "recordings": rows,
        "statuses": counts,
        "seconds": seconds,
        "workers": workers,
        "settings": jobs[0].settings.as_dict() if jobs else {},
        "total": merge_metrics([result.metrics for result in results if result.metrics]),
    }


def merge_metrics(all_metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The metrics of several recordings as if they were one; see docs/architecture.md for the entries.

    Means of pairs of hands are exact. `stability` is a mean of the recordings, weighted by their hands.
    Tracks are not listed: ids of different recordings say nothing together.
    """
    images, with_hands = _sum(all_metrics, "images"), _sum(all_metrics, "images_with_hands")
    hands = [metrics["hands"] for metrics in all_metrics]
    accuracies = [metrics["accuracy"] for metrics in all_metrics if metrics.get("accuracy")]
    stabilities = [metrics.get("stability", {}) for metrics in all_metrics]
    return {
        "images": images,
        "images_unreadable": _sum(all_metrics, "images_unreadable"),
        "images_with_hands": with_hands,
        "coverage": ratio(with_hands, images),
        "hands": sum(hands),
        "tracks": sum(len(metrics["tracks"]) for metrics in all_metrics),
        "stability": {
            name: _mean([stability.get(name) for stability in stabilities], hands)
            for name in (stabilities[0] if stabilities else {})
        },
        "accuracy": _merge_accuracy(accuracies) if accuracies else None,
    }


def _merge_accuracy(accuracies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    parts = [accuracy["detection"] for accuracy in accuracies]
    images, hands = _sum(accuracies, "images"), _sum(accuracies, "hands")
    found, false, switches = (_sum(parts, name) for name in ("found", "false", "id_switches"))
    same_side = round(sum((part["handedness_accuracy"] or 0) * part["found"] for part in parts))
    return {
        "images": images,
        "images_without_truth": _sum(accuracies, "images_without_truth"),
        "hands": hands,
        "detection": detection_scores(images, hands, found, false, same_side, switches),
        "errors": {
            level: _merge_errors([accuracy["errors"][level] for accuracy in accuracies])
            for level in accuracies[0]["errors"]
        },
        "occlusion": {
            part: _merge_counts([accuracy["occlusion"][part] for accuracy in accuracies])
            for part in accuracies[0]["occlusion"]
        },
    }


def _merge_errors(errors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    hands = [each["hands"] for each in errors]
    names = [name for name in errors[0] if name != "hands"]
    return {"hands": sum(hands)} | {name: _mean([each[name] for each in errors], hands) for name in names}


def _merge_counts(counts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    return classification_scores(*(_sum(counts, name) for name in names))


def _sum(entries: Sequence[dict[str, Any]], name: str) -> int:
    return sum(entry[name] for entry in entries)


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Of the values that are known."""
    known = [(value, weight) for value, weight in zip(values, weights) if value is not None and weight]
    return sum(v * w for v, w in known) / sum(w for _, w in known) if known else None
