"""Calibration messages to cameras, and which camera an image gets."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from h2onet_ros.perception.camera import CameraError
from h2onet_ros.perception.camera_info import camera_from_info, is_calibrated
from h2onet_ros.ros.cameras import CameraSource

K = [600.0, 0.0, 321.0, 0.0, 610.0, 239.0, 0.0, 0.0, 1.0]
P = [590.0, 0.0, 318.0, 0.0, 0.0, 591.0, 241.0, 0.0, 0.0, 0.0, 1.0, 0.0]
D = [0.1, -0.05, 0.001, 0.002, 0.01]


def calibration(**changes) -> CameraInfo:
    fields = {"width": 640, "height": 480, "distortion_model": "plumb_bob", "k": K, "p": P, "d": D}
    return CameraInfo(**(fields | changes))


def intrinsics(camera) -> list[float]:
    return [*camera.focal, *camera.principal_point]


def test_a_raw_image_gets_k_and_distortion():
    camera = camera_from_info(calibration(), 640, 480)
    assert intrinsics(camera) == [600, 610, 321, 239]
    assert list(camera.distortion) == D
    assert (camera.width, camera.height, camera.is_assumed) == (640, 480, False)


def test_a_rectified_image_gets_p_and_no_distortion():
    camera = camera_from_info(calibration(), 640, 480, rectified=True)
    assert intrinsics(camera) == [590, 591, 318, 241]
    assert not camera.distortion.any()


def test_a_fisheye_lens_keeps_its_model():
    camera = camera_from_info(calibration(distortion_model="equidistant", d=[0.1, 0.0, 0.0, 0.0]), 640, 480)
    assert camera.distortion_model == "equidistant"


def test_a_region_of_interest_moves_the_principal_point():
    roi = RegionOfInterest(x_offset=100, y_offset=50, width=320, height=240)
    camera = camera_from_info(calibration(roi=roi), 320, 240)
    assert intrinsics(camera) == [600, 610, 221, 189]


@pytest.mark.parametrize(
    "info", [calibration(binning_x=2, binning_y=2), calibration()], ids=["binned", "resized"]
)
def test_images_of_half_the_size_get_half_the_focal_length(info):
    camera = camera_from_info(info, 320, 240)
    # The edge of the image stays at the edge: pixel centres are half a pixel from it.
    assert intrinsics(camera) == [300, 305, (321 + 0.5) / 2 - 0.5, (239 + 0.5) / 2 - 0.5]


def test_region_of_interest_binning_and_distortion_go_together():
    """The same ray hits the same spot: of the full image, and of the part that was cut out and binned."""
    roi = RegionOfInterest(x_offset=100, y_offset=60, width=400, height=320)
    full = camera_from_info(calibration(), 640, 480)
    part = camera_from_info(calibration(roi=roi, binning_x=2, binning_y=4), 200, 80)
    rays = np.array([[0.1, -0.1, 1.0], [-0.2, 0.15, 1.0], [0, 0, 1.0]])
    edges = (full.project(rays) + 0.5 - [100, 60]) / [2, 4] - 0.5
    np.testing.assert_allclose(part.project(rays), edges, atol=1e-9)
    assert list(part.distortion) == D


def test_rectified_images_have_a_region_of_interest_and_binning_too():
    roi = RegionOfInterest(x_offset=100, y_offset=60, width=400, height=320, do_rectify=True)
    camera = camera_from_info(calibration(roi=roi, binning_x=2, binning_y=2), 200, 160, rectified=True)
    assert intrinsics(camera) == [295, 295.5, (318 + 0.5 - 100) / 2 - 0.5, (241 + 0.5 - 60) / 2 - 0.5]


@pytest.mark.parametrize(
    "broken",
    [
        {"k": [float("nan"), *K[1:]]},
        {"k": [600.0, 0, float("inf"), *K[3:]]},
        {"d": [float("nan"), 0, 0, 0, 0]},
    ],
    ids=["focal length", "principal point", "distortion"],
)
def test_intrinsics_that_are_not_numbers_are_refused(broken):
    with pytest.raises(CameraError, match="finite"):
        camera_from_info(calibration(**broken), 640, 480)


def test_images_of_other_proportions_are_refused():
    with pytest.raises(CameraError, match=r"640 x 480 .* got 640 x 360"):
        camera_from_info(calibration(), 640, 360)


def test_a_calibration_without_size_is_refused():
    with pytest.raises(CameraError, match="size of the calibrated images"):
        camera_from_info(calibration(width=0, height=0), 640, 480)


def test_a_lens_that_is_no_pinhole_is_refused():
    with pytest.raises(CameraError, match="rectify"):
        camera_from_info(calibration(distortion_model="omnidirectional"), 640, 480)


def test_zeros_mean_uncalibrated():
    assert is_calibrated(calibration())
    assert not is_calibrated(CameraInfo(width=640, height=480))
    assert not is_calibrated(calibration(p=[0.0] * 12), rectified=True)
    with pytest.raises(CameraError, match="calibrate"):
        camera_from_info(CameraInfo(width=640, height=480), 640, 480)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def make_source(warnings):
    def make(wait: float = 0.0) -> CameraSource:
        return CameraSource(False, np.radians(90), wait, warnings.append)

    return make


def test_the_source_repeats_a_camera_until_the_calibration_changes(make_source, warnings):
    source = make_source()
    source.update(calibration())
    first = source.camera(640, 480)
    source.update(calibration())
    assert source.camera(640, 480) is first
    source.update(calibration(k=[500.0, *K[1:]]))
    assert source.camera(640, 480).focal[0] == 500
    assert warnings == []


def test_the_source_makes_a_camera_for_each_image_size(make_source):
    source = make_source()
    source.update(calibration())
    assert source.camera(640, 480).focal[0] == 2 * source.camera(320, 240).focal[0]


@pytest.mark.parametrize(
    ("info", "reason"),
    [(None, "no camera_info arrived"), (CameraInfo(width=640, height=480), "holds no calibration")],
)
def test_without_calibration_a_camera_is_assumed_and_told_of_once(make_source, warnings, info, reason):
    source = make_source()
    if info:
        source.update(info)
    camera = source.camera(640, 480)
    source.camera(320, 240)
    assert camera.is_assumed
    assert camera.focal[0] == pytest.approx(320)  # 90 degrees across 640 pixels
    assert len(warnings) == 1 and reason in warnings[0] and "90 degrees" in warnings[0]


def test_the_first_image_waits_for_its_calibration(make_source, warnings):
    source = make_source(wait=30.0)
    cameras = []
    thread = threading.Thread(target=lambda: cameras.append(source.camera(640, 480)))
    thread.start()
    source.update(calibration())
    thread.join(10)
    assert not cameras[0].is_assumed and warnings == []


def test_a_wait_can_be_ended(make_source, warnings):
    source = make_source(wait=30.0)
    cameras = []
    thread = threading.Thread(target=lambda: cameras.append(source.camera(640, 480)))
    thread.start()
    source.release()
    thread.join(10)
    assert cameras[0].is_assumed and len(warnings) == 1
