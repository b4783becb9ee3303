"""Figures against a truth: planted errors, and everything once more computed by other means."""

from itertools import permutations

import numpy as np
import pytest
from hands import CAMERA, make_hand, moved
from independent import aligned, area, f_score
from scipy.spatial.transform import Rotation

from h2onet_ros.bag.evaluation.accuracy import AccuracyMetrics
from h2onet_ros.hand.joints import OCCLUSION_NAMES


def measure(*images):
    """The figures of images, each a list of found and a list of true hands (or None)."""
    metrics = AccuracyMetrics()
    matches = [metrics.add(found, true, CAMERA) for found, true in images]
    return metrics.summary(), matches


def test_a_perfect_answer_has_no_errors():
    true = [make_hand(1, seed=1), make_hand(2, seed=2)]
    summary, _ = measure(*[(list(reversed(true)), true)] * 5)
    everything = summary["errors"]["all"]
    assert everything["hands"] == 10
    for name in ("mpjpe", "mpvpe", "pa_mpjpe", "pa_mpvpe", "wrist_error", "depth_error", "absolute_mpjpe"):
        assert everything[name] == pytest.approx(0, abs=1e-7), name
    assert everything["error_2d"] == 0
    for name in ("auc", "pa_auc", "f_5mm", "f_15mm", "pa_f_5mm", "pa_f_15mm"):
        assert everything[name] == pytest.approx(1, abs=0.006), name  # The curve's first limit is 0.
    found = summary["detection"]
    assert (found["recall"], found["precision"], found["f1"], found["mota"]) == (1, 1, 1, 1)
    assert (found["missed"], found["false"], found["id_switches"], found["handedness_accuracy"]) == (
        0,
        0,
        0,
        1,
    )


def test_planted_errors_come_out_as_planted():
    true = make_hand(seed=3)
    # Ten millimetres too far away, and each joint but the wrist 4 mm off to one side.
    joints = true.joints + np.array([0, 0, 0.010]) + np.where(np.arange(21)[:, None] > 0, [0.004, 0, 0], 0)
    points = moved(true.image_points, 3.0, 4.0)
    summary, _ = measure(
        ([make_hand(7, joints, vertices=moved(true.vertices, 0, 0, 0.010), points=points)], [true])
    )
    errors = summary["errors"]["all"]
    assert errors["mpjpe"] == pytest.approx(0.004 * 20 / 21, rel=1e-4)
    assert errors["wrist_error"] == pytest.approx(0.010, rel=1e-4)
    assert errors["depth_error"] == pytest.approx(0.010, rel=1e-4)
    assert errors["absolute_mpjpe"] == pytest.approx((20 * np.hypot(0.010, 0.004) + 0.010) / 21, rel=1e-4)
    assert errors["mpvpe"] == pytest.approx(0, abs=1e-6)
    assert errors["error_2d"] == pytest.approx(5.0, rel=1e-4)


