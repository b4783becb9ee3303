"""The table of hands: the same in Parquet and in CSV, exactly as the hands were."""

import sys

import numpy as np
import pytest
from hands import CAMERA, make_hand

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.accuracy import AccuracyMetrics, Match
from h2onet_ros.bag.evaluation.table import HandTable, columns, read_table
from h2onet_ros.hand.joints import JOINT_NAMES


def images():
    one, two = make_hand(1, seed=1, handedness="left"), make_hand(2, seed=2)
    unknown = make_hand(5, seed=1, occlusion=np.full(6, np.nan))
    metrics = AccuracyMetrics()
    for found, true in (([unknown], [one, two]), ([], []), ([two], None), ([two], [])):
        yield metrics.add(found, true, CAMERA)


@pytest.fixture(params=["hands.parquet", "hands.csv"])
def name(request, monkeypatch):
    """Without PyArrow there are comma-separated values."""
    if request.param == "hands.csv":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    return request.param


def test_hands_come_back_as_they_were(tmp_path, name):
    table = HandTable(tmp_path, with_truth=True)
    assert table.path.name == name
    for number, matches in enumerate(images()):
        table.add(3 * number, 10**18 + number, 0.5 * number, matches)
    table.close()
    found = read_table(tmp_path)
    assert list(found) == list(columns(True))
    assert found["match"].tolist() == ["pair", "missed", "empty", "unknown", "false"]
    assert found["image"].tolist() == [0, 0, 3, 6, 9]
    assert found["stamp"].tolist() == [10**18 + number for number in (0, 0, 1, 2, 3)]
    assert found["track_id"].tolist() == [5, -1, -1, 2, 2] and found["truth_id"].tolist() == [
        1,
        2,
        -1,
        -1,
        -1,
    ]
    assert found["truth_handedness"].tolist() == ["left", "right", "", "", ""]
    hand = make_hand(5, seed=1)
    row = [found[f"joint_{joint}_{axis}"][0] for joint in JOINT_NAMES for axis in "xyz"]
    np.testing.assert_array_equal(np.array(row, np.float32), hand.joints.ravel())
    row = [found[f"point_{joint}_{axis}"][0] for joint in JOINT_NAMES for axis in "xy"]
    np.testing.assert_array_equal(np.array(row, np.float32), hand.image_points.ravel())
    assert (
        np.isnan(found["occlusion_thumb"][0])
        and found["occlusion_thumb"][3] == make_hand(2, seed=2).occlusion[0]
    )
    assert found["mpjpe"][0] == 0 and np.isnan(found["mpjpe"][1:]).all()
    assert [found[f"rotation_{axis}"][0] for axis in "xyzw"] == pytest.approx([0, 0, 0, 1])


def test_many_rows_are_all_written(tmp_path, name):
    table = HandTable(tmp_path, with_truth=False)
    for number in range(1300):
        table.add(number, number, 0.1, [Match("unknown", make_hand())])
    table.close()
    found = read_table(tmp_path)
    assert found["image"].tolist() == list(range(1300)) and "match" not in found


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(BagError, match="give the folder of an evaluation"):
        read_table(tmp_path)
    (tmp_path / "hands.parquet").write_text("cut off")
    with pytest.raises(BagError, match="Evaluate the recording again"):
        read_table(tmp_path)
