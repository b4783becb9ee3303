"""The model card's tables follow from the evaluation's file, and say what was missed."""

import json

import pytest

from train.model_card import BEGIN, END, main

FIGURES = {
    "synthetic_pa_mpjpe_mm": 5.94,
    "synthetic_mediapipe_pa_mpjpe_mm": 21.3,
    "synthetic_pa_mpvpe_mm": 6.01,
    "real_uv_median": 0.0432,
    "real_right_uv_median": 0.04,
    "real_left_uv_median": 0.0432,
    "video_frames": 621.0,
    "video_frames_with_a_hand": 620.0,
}


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card.md"
    path.write_text(f"before\n{BEGIN}\nold figures\n{END}\nafter\n")
    return path


@pytest.fixture
def measured(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(FIGURES))
    return path


def test_figures_are_replaced_and_judged(card, measured):
    for _ in range(2):  # a second time changes nothing
        assert main([str(measured), "--card", str(card)]) == 0
        text = card.read_text()
        assert text.startswith(f"before\n{BEGIN}\n| Rendered") and text.endswith(f"|\n{END}\nafter\n")
    assert "old figures" not in text
    for row in (
        "| PA-MPJPE | 5.9 mm | 21.3 mm | <= 6 mm | met |",
        "| PA-MPVPE | 6.0 mm | - | <= 6 mm | missed |",
        "| image points off, median, of the hand's box | 4.3 % | - | <= 5 % | met |",
        "| left hands, median | 4.3 % | - | <= 1.05 x right | missed |",
        "| frames with a hand | 620 | - | all | missed |",
    ):
        assert row in text.splitlines()


@pytest.mark.parametrize("content", ["[1, 2]", '{"a": "b"}', "{", '{"a": {"b": 1}}'])
def test_another_file_changes_nothing(card, tmp_path, capsys, content):
    (tmp_path / "other.json").write_text(content)
    before = card.read_text()
    assert main([str(tmp_path / "other.json"), "--card", str(card)]) == 1
    assert "model_card: " in capsys.readouterr().err
    assert card.read_text() == before


def test_a_card_without_marks_is_refused(measured, tmp_path, capsys):
    (tmp_path / "README.md").write_text("nothing\n")
    assert main([str(measured), "--card", str(tmp_path / "README.md")]) == 1
    assert "lacks the marks" in capsys.readouterr().err