def test_all_errors_agree_with_an_independent_computation():
    random = np.random.default_rng(0)
    images, pairs = [], []
    for _ in range(12):
        true = [
            make_hand(t, moved(random.uniform(-0.05, 0.05, (21, 3)), x, 0, 0.5))
            for t, x in ((1, -0.1), (2, 0.1))
        ]
        true = [make_hand(t.track_id, t.joints, occlusion=random.integers(0, 2, 6)) for t in true]
        found = []
        for number, hand in enumerate(true):
            turn = Rotation.from_rotvec(random.normal(scale=0.2, size=3))
            scale, shift = random.uniform(0.8, 1.2), random.normal(scale=0.02, size=3)
            centre = hand.joints[0]
            joints = scale * turn.apply(hand.joints - centre) + centre + shift
            vertices = scale * turn.apply(hand.vertices - centre) + centre + shift
            found.append(
                make_hand(
                    10 + number,
                    joints + random.normal(scale=0.005, size=(21, 3)),
                    vertices=vertices + random.normal(scale=0.005, size=vertices.shape),
                    points=hand.image_points + random.normal(scale=4.0, size=(21, 2)),
                    occlusion=random.uniform(size=6),
                )
            )
        order = random.permutation(2)
        images.append(([found[i] for i in order], true))
        pairs += zip(found, true, strict=True)
    summary, _ = measure(*images)

    expected = {name: [] for name in ("mpjpe", "pa_mpjpe", "mpvpe", "pa_mpvpe", "wrist_error", "depth_error")}
    expected |= {name: [] for name in ("error_2d", "f_5mm", "f_15mm", "pa_f_5mm", "pa_f_15mm")}
    distances, distances_aligned = [], []
    for a, b in pairs:
        joints, truth = a.joints - a.joints[0], b.joints - b.joints[0]
        vertices, true_vertices = a.vertices - a.joints[0], b.vertices - b.joints[0]
        distances.append(np.sqrt(((joints - truth) ** 2).sum(1)))
        distances_aligned.append(np.sqrt(((aligned(joints, truth) - truth) ** 2).sum(1)))
        onto = aligned(vertices, true_vertices)
        expected["mpjpe"].append(distances[-1].mean())
        expected["pa_mpjpe"].append(distances_aligned[-1].mean())
        expected["mpvpe"].append(np.sqrt(((vertices - true_vertices) ** 2).sum(1)).mean())
        expected["pa_mpvpe"].append(np.sqrt(((onto - true_vertices) ** 2).sum(1)).mean())
        expected["wrist_error"].append(np.sqrt(((a.joints[0] - b.joints[0]) ** 2).sum()))
        expected["depth_error"].append(abs(a.joints[0, 2] - b.joints[0, 2]))
        expected["error_2d"].append(np.hypot(*(a.image_points - b.image_points).T).mean())
        for limit, name in ((0.005, "f_5mm"), (0.015, "f_15mm")):
            expected[name].append(f_score(vertices, true_vertices, limit))
            expected[f"pa_{name}"].append(f_score(onto, true_vertices, limit))
    levels = {"all": range(len(pairs))}
    hidden = [int((b.occlusion[:5] > 0.5).sum()) for _, b in pairs]
    for name, counts in (("none", [0]), ("some", [1, 2]), ("many", [3, 4, 5])):
        levels[name] = [i for i, count in enumerate(hidden) if count in counts]
    for level, rows in levels.items():
        errors = summary["errors"][level]
        assert errors["hands"] == len(rows)
        if not rows:
            assert errors["mpjpe"] is None and errors["auc"] is None
            continue
        for name, values in expected.items():
            assert errors[name] == pytest.approx(np.mean([values[i] for i in rows]), rel=1e-5), (level, name)
        assert errors["auc"] == pytest.approx(area([distances[i] for i in rows]), rel=1e-6)
        assert errors["pa_auc"] == pytest.approx(area([distances_aligned[i] for i in rows]), rel=1e-5)
    assert len(levels["some"]) and len(levels["many"])
    for column, name in enumerate(OCCLUSION_NAMES):
        said = np.array([a.occlusion[column] > 0.5 for a, _ in pairs])
        is_so = np.array([b.occlusion[column] > 0.5 for _, b in pairs])
        scores = summary["occlusion"][name]
        assert scores["true_positives"] == (said & is_so).sum()
        assert scores["precision"] == pytest.approx((said & is_so).sum() / said.sum())
        assert scores["recall"] == pytest.approx((said & is_so).sum() / is_so.sum())
    total = sum(summary["occlusion"][name]["true_positives"] for name in OCCLUSION_NAMES[:5])
    assert summary["occlusion"]["fingers"]["true_positives"] == total


