"""What the tests of perception share."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

SHARED = Path(__file__).parents[3] / "shared"


@dataclass
class RealHands:
    """Photographed hands with the points of a landmark network."""

    archive: zipfile.ZipFile
    names: np.ndarray
    joints: np.ndarray
    right_score: np.ndarray

    def image(self, index: int) -> np.ndarray:
        data = np.frombuffer(self.archive.read(str(self.names[index])), np.uint8)
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="session")
def real_hands() -> RealHands:
    path = SHARED / "data" / "real_hands.zip"
    if not path.is_file():
        pytest.skip("needs real_hands.zip in ../shared/data beside the checkout")
    archive = zipfile.ZipFile(path)
    labels = np.load(io.BytesIO(archive.read("labels.npz")), allow_pickle=False)
    return RealHands(archive, labels["image"], labels["joints2d"], labels["right_hand_score"])


@pytest.fixture(scope="session")
def hand_video() -> Path:
    path = SHARED / "data" / "video" / "human_hand_720p30.mp4"
    if not path.is_file():
        pytest.skip("needs video/human_hand_720p30.mp4 in ../shared/data beside the checkout")
    return path
