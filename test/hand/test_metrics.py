"""Errors of hands: alignment, distances, AUC, F-score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from h2onet_ros.hand import metrics

PARITY = Path(__file__).resolve().parents[2].parent / "shared" / "parity"


@pytest.mark.skipif(not PARITY.is_dir(), reason="no shared/parity beside the checkout")
def test_alignment_equals_the_reference():
    with np.load(PARITY / "procrustes_case.npz") as case:
        aligned = metrics.procrustes_align(case["source"], case["target"])
        assert np.abs(aligned - case["aligned"]).max() <= 1e-4 * case["aligned"].std()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10.0))
def test_alignment_undoes_any_similarity(seed, scale):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(2, 21, 3))
    rotation = Rotation.random(random_state=seed).as_matrix()
    source = scale * target @ rotation.T + rng.normal(size=3)
    np.testing.assert_allclose(metrics.procrustes_align(source, target), target, atol=1e-9)


def test_alignment_does_not_mirror():
    target = np.random.default_rng(0).normal(size=(21, 3))
    mirrored = target * [-1.0, 1.0, 1.0]
    assert metrics.pa_mean_distance(mirrored, target) > 0.1


def test_a_collapsed_source_lands_on_the_mean():
    target = np.random.default_rng(0).normal(size=(21, 3))
    aligned = metrics.procrustes_align(np.zeros((21, 3)), target)
    np.testing.assert_allclose(aligned, np.broadcast_to(target.mean(0), (21, 3)))


def test_mean_distance_is_the_mean_of_the_points():
    truth = np.zeros((2, 3, 3))
    predicted = truth + np.array([3.0, 4.0, 0.0])
    predicted[1, 0] = 0.0
    np.testing.assert_allclose(metrics.mean_distance(predicted, truth), [5.0, 10.0 / 3.0])


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.0, 1.0), (0.025, 0.5), (0.1, 0.0)],
    ids=["perfect", "half the range", "outside"],
)
def test_auc_of_equal_errors(error, expected):
    assert metrics.auc(np.full((4, 21), error)) == pytest.approx(expected, abs=0.006)


def test_f_score_counts_both_directions():
    truth = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]])
    # Precision 1, recall 1/2.
    assert metrics.f_score(truth[:2] + 0.001, truth, 0.005) == pytest.approx(2 / 3)
    assert metrics.f_score(truth + 5.0, truth, 0.005) == 0.0


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        metrics.mean_distance(np.zeros((21, 3)), np.zeros((20, 3)))