def test_hands_are_paired_at_least_cost():
    random = np.random.default_rng(1)
    for _ in range(20):
        true = [make_hand(t, seed=t) for t in range(4)]
        found = [
            make_hand(9 + t, seed=t, points=true[t].image_points + random.normal(scale=12, size=2))
            for t in random.permutation(4)
        ]
        _, (matches,) = measure((found, true))

        def cost(order, found=found, true=true):
            return sum(
                np.linalg.norm(found[i].image_points - hand.image_points, axis=1).mean()
                / np.ptp(hand.image_points, axis=0).max()
                for i, hand in zip(order, true, strict=True)
            )

        best = min(permutations(range(4)), key=cost)
        assert [match.found for match in matches] == [found[i] for i in best]


def test_missed_false_and_switched_hands_are_counted():
    left, right = (
        make_hand(1, seed=1, handedness="left"),
        make_hand(2, moved(make_hand(seed=2).joints, 0.2, 0, 0)),
    )
    far = make_hand(50, moved(make_hand(seed=5).joints, -0.25, 0, 0))
    a, b = make_hand(11, left.joints, handedness="left"), make_hand(12, right.joints, handedness="left")
    other = make_hand(13, left.joints, handedness="left")
    summary, matches = measure(
        ([a, b], [left, right]),
        ([b], [left, right]),  # The left hand is missed ...
        ([other, b], [left, right]),  # ... and comes back under another identity.
        ([other, b, far], [left, right]),
        ([], []),
        ([far], []),
        ([a], None),  # The truth says nothing.
    )
    found = summary["detection"]
    assert (summary["hands"], summary["images"], summary["images_without_truth"]) == (8, 6, 1)
    assert (found["found"], found["missed"], found["false"], found["id_switches"]) == (7, 1, 2, 1)
    assert found["recall"] == pytest.approx(7 / 8) and found["precision"] == pytest.approx(7 / 9)
    assert found["false_per_image"] == pytest.approx(2 / 6)
    assert found["mota"] == pytest.approx(1 - (1 + 2 + 1) / 8)
    assert found["handedness_accuracy"] == pytest.approx(3 / 7)
    kinds = [[match.kind for match in image] for image in matches]
    assert kinds == [
        ["pair", "pair"],
        ["missed", "pair"],
        ["pair", "pair"],
        ["pair", "pair", "false"],
        ["empty"],
        ["false"],
        ["unknown"],
    ]


def test_identities_are_kept_where_hands_cross():
    """Two hands on the same place: the nearer one would be the other, but it was not a moment ago."""
    one, two = make_hand(1, seed=1), make_hand(2, moved(make_hand(seed=1).joints, 0.1, 0, 0))
    near = make_hand(2, moved(one.joints, 0.004, 0, 0))
    summary, matches = measure(
        ([make_hand(5, one.joints), make_hand(6, two.joints)], [one, two]),
        ([make_hand(5, near.joints), make_hand(6, one.joints)], [one, near]),
    )
    assert summary["detection"]["id_switches"] == 0
    assert [(match.found.track_id, match.true.track_id) for match in matches[1]] == [(5, 1), (6, 2)]


def test_what_cannot_be_told_is_none():
    true = make_hand(seed=1, vertices=np.zeros((0, 3)), occlusion=np.full(6, np.nan))
    summary, _ = measure(([make_hand(4, true.joints)], [true]))
    errors = summary["errors"]["all"]
    assert errors["mpjpe"] == pytest.approx(0, abs=1e-7)
    assert [errors[name] for name in ("mpvpe", "pa_mpvpe", "f_5mm", "pa_f_15mm")] == [None] * 4
    assert all(summary["errors"][level]["hands"] == 0 for level in ("none", "some", "many"))
    assert summary["occlusion"]["thumb"]["f1"] is None
    # A mesh of another topology has no corresponding vertices, but a surface.
    other = make_hand(4, true.joints, vertices=np.repeat(true.joints, 2, axis=0))
    summary, _ = measure(([other], [make_hand(seed=1)]))
    assert summary["errors"]["all"]["mpvpe"] is None and summary["errors"]["all"]["f_15mm"] > 0.5
    assert measure()[0]["detection"]["recall"] is None
