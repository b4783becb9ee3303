"""Scores of counts: of one evaluation, and of the counts of several together."""

from __future__ import annotations


def ratio(part: float, whole: float) -> float | None:
    """A share; None of nothing."""
    return part / whole if whole else None


def detection_scores(
    images: int, hands: int, found: int, false: int, same_side: int, id_switches: int
) -> dict[str, float | None]:
    """How completely hands were found; see `docs/architecture.md`.

    Args:
        images: how many there are.
        hands: true ones in them.
        found: true ones that were found.
        false: found ones that are not there.
        same_side: of `found`, those with the right handedness.
        id_switches: how often a true hand changed its identity.
    """
    missed = hands - found
    return {
        "found": found,
        "missed": missed,
        "false": false,
        "recall": ratio(found, hands),
        "precision": ratio(found, found + false),
        "f1": ratio(2 * found, hands + found + false),
        "false_per_image": ratio(false, images),
        "handedness_accuracy": ratio(same_side, found),
        "id_switches": id_switches,
        "mota": 1 - (missed + false + id_switches) / hands if hands else None,
    }


def classification_scores(
    true_negatives: int, false_positives: int, false_negatives: int, true_positives: int
) -> dict[str, float | None]:
    """Precision, recall and F1 of a yes-or-no question, and the counts."""
    return {
        "precision": ratio(true_positives, true_positives + false_positives),
        "recall": ratio(true_positives, true_positives + false_negatives),
        "f1": ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
        "true_positives": true_positives,
        "false_positives": false_positives,
        "false_negatives": false_negatives,
        "true_negatives": true_negatives,
    }
