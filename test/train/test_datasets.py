"""Data sets of the published formats: samples, past frames, mirrored hands, bad input, and the index."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="the miniature trees need SciPy (extra `train`)")
sys.path.insert(0, str(Path(__file__).parent))

import miniature
from miniature import BROKEN_SEQUENCE, FIRST_RECORDING

from h2onet_ros.hand.mano import load_mano
from train.check_data import check_split
from train.check_data import main as check_main
from train.datasets import DataSetError, open_dataset
from train.datasets.command import Opening
from train.datasets.history import History, jittered
from train.datasets.layout import find_layout
from train.reference_crop import ReferenceAugmentation

LATE = "20200709-subject-01/20200709_141754/932122060861"


@pytest.fixture(scope="module")
def dexycb(tmp_path_factory):
    return miniature.write_dexycb(tmp_path_factory.mktemp("dexycb"), broken=True)


@pytest.fixture(scope="module")
def ho3d(tmp_path_factory):
    return miniature.write_ho3d(tmp_path_factory.mktemp("ho3d"))


def opened(tree, name, split, **options):
    return open_dataset(name, tree.root, split, tree.mano, occlusion=False, checked=False, **options)


def by_name(dataset, frames=1):
    """Samples by name, without those whose files are broken."""
    found = {}
    for index, row in enumerate(dataset.rows):
        if BROKEN_SEQUENCE not in dataset.names[row]:
            found[str(dataset.names[row])] = dataset.sample(index, frames)
    return found


def unmirrored(points, width=miniature.WIDTH):
    return points * [-1, 1] + [width - 1, 0]


def test_labels_describe_what_was_annotated(dexycb):
    """Vertices posed from the parameters land where the picture was drawn from, mirrored for left hands."""
    dataset = opened(dexycb, "dexycb", "train")
    samples = by_name(dataset)
    assert {frame.mirrored for (frame,) in samples.values()} == {True, False}
    for name, (frame,) in samples.items():
        truth = dexycb.truth[name]
        flip = np.array([-1.0, 1, 1]) if truth.left else np.ones(3)
        assert frame.mirrored == truth.left
        wrist = dataset.hand.pose(np.zeros((16, 3)), truth.shape).joints[0]
        placed = (frame.vertices - wrist) @ frame.rotation.T + frame.wrist
        np.testing.assert_allclose(placed, truth.vertices * flip, atol=2e-5)
        np.testing.assert_allclose(frame.joints, truth.joints * flip, atol=1e-6)
        pixels = frame.joints @ frame.camera.T
        np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], frame.points, atol=0.01)
        shown = frame.image[:, ::-1] if truth.left else frame.image
        points = unmirrored(frame.points) if truth.left else frame.points
        np.testing.assert_allclose(points, truth.points, atol=0.01)
        # JPEG changes colours a little; another picture would differ much more.
        assert np.abs(shown.astype(int) - truth.image).mean() < 4
        assert (frame.mesh_weight, frame.point_weight, frame.occlusion_weight) == (1, 1, 0)


def test_past_frames_lie_where_published(dexycb):
    dataset = opened(dexycb, "dexycb", "train")
    samples = by_name(dataset, 3)

    def past(sequence, number):
        return [int(frame.name[-6:]) for frame in samples[f"{sequence}/{number:06d}"]]

    assert past(FIRST_RECORDING, 11) == [11, 6, 1]
    assert past(FIRST_RECORDING, 10) == [10, 5, 0]
    assert past(FIRST_RECORDING, 9) == [9, 5, 0]  # half of nine frames, rounded down, back
    assert past(FIRST_RECORDING, 1) == [1, 1, 0]
    assert past(FIRST_RECORDING, 0) == [0, 0, 0]
    # A recording that begins with frame 3 has that much less of a past.
    assert past(LATE, 14) == [14, 9, 4]
    assert past(LATE, 9) == [9, 6, 3]
    assert past(LATE, 3) == [3, 3, 3]
    for name, frames in samples.items():
        assert {frame.name[:-7] for frame in frames} == {name[:-7]}, "a past frame of another recording"


def test_a_missing_frame_is_replaced_by_its_neighbour(ho3d):
    """The miniature has every third frame: 30 back is there, what jitter asks for often is not."""
    train = opened(ho3d, "ho3d_v2", "train")
    rows = {str(name): row for row, name in enumerate(train.names)}
    row = rows["ABF10/0066"]
    sequence = int(train.index["sequence"][row])
    assert train.names[list(train._history.past(row, sequence, 66, 29, 56))].tolist() == [
        "ABF10/0036",
        "ABF10/0009",
    ]
    # Frame 60 back is number 6; were it 0, a sample kept for validation, its neighbour would stand in.
    kept_out = {str(n) for n in opened(ho3d, "ho3d_v2", "val").names[opened(ho3d, "ho3d_v2", "val").rows]}
    assert kept_out == {"ABF10/0000", "ABF10/0060"}
    used = {frame.name for index in range(len(train)) for frame in train.sample(index, 3)}
    assert not used & kept_out


def test_history_by_cases():
    sequence = np.array([0] * 8 + [1] * 3)
    number = np.array([0, 1, 2, 3, 4, 20, 30, 31, 100, 101, 102])
    usable = np.ones(11, bool)
    usable[1] = False
    history = History(sequence, number, usable)
    assert history.past(6, 0, 30, 5, 10) == (5, 5)
    assert history.past(7, 0, 31, 5, 27) == (6, 4)
    assert history.past(3, 0, 3, 5, 10) == (2, 0)
    assert history.past(10, 1, 102, 5, 10) == (9, 8)
    assert history.past(8, 1, 100, 5, 10) == (8, 8)
    assert History(sequence, number, np.zeros(11, bool)).past(3, 0, 3, 5, 10) == (3, 3)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_history_never_leaves_the_recording_or_sees_the_future(data):
    """Whatever frames there are, in whatever order the annotations have them."""
    frames = data.draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=40, unique=True)
    )
    sequence, number = (np.array(column) for column in zip(*frames))
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=len(frames), max_size=len(frames))))
    short, long = data.draw(st.tuples(st.integers(1, 20), st.integers(20, 40)))
    history = History(sequence, number, usable)
    for row in range(len(frames)):
        past = history.past(row, int(sequence[row]), int(number[row]), short, long)
        pool = number[(sequence == sequence[row]) & usable & (number <= number[row])]
        for found in past:
            assert sequence[found] == sequence[row] and number[found] <= number[row]
            assert usable[found] or found == row
        if len(pool) and number[row] - pool.min() >= long:
            for found, back in zip(past, (short, long)):
                assert abs(number[row] - back - number[found]) == np.abs(number[row] - back - pool).min()


def test_jitter_is_the_published_one(dexycb, ho3d):
    rng = np.random.default_rng(0)
    drawn = np.array([jittered(find_layout("dexycb", dexycb.root, "train"), rng) for _ in range(2000)])
    assert set(drawn[:, 0]) == {4, 5, 6} and set(drawn[:, 1]) == {9, 10}
    drawn = np.array([jittered(find_layout("ho3d_v2", ho3d.root, "train"), rng) for _ in range(4000)])
    assert set(drawn[:, 0]) == set(range(26, 35)) and set(drawn[:, 1]) == set(range(56, 61))


def test_draws_depend_on_the_generator_alone(dexycb):
    dataset = opened(dexycb, "dexycb", "test")
    first, again = (dataset.draw(np.random.default_rng(3), 3) for _ in range(2))
    assert [f.name for f in first] == [f.name for f in again]
    assert len(dataset.draw(np.random.default_rng(3), 1)) == 1
    rng = np.random.default_rng(0)
    assert len({dataset.draw(rng, 1)[0].name for _ in range(80)}) == len(dataset)


def test_ho3d_splits(ho3d):
    train, val, evaluation = (opened(ho3d, "ho3d_v2", split) for split in ("train", "val", "evaluation"))
    names = sorted(name for name in ho3d.truth if not name.startswith("SM1"))
    assert [str(val.names[row]) for row in val.rows] == names[::20]
    assert sorted([*train.names[train.rows], *val.names[val.rows]]) == names
    assert train.sequence(0) == "ABF10"
    listed = (ho3d.root / "evaluation.txt").read_text().split()
    assert [evaluation.sample(i, 1)[0].name for i in range(len(evaluation))] == listed
    frame = evaluation.sample(2, 1)[0]
    truth = ho3d.truth[frame.name]
    assert (frame.mesh_weight, frame.point_weight, frame.occlusion_weight) == (0, 0, 0)
    assert frame.joints is None
    np.testing.assert_allclose(frame.wrist, truth.joints[0], atol=1e-6)
    # The crop comes from the box alone, and shows the joints as the published one does.
    box = truth.points.min(0), truth.points.max(0)
    side = 1.5 * (box[1] - box[0] - 1).max()
    np.testing.assert_allclose(frame.region.size, side, atol=1e-3)
    image, _, _ = ReferenceAugmentation.still().crop(frame)
    assert image.shape == (128, 128, 3) and image.any()


def test_a_past_frame_that_check_data_found_bad_is_replaced(tmp_path, monkeypatch):
    """Also where it belongs to another split of the same annotations."""
    tree = miniature.write_ho3d(tmp_path, frames=24, evaluation_frames=1)
    (tree.root / "train" / "ABF10" / "rgb" / "0030.png").unlink()
    monkeypatch.setattr(
        sys, "argv", ["check_data", "ho3d_v2", str(tree.root), "--mano", str(tree.mano), "--workers", "1"]
    )
    assert check_main() == 1
    val = open_dataset("ho3d_v2", tree.root, "val", tree.mano, occlusion=False)
    frames = {samples[0].name: samples for samples in (val.sample(i, 3) for i in range(len(val)))}
    assert [frame.name for frame in frames["ABF10/0060"]] == ["ABF10/0060", "ABF10/0027", "ABF10/0000"]


def test_version_3_of_ho3d_has_other_files(tmp_path):
    tree = miniature.write_ho3d(tmp_path, version=3, frames=4, evaluation_frames=1)
    frame = opened(tree, "ho3d_v3", "train").sample(0, 3)[2]
    assert np.abs(frame.image.astype(int) - tree.truth[frame.name].image).mean() < 4


def test_evaluation_needs_all_of_its_list(ho3d, tmp_path):
    tree = miniature.write_ho3d(tmp_path, frames=4, evaluation_frames=2)
    with (tree.root / "evaluation.txt").open("a") as file:
        file.write("SM1/0099\n")
    with pytest.raises(DataSetError, match="SM1/0099"):
        opened(tree, "ho3d_v2", "evaluation")
    annotations = tree.root / "annotations" / "HO3D_evaluation_data.json"
    content = json.loads(annotations.read_text())
    content["annotations"][1]["bbox"] = [10, 10, 0, 30]
    annotations.write_text(json.dumps(content))
    (tree.root / "evaluation.txt").write_text("SM1/0000\nSM1/0001\n")
    with pytest.raises(DataSetError, match=r"SM1/0001: bbox has no area\. A submission needs all"):
        open_dataset("ho3d_v2", tree.root, "evaluation", tree.mano)
    assert [p.name for p in opened(tree, "ho3d_v2", "evaluation").problems] == ["SM1/0001"]
    (tree.root / "evaluation.txt").unlink()
    with pytest.raises(DataSetError, match=r"evaluation\.txt"):
        opened(tree, "ho3d_v2", "evaluation")


def test_bad_samples_are_named_and_never_drawn(dexycb):
    """What annotations alone tell is left out at once; files are found wrong when drawn, and stop."""
    dataset = opened(dexycb, "dexycb", "train")
    for problem in dataset.problems:
        assert dexycb.broken[problem.name] in problem.reason
    left = set(dexycb.broken) - {problem.name for problem in dataset.problems}
    assert len(dataset.problems) == 8 and len(left) == 7
    rows = {str(name): i for i, name in enumerate(dataset.names[dataset.rows])}
    for name in left:
        with pytest.raises(DataSetError, match=dexycb.broken[name]):
            dataset.sample(rows[name], 1)
    rng = np.random.default_rng(0)
    with pytest.raises(DataSetError, match=r"sample .*/0000\d\d: .*check_data"):
        for _ in range(200):
            dataset.draw(rng, 1)


def test_skipping_is_a_choice(dexycb, caplog):
    dataset = opened(dexycb, "dexycb", "train", on_error="skip")
    rng = np.random.default_rng(0)
    drawn = {frame.name for _ in range(150) for frame in dataset.draw(rng, 1)}
    assert not drawn & set(dexycb.broken)
    assert "skipped sample" in caplog.text and "is missing" in caplog.text
    with pytest.raises(DataSetError, match="'stop' or 'skip'"):
        opened(dexycb, "dexycb", "train", on_error="ignore")


def test_check_names_every_broken_sample_and_has_it_left_out(dexycb, capsys):
    command = ["check_data", "dexycb", str(dexycb.root), "--mano", str(dexycb.mano), "--workers", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        assert check_main() == 1
        said = capsys.readouterr()
        patch.setattr(sys, "argv", [*command, "--split", "test"])
        assert check_main() == 0
        assert "dexycb test: 8 samples, all good" in capsys.readouterr().out
    for name, words in dexycb.broken.items():
        assert any(name in line and words in line for line in said.out.splitlines()), name
    assert f"51 samples, {len(dexycb.broken)} cannot be used" in said.out
    dataset = open_dataset("dexycb", dexycb.root, "train", dexycb.mano, occlusion=False)
    assert {problem.name for problem in dataset.problems} == set(dexycb.broken)
    rng = np.random.default_rng(0)
    for _ in range(30):
        dataset.draw(rng, 1)


@pytest.mark.parametrize("how", ["cut short", "empty", "not JSON", "no annotations", "a list"])
def test_annotation_files_that_are_none(tmp_path, how, dexycb):
    tree = miniature.write_dexycb(tmp_path, frames=1, test_frames=1)
    path = tree.root / "annotations" / "DEX_YCB_s0_train_data.json"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut short": content[: len(content) // 2],
            "empty": b"",
            "not JSON": b"<html>\xff",
            "no annotations": b'{"images": [], "annotations": []}',
            "a list": b"[1, 2]",
        }[how]
    )
    with pytest.raises(DataSetError, match=r"DEX_YCB_s0_train_data\.json .*download it again|cannot be read"):
        opened(tree, "dexycb", "train")


def test_names_in_annotations_cannot_lead_elsewhere(tmp_path):
    tree = miniature.write_dexycb(tmp_path, frames=2, test_frames=1)
    path = tree.root / "annotations" / "DEX_YCB_s0_train_data.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "../../../secret/color_000000.jpg"
    del content["images"][1]
    path.write_text(json.dumps(content))
    reasons = [problem.reason for problem in opened(tree, "dexycb", "train").problems]
    assert len(reasons) == 2 and "not of the form" in reasons[0] and "no image of id" in reasons[1]


def test_the_index_is_made_once_and_again_when_annotations_change(tmp_path):
    tree = miniature.write_dexycb(tmp_path, frames=2, test_frames=1)
    dataset = opened(tree, "dexycb", "train")
    path = tree.root / "annotations" / "DEX_YCB_s0_train_data.index.npz"
    made = path.stat().st_mtime_ns
    again = opened(tree, "dexycb", "train")
    assert path.stat().st_mtime_ns == made
    np.testing.assert_array_equal(again.index["joints"], dataset.index["joints"])
    annotations = tree.root / "annotations" / "DEX_YCB_s0_train_data.json"
    content = json.loads(annotations.read_text())
    content["annotations"].pop()
    annotations.write_text(json.dumps(content))
    assert len(opened(tree, "dexycb", "train")) == len(dataset) - 1
    path.write_bytes(b"PK damaged")
    assert len(opened(tree, "dexycb", "train")) == len(dataset) - 1
    assert not list(path.parent.glob("*.partial"))
    other = opened(tree, "dexycb", "train", cache=tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*.npz")) and len(other) == len(dataset) - 1


def test_a_full_disk_leaves_no_half_index(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX's")
    tree = miniature.write_dexycb(tmp_path, frames=4, test_frames=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(DataSetError, match=r"index\.npz cannot be written .*free some space"):
            opened(tree, "dexycb", "train")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tree.root.rglob("*.partial")) and not list(tree.root.rglob("*.index.npz"))
    assert len(opened(tree, "dexycb", "train")) == 12


def test_a_wrong_mano_file_is_noticed(tmp_path, dexycb):
    miniature.write_mano(tmp_path / "MANO_RIGHT.pkl", tip_shift=0.3)
    with pytest.raises(DataSetError, match=r"\d+ mm from the annotated joints"):
        open_dataset("dexycb", dexycb.root, "test", tmp_path / "MANO_RIGHT.pkl", occlusion=False)
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(b"nothing")
    with pytest.raises(DataSetError, match=r"MANO_RIGHT\.pkl.*licence"):
        open_dataset("dexycb", dexycb.root, "test", tmp_path / "MANO_RIGHT.pkl", occlusion=False)
    with pytest.raises(DataSetError, match="No MANO hand"):
        open_dataset("dexycb", dexycb.root, "test", tmp_path / "missing.pkl", occlusion=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("freihand", "train"), "Unknown data set 'freihand'"),
        (("dexycb", "evaluation"), "expected train, val, test"),
        (("ho3d_v2", "test"), "expected train, val, evaluation"),
        (("dexycb", "val"), r"found DEX_YCB_s0_test_data\.json"),
    ],
)
def test_unknown_splits_are_refused(dexycb, arguments, message):
    with pytest.raises(DataSetError, match=message):
        find_layout(arguments[0], dexycb.root, arguments[1])


def test_worker_processes_may_be_started_afresh(dexycb):
    """A data set travels to another process as the way to open it, not as copies of its arrays."""
    import pickle

    dataset = opened(dexycb, "dexycb", "test")
    sent = pickle.dumps(dataset)
    assert dataset.index["joints"].tobytes() not in sent
    again = pickle.loads(sent)
    assert again.sample(1, 1)[0].name == dataset.sample(1, 1)[0].name


def test_report_of_a_good_split(dexycb):
    opening = Opening("dexycb", dexycb.root, "test", dexycb.mano, "s0", None, checked=False)
    report = check_split(opening)
    assert report.samples == 8 and not report.findings and "all good" in report.text()
    assert load_mano(dexycb.mano).hand.tip_vertices.tolist() == [745, 317, 444, 556, 673]
