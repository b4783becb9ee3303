"""Depth of a recording: wrists lie where it has them; what cannot be used is told, and the images count."""

import json

import demo_recording
import numpy as np
import pytest
import recordings

from h2onet_ros.bag.cdr import with_header_stamp
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluate import main
from h2onet_ros.bag.evaluation.run import evaluate
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.evaluation.table import read_table
from h2onet_ros.bag.message_types import IMAGE

COUNT = 8
TOPIC = "/camera/aligned_depth_to_color/image_raw"
SETTINGS = EvaluationSettings(engine="onnxruntime", report=False)
GREY = recordings.grey_images(6)


def depth_messages(depths, topic=TOPIC, delay=0, **how):
    """Depth images, recorded as much later than the image as `delay` says (nanoseconds)."""
    return [
        (topic, IMAGE, recordings.stamp(index) + delay, recordings.depth_image(index, depth, **how))
        for index, depth in enumerate(depths)
    ]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """The demo's hands with the depth of the true ones, each depth image recorded after the next image; and
    another topic, of depth as the depth camera sees it."""
    depths = [demo_recording.depth(result) for result in demo_recording.truth(COUNT)]
    messages = demo_recording.messages(COUNT) + depth_messages(depths, delay=40_000_000)
    messages += depth_messages(depths, "/camera/depth/image_raw", frame_id="infrared")
    return recordings.write(tmp_path_factory.mktemp("depth") / "bag", messages)


@pytest.fixture(scope="module")
def with_depth(bag, tmp_path_factory):
    return evaluate(bag, tmp_path_factory.mktemp("with") / "out", SETTINGS.replace(depth=True))


def wrist_error(result):
    return result.metrics["accuracy"]["errors"]["all"]["wrist_error"]


def test_depth_puts_the_wrists_where_they_are(bag, with_depth, tmp_path):
    without = evaluate(bag, tmp_path / "out", SETTINGS)
    assert with_depth.problems == without.problems == [] and with_depth.metrics["hands"] > COUNT
    assert wrist_error(with_depth) < 0.01 and 2 * wrist_error(with_depth) < wrist_error(without)
    assert f"Depth from {TOPIC}: there is some for 8 of 8 images." in with_depth.run["notes"]
    assert (with_depth.run["evaluation"]["depth_topic"], without.run["evaluation"]["depth_topic"]) == (
        TOPIC,
        None,
    )


def test_a_topic_that_is_named_or_a_nodes_parameter_file_give_the_same(bag, with_depth, tmp_path):
    file = tmp_path / "node.yaml"
    file.write_text("hand_mesh_node:\n  ros__parameters: {depth: true, depth_tolerance_s: 0.01}\n")
    for name, arguments in {"named": ["--depth-topic", TOPIC], "file": ["--params", str(file)]}.items():
        out = tmp_path / name
        command = [str(bag), "--engine", "onnxruntime", "--no-report", "--out", str(out), *arguments]
        assert main(command) == 0
        assert json.loads((out / "metrics.json").read_text()) == with_depth.metrics
        np.testing.assert_array_equal(read_table(out)["position_z"], read_table(with_depth.out)["position_z"])


def evaluate_grey(tmp_path, depths, **settings):
    """Images without hands, with these messages beside."""
    bag = recordings.write(tmp_path / "bag", recordings.camera_messages(GREY) + depths)
    return evaluate(bag, tmp_path / "out", SETTINGS.replace(depth=True, **settings))


def test_depth_that_cannot_be_used_is_counted_and_its_image_processed(tmp_path):
    near = np.full((120, 160), 500, np.uint16)
    depths = depth_messages([near, near[:60], near])
    depths[2] = (*depths[2][:3], recordings.depth_image(2, near, encoding="mono8"))
    result = evaluate_grey(tmp_path, depths)
    assert (result.metrics["images"], result.exit_code) == (6, 1)
    (problem,) = result.problems
    assert "2 depth images could not be used" in problem and "got 160 x 60; register the depth" in problem
    assert "there is some for 3 of 6 images" in result.run["notes"][0]


@pytest.mark.parametrize(("tolerance", "found"), [(0.02, 0), (0.05, 1)])
def test_depth_of_another_time_is_not_used(tmp_path, tolerance, found):
    """45 ms after the last image."""
    data = recordings.depth_image(0, np.full((120, 160), 500, np.uint16))
    late = with_header_stamp(data, recordings.stamp(5) + 45_000_000)
    depths = [(TOPIC, IMAGE, recordings.stamp(1), late)]
    result = evaluate_grey(tmp_path, depths, depth_tolerance_s=tolerance, depth_topic=TOPIC)
    assert result.metrics["images"] == 6 and f"for {found} of 6" in result.run["notes"][0]
    assert [problem.partition(":")[0] for problem in result.problems] == ["No image has depth"] * (not found)


@pytest.mark.parametrize(
    ("topics", "settings", "complaint"),
    [
        ({}, {}, "in the frame of .* .'camera'., found none; .* --depth-topic, or do without: --no-depth"),
        ({"/depth": "infrared"}, {}, "found none"),
        ({"/depth_a": "camera", "/depth_b": "camera"}, {}, "found 2 of them ./depth_a, /depth_b."),
        ({"/depth": "camera"}, {"depth_topic": "/dept"}, "Did you mean /depth"),
        ({}, {"depth_topic": "/camera/image_raw/compressed"}, "Expected depth images .sensor_msgs/msg/Image"),
    ],
    ids=["none", "not registered", "two", "misspelt", "compressed"],
)
def test_depth_that_is_not_there_is_refused(tmp_path, topics, settings, complaint):
    messages = [
        message
        for topic, frame in topics.items()
        for message in depth_messages([np.ones((120, 160), np.uint16)], topic, frame_id=frame)
    ]
    with pytest.raises(BagError, match=complaint):
        evaluate_grey(tmp_path, messages, **settings)
    assert not (tmp_path / "out").exists()
