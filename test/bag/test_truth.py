"""Truth beside a recording: matched by time, in the camera's frame, from a topic or from files."""

import weakref

import numpy as np
import pytest
import recordings
from hands import CAMERA, frame_of, make_hand, moved

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.along import Along
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.evaluation.truth import open_truth
from h2onet_ros.bag.message_types import HAND_ARRAY
from h2onet_ros.bag.reader import BagReader

TOLERANCE = 16_000_000


def results(count=6, **changes):
    return [
        frame_of(recordings.stamp(i), make_hand(1, seed=i), make_hand(2, seed=100 + i), **changes)
        for i in range(count)
    ]


def bag_of(tmp_path, truth, name="truth", topic=recordings.TRUTH_TOPIC):
    return recordings.write(tmp_path / name, recordings.truth_messages(truth, topic))


def opened(bag, **settings):
    with BagReader(bag) as reader:
        topics = {topic.name: topic.message_type for topic in reader.topics.values()}
    return open_truth(bag, topics, EvaluationSettings(**settings), TOLERANCE)


def ask(truth, *indices, shift=0, frame_id="camera"):
    try:
        return [truth.at(recordings.stamp(i) + shift, frame_id, CAMERA) for i in indices]
    finally:
        truth.close()


def test_true_hands_belong_to_the_image_of_their_stamp(tmp_path):
    truth = opened(bag_of(tmp_path, results()))
    answers = ask(truth, 0, 3, 5, 40)
    assert answers[-1] is None and truth.problems() == []
    for index, hands in zip((0, 3, 5), answers, strict=False):
        assert [hand.track_id for hand in hands] == [1, 2]
        np.testing.assert_array_equal(hands[0].joints, make_hand(seed=index).joints)
        np.testing.assert_array_equal(hands[0].vertices, make_hand(seed=index).vertices)


def test_truth_that_is_far_older_than_the_images_is_read_and_not_kept():
    class Entry:
        pass

    alive = weakref.WeakSet()

    def entries():
        for stamp in range(2000):
            entry = Entry()
            alive.add(entry)
            yield stamp * 10**7, entry

    along = Along(entries(), TOLERANCE, look_back=10**9)
    assert along.at(10**12) is None and along.stamps == (0, 1999 * 10**7)
    assert len(alive) < 200
    along = Along(entries(), TOLERANCE, look_back=10**9)
    assert all(along.at(stamp * 10**7) is not None and len(alive) < 200 for stamp in range(0, 2000, 3))


def test_near_stamps_belong_together_and_others_do_not(tmp_path):
    bag = bag_of(tmp_path, results())
    assert ask(opened(bag), 2, shift=10_000_000)[0][0].joints[0, 0] == make_hand(seed=2).joints[0, 0]
    assert ask(opened(bag), 2, shift=16_500_000) == [None]


@pytest.mark.parametrize("form", ["folder", "file", "npz"])
def test_truth_comes_from_a_file(tmp_path, form):
    camera = recordings.write(tmp_path / "camera", recordings.camera_messages(recordings.grey_images(6)))
    if form == "npz":
        path = tmp_path / "truth.npz"
        joints = np.stack([[hand.joints for hand in result.hands] for result in results()])
        joints[4, 1] = np.nan
        stamps = np.array([result.stamp for result in results()])
        np.savez(path, stamp=stamps, joints=joints, handedness=np.array(["right", "left"]))
    else:
        path = bag_of(tmp_path, results(), topic="/somebody/hands")
        path = next(path.glob("*.mcap")) if form == "file" else path
    truth = opened(camera, truth=str(path))
    assert path.name in truth.source
    third, fourth = ask(truth, 3, 4)
    np.testing.assert_array_equal(third[1].joints, make_hand(seed=103).joints)
    if form == "npz":
        assert [hand.handedness for hand in third] == ["right", "left"]
        assert np.isnan(third[0].occlusion).all() and len(third[0].vertices) == 0
        assert [hand.track_id for hand in fourth] == [1]
    assert truth.problems() == []


