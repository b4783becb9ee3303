"""A pipeline's state as bytes: taken up elsewhere it gives the same hands, and it can do no harm."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from h2onet_ros.engines import WeightsBundle, create_engine
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.snapshot import SnapshotError, load_state, save_state
from h2onet_ros.perception.types import Frame

DEMO = Path(__file__).resolve().parents[2] / "h2onet_ros" / "assets" / "demo" / "demo.mp4"
COUNT, BREAKS = 14, (1, 6, 9)


@pytest.fixture(scope="module")
def engine():
    return create_engine(WeightsBundle.load(), "onnxruntime")


@pytest.fixture(scope="module")
def frames():
    capture = cv2.VideoCapture(str(DEMO))
    images = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(COUNT)]
    camera = Camera.assumed(640, 480)
    return [Frame(rgb, 10**9 + 33_333_333 * index, camera) for index, rgb in enumerate(images)]


def test_a_pipeline_goes_on_where_another_one_stopped(engine, frames):
    first = HandPipeline(engine)
    states, results = {}, []
    for number, frame in enumerate(frames):
        if number in BREAKS:  # Also while work in the background is under way.
            states[number] = save_state(first)
        results.append(first.process(frame))
    assert any(result.hands for result in results[max(BREAKS) :])
    for number, state in states.items():
        other = HandPipeline(engine)
        load_state(other, state)
        for frame, expected in zip(frames[number:], results[number:], strict=True):
            hands = other.process(frame).hands
            assert [hand.track_id for hand in hands] == [hand.track_id for hand in expected.hands]
            for hand, same in zip(hands, expected.hands, strict=True):
                np.testing.assert_array_equal(hand.vertices, same.vertices)
                np.testing.assert_array_equal(hand.position, same.position)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Constructed:
    """Asks for a network to be loaded from a file of the attacker's choice."""

    def __reduce__(self):
        from h2onet_ros.perception.palm import PalmDetector

        return PalmDetector, ("/nowhere",)


@pytest.mark.parametrize("kind", ["call", "network", "text", "nothing", "another"])
def test_bytes_that_are_no_state_are_refused_and_change_nothing(engine, frames, tmp_path, kind):
    touched = tmp_path / "touched"
    data = {
        "call": lambda: pickle.dumps(Harmful(touched)),
        "network": lambda: pickle.dumps(Constructed()),
        "text": lambda: b"hello, this is text",
        "nothing": lambda: b"",
        "another": lambda: pickle.dumps({"config": 1}),
    }[kind]()
    pipeline = HandPipeline(engine, PipelineConfig(max_hands=1))
    with pytest.raises(SnapshotError):
        load_state(pipeline, data)
    assert not touched.exists()
    assert pipeline.process(frames[0]).stamp == frames[0].stamp
