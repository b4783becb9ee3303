"""The evaluation on a video: the whole pipeline on real pictures, judged by whoever finds points in them."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from h2onet_ros.engines import WeightsBundle, bundle_path, create_engine
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import Frame
from train import check_video
from train.detector.landmarks import LandmarkNetwork
from train.evaluation.jitter import still_jitter
from train.evaluation.video import evaluate_video

DEMO = bundle_path().parents[1] / "demo"
FRAMES = 8


@pytest.fixture(scope="module")
def bundle():
    return WeightsBundle.load()


@pytest.fixture(scope="module")
def engine(bundle):
    return create_engine(bundle, "onnxruntime", threads=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The demo's first frames, its right hand alone."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    capture = cv2.VideoCapture(str(DEMO / "demo.mp4"))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (640, 480))
    for _ in range(FRAMES):
        writer.write(capture.read()[1])
    writer.release()
    return path


class Truth:
    """Finds the demo's right hand where it is: at first in the picture, then in its mirror image."""

    def __init__(self):
        with np.load(DEMO / "truth.npz") as truth:
            self.points = truth["joints2d"][:FRAMES, 0]
        self.calls = 0

    def find(self, rgb):
        mirrored, index = divmod(self.calls, FRAMES)
        self.calls += 1
        points = self.points[index].astype(float)
        if mirrored:
            points[:, 0] = rgb.shape[1] - 1 - points[:, 0]
        return [SimpleNamespace(points=points)]


def test_a_video_is_followed_judged_and_drawn(bundle, engine, clip):
    found = evaluate_video(engine, bundle.topology, clip, Truth(), every=1, stills=2)
    for name, left in (("video", 0.0), ("video_mirrored", 1.0)):
        figures = found.figures[name]
        assert figures["frames"] == figures["frames_with_a_hand"] == figures["judged"] == FRAMES
        assert figures["identities"] == 1
        assert figures["left_share"] == left
        assert 0 < figures["distance_median"] <= figures["distance_p95"] < 0.5
    assert found.figures["video"]["jitter_pictures"] == 2
    assert 0 < found.figures["video"]["jitter_mm"] <= found.figures["video"]["jitter_worst_mm"]
    assert set(found.pictures) <= {"video_first", "video_middle", "video_worst"}
    assert all(picture.shape == (480, 640, 3) for picture in found.pictures.values())


def test_check_video_tells_of_the_node_s_answers_and_draws_them(clip, tmp_path, capsys):
    assert check_video.main([str(clip), "--hands", "1", "--overlay", str(tmp_path / "overlay.mp4")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == report["frames with a hand"] == FRAMES
    assert report["frames per identity"] == {"1 right": FRAMES}
    drawn, plain = (cv2.VideoCapture(str(path)) for path in (tmp_path / "overlay.mp4", clip))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    difference = cv2.absdiff(drawn.read()[1], plain.read()[1]).max(2)
    assert 0.01 < (difference > 60).mean() < 0.2  # a hand's share of the picture, no more


@pytest.mark.parametrize("content", [None, b"no video"])
def test_a_video_that_cannot_be_read_is_named(tmp_path, capsys, content):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    assert check_video.main([str(path)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("check_video: Expected a video") and str(path) in message
    assert "Traceback" not in message


def test_a_picture_without_a_hand_has_no_jitter(engine):
    empty = Frame(np.full((240, 320, 3), 90, np.uint8), 0, Camera.assumed(320, 240))
    assert still_jitter(engine, [empty]) == {"jitter_pictures": 0.0}


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no network"])
def test_what_is_no_landmark_network_is_refused(tmp_path, content):
    (tmp_path / "file.whl").write_bytes(content)
    with pytest.raises(ValueError, match=r"expected the mediapipe 0\.10\.21 wheel"):
        LandmarkNetwork(tmp_path / "file.whl")