def test_truth_is_taken_only_where_it_is_wanted(tmp_path):
    bag = bag_of(tmp_path, results())
    assert opened(bag, truth="none") is None
    assert opened(bag_of(tmp_path, results(), "other", "/other/hands")) is None


def test_another_time_base_is_told_with_the_offset_that_helps(tmp_path):
    shifted = [frame_of(result.stamp + 5_250_000_000, *result.hands) for result in results()]
    bag = bag_of(tmp_path, shifted)
    truth = opened(bag)
    assert ask(truth, 0, 1, 5) == [None] * 3
    (problem,) = truth.problems()
    assert "images have the stamps 100.000 to 100.167 s, the truth starts at 105.250 s" in problem
    assert "--truth-offset -5.250000" in problem
    truth = opened(bag, truth_offset=-5.25)
    assert all(ask(truth, 0, 1, 5)) and truth.problems() == []


def test_another_frame_is_told_and_not_used(tmp_path):
    bag = bag_of(tmp_path, results(frame_id="world"))
    truth = opened(bag)
    assert ask(truth, 0, 1) == [None, None]
    (problem,) = truth.problems()
    assert "is in the frame 'world', the images are in 'camera': 2 of its messages were not used" in problem
    assert "--truth-any-frame" in problem
    truth = opened(bag, truth_any_frame=True)
    assert all(ask(truth, 0, 1)) and truth.problems() == []


def test_a_frame_that_only_claims_to_be_the_cameras_is_noticed(tmp_path):
    """The truth is a metre to the side, in a frame with the camera's name."""
    wrong = [
        frame_of(
            result.stamp,
            *[make_hand(1, moved(hand.joints, 1.0, 0, 0), points=hand.image_points) for hand in result.hands],
        )
        for result in results()
    ]
    truth = opened(bag_of(tmp_path, wrong))
    assert all(ask(truth, *range(6)))
    (problem,) = truth.problems()
    assert "does not fit the camera: 12 of 12 true hands" in problem


def test_a_truth_that_cannot_be_read_is_counted(tmp_path):
    messages = recordings.truth_messages(results())
    messages[2] = (*messages[2][:3], messages[2][3][:100])
    truth = opened(recordings.write(tmp_path / "bag", messages))
    answers = ask(truth, *range(6))
    assert answers[2] is None and all(answers[:2] + answers[3:])
    assert "1 messages of the truth" in truth.problems()[0]


def test_what_is_no_truth_is_refused(tmp_path):
    camera = recordings.camera_messages(recordings.grey_images(2))
    bag = recordings.write(
        tmp_path / "camera", camera + recordings.truth_messages(results(), "/marker/hands")
    )
    with pytest.raises(BagError, match="Did you mean /marker/hands"):
        opened(bag, truth="/marker/hand")
    with pytest.raises(BagError, match=f"Expected true hands .{HAND_ARRAY}. on the topic"):
        opened(bag, truth=f"{recordings.TOPIC}/compressed")
    with pytest.raises(BagError, match="Expected one topic of hands"):
        opened(bag, truth=str(recordings.write(tmp_path / "images", camera)))
    for content, complaint in (
        ({"joints": np.zeros((2, 1, 21, 3))}, "lacks stamp"),
        ({"stamp": np.arange(2), "joints": np.zeros((3, 1, 21, 3))}, "has the shape"),
        ({"stamp": np.arange(2), "joints": np.zeros((2, 1, 16, 3))}, "has the shape"),
    ):
        np.savez(tmp_path / "bad.npz", **content)
        with pytest.raises(BagError, match=complaint):
            opened(bag, truth=str(tmp_path / "bad.npz"))
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(BagError, match="Cannot read the truth"):
        opened(bag, truth=str(tmp_path / "text.npz"))
