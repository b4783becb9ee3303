"""`h2onet compare`: two real evaluations of one recording; its figures against ones computed here."""

import json
import re
import shutil

import demo_recording
import numpy as np
import pytest
import recordings

from h2onet_ros.bag.comparison.bootstrap import blocks_of, compare
from h2onet_ros.bag.comparison.command import main
from h2onet_ros.bag.comparison.measures import Measure
from h2onet_ros.bag.evaluation.run import evaluate
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.evaluation.table import read_table
from h2onet_ros.bag.figures import Figure

COUNT = 24
SETTINGS = EvaluationSettings(engine="onnxruntime", report=False)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Part of the demo recording with its truth."""
    return recordings.write(tmp_path_factory.mktemp("bag") / "demo", demo_recording.messages(COUNT))


@pytest.fixture(scope="module")
def runs(bag, tmp_path_factory):
    """Evaluations by name: smoothed, raw, and parts of the recording; without truth too."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {
        "smooth": SETTINGS,
        "raw": SETTINGS.replace(smoothing=0.0),
        "blind": SETTINGS.replace(smoothing=0.0, truth="none"),
        "begin": SETTINGS.replace(seconds=0.3),
        "end": SETTINGS.replace(start=0.4),
    }
    return {name: evaluate(bag, folder / name, chosen).out for name, chosen in settings.items()}


def summary_of(out):
    return json.loads((out / "comparison.json").read_text())


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    assert main([str(runs["smooth"]), str(runs["raw"]), "--out", str(out), "--frames", "2"]) == 0
    return out


def test_differences_are_those_of_an_independent_computation(runs, compared):
    measures = summary_of(compared)["measures"]
    errors, recall = {}, {}
    for name in ("smooth", "raw"):
        table = read_table(runs[name])
        hands = zip(table["stamp"], table["truth_id"], table["match"], table["mpjpe"], table["wrist_error"])
        rows = {
            (stamp, identity): (match, *values) for stamp, identity, match, *values in hands if identity >= 0
        }
        errors[name] = {key: values for key, (match, *values) in rows.items() if match == "pair"}
        recall[name] = len(errors[name]) / (2 * COUNT)
    both = errors["smooth"].keys() & errors["raw"].keys()
    assert len(both) > COUNT and summary_of(compared)["hands"] == len(both)
    for column, name in enumerate(("mpjpe", "wrist_error")):
        means = [np.mean([float(errors[run][key][column]) for key in both]) for run in ("smooth", "raw")]
        found = measures[f"accuracy.errors.all.{name}"]
        assert [found["a"], found["b"]] == pytest.approx(means, rel=1e-6)
        assert found["difference"] == pytest.approx(means[1] - means[0], abs=1e-9)
        assert found["low"] <= found["difference"] <= found["high"]
    found = measures["accuracy.detection.recall"]
    assert [found["a"], found["b"]] == pytest.approx([recall["smooth"], recall["raw"]])
    # Where all hands of a run were found by both, its figures are those of its evaluation.
    for name, key in (("smooth", "a"), ("raw", "b")):
        metrics = json.loads((runs[name] / "metrics.json").read_text())
        for figure, entry in measures.items():
            if figure.startswith("accuracy.detection") or (
                figure.startswith("accuracy.errors.all") and len(errors[name]) == len(both)
            ):
                value = metrics
                for part in figure.split("."):
                    value = value[part]
                assert entry[key] == pytest.approx(value, rel=1e-5), figure


def test_what_smoothing_does_is_told(compared):
    measures = summary_of(compared)["measures"]
    assert measures["unsteadiness"]["verdict"] == "worse"
    assert measures["unsteadiness"]["b"] > 1.2 * measures["unsteadiness"]["a"]
    assert summary_of(compared)["differing_settings"] == [["smoothing", "1.0", "0.0"]]


def test_the_report_is_whole_and_stands_alone(compared, capsys):
    page = (compared / "report.html").read_text()
    # One image as both runs saw it, or two half a second apart: for three the recording is too short.
    assert page.count("data:image/jpeg;base64,") in (2, 4)
    assert "<td>smoothing</td>" in page and page.count("<svg") == 2 and "<script" not in page
    # Nothing is loaded; what names a place on the net is what SVG files name themselves by.
    assert not re.search(r"(src|href)=[\"']?(?!data:|#)\w", page)


def test_the_same_seed_gives_the_same_intervals(runs, compared, tmp_path, capsys):
    arguments = [str(runs["smooth"]), str(runs["raw"]), "--frames", "0"]
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "other"), "--seed", "1"]) == 0
    assert summary_of(tmp_path / "again") == summary_of(compared)
    assert summary_of(tmp_path / "other")["measures"] != summary_of(compared)["measures"]
    text = capsys.readouterr().out
    assert "MPJPE" in text and "95 % interval" in text and "report.html" in text


def test_a_run_does_not_differ_from_itself(runs, tmp_path, capsys):
    shutil.copytree(runs["raw"], tmp_path / "copy")
    assert main([str(runs["raw"]), str(tmp_path / "copy"), "--out", str(tmp_path / "out")]) == 0
    summary = summary_of(tmp_path / "out")
    for entry in summary["measures"].values():
        assert entry["difference"] == entry["low"] == entry["high"] == 0 and entry["verdict"] == ""
    assert summary["disagreement"] == {"joints": 0, "wrist": 0, "image_points": 0, "sides": 0}
    assert "None to be shown" in (tmp_path / "out" / "report.html").read_text()
    assert summary["names"] == ["raw", "copy"]


def test_without_truth_hands_are_paired_by_their_place(runs, tmp_path, capsys):
    assert main([str(runs["smooth"]), str(runs["blind"]), "--out", str(tmp_path / "out")]) == 0
    summary = summary_of(tmp_path / "out")
    assert not any(name.startswith("accuracy") for name in summary["measures"])
    assert "Only smooth has ground truth" in summary["notes"][0]
    tables = [read_table(runs[name]) for name in ("smooth", "blind")]
    assert summary["hands"] == min((table["track_id"] >= 0).sum() for table in tables)
    assert summary["disagreement"]["wrist"] > 0 and summary["measures"]["unsteadiness"]["verdict"] == "worse"


def test_images_of_one_run_alone_are_told_of(runs, tmp_path, capsys):
    assert main([str(runs["smooth"]), str(runs["begin"]), "--out", str(tmp_path / "out")]) == 0
    summary = summary_of(tmp_path / "out")
    assert summary["images_only_in"] == [COUNT - summary["images"], 0] and 0 < summary["images"] < COUNT
    assert "images are in smooth alone" in capsys.readouterr().out
    assert main([str(runs["begin"]), str(runs["end"]), "--out", str(tmp_path / "none")]) == 2
    assert "No image is in both evaluations" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_recording_that_is_gone_costs_the_pictures_alone(runs, bag, tmp_path, capsys):
    for name in ("smooth", "raw"):
        shutil.copytree(runs[name], tmp_path / name)
        text = (tmp_path / name / "run.json").read_text()
        (tmp_path / name / "run.json").write_text(text.replace(str(bag), "/nowhere/demo"))
    arguments = [str(tmp_path / "smooth"), str(tmp_path / "raw")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert "No pictures: There is no recording at /nowhere/demo" in capsys.readouterr().err
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert main([*arguments, "--out", str(tmp_path / "found"), "--bag", str(bag)]) == 0
    assert "data:image/jpeg" in (tmp_path / "found" / "report.html").read_text()


def test_what_cannot_be_compared(runs, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(runs["raw"], other)
    run = json.loads((other / "run.json").read_text())
    run["evaluation"]["recording_bytes"] += 1
    (other / "run.json").write_text(json.dumps(run))
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "recordings.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    damaged, old, stopped = (
        shutil.copytree(runs["raw"], tmp_path / name) for name in ("damaged", "old", "stopped")
    )
    (damaged / "metrics.json").write_text("{")
    (old / "run.json").write_text("{}")
    (stopped / "run.json").unlink()
    (stopped / "checkpoint").mkdir()
    for folder, complaint in {
        other: "of different images: demo (",
        tmp_path / "fleet": "evaluations of many recordings",
        tmp_path / "empty": "is no evaluation, it has no run.json",
        tmp_path / "gone": "nothing is there",
        other / "run.json": "a file is there",
        damaged: "Cannot read",
        old: "made by another version",
        stopped: "go on with --resume",
    }.items():
        assert main([str(runs["smooth"]), str(folder), "--out", str(tmp_path / "out")]) == 2
        assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_unasked(runs, compared, tmp_path, capsys):
    both = [str(runs["smooth"]), str(runs["raw"]), "--frames", "0"]
    before = (compared / "report.html").read_bytes()
    assert main([*both, "--out", str(compared)]) == 2
    assert "replace it with --force" in capsys.readouterr().err
    assert (compared / "report.html").read_bytes() == before
    # Not even by force, since the page would take the place of the evaluation's.
    assert main([*both, "--out", str(runs["raw"]), "--force"]) == 2
    assert "holds an evaluation" in capsys.readouterr().err
    assert main([*both, "--out", str(tmp_path / "out")]) == 0
    assert main([*both, "--out", str(tmp_path / "out"), "--force"]) == 0


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def mean_measure(a, b):
    figure = Figure(("x",), "x", "", 1.0, -1, 1)
    ones = np.ones(len(a))
    return Measure(figure, np.stack([a, ones], -1), np.stack([b, ones], -1), ratio, "")


def test_intervals_hold_the_true_difference_as_often_as_they_say():
    """Noise that lasts for half a second, as a tracker's does; the truth is a difference of 0.2."""
    times, hits, narrow = np.arange(300) / 10, 0, 0
    for trial in range(100):
        random = np.random.default_rng(trial)
        noise = np.repeat(random.normal(size=60), 5)
        measure = mean_measure(random.normal(size=300) / 4, random.normal(size=300) / 4 + noise + 0.2)
        (found,) = compare([measure], blocks_of(times), 300, trial)
        hits += found.low <= 0.2 <= found.high
        (single,) = compare([measure], np.arange(300), 300, trial)
        narrow += single.low <= 0.2 <= single.high
    assert 87 <= hits <= 99
    assert narrow < 70, "single images would promise too much"


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.5, "worse"), (-0.5, "better"), (0.0, "")], ids=["more", "less", "equal"]
)
def test_verdicts(shift, verdict):
    values = np.random.default_rng(0).normal(size=300)
    (found,) = compare([mean_measure(values, values + shift)], blocks_of(np.arange(300) / 30), 200, 0)
    assert found.verdict == verdict and found.difference == pytest.approx(shift)


@pytest.mark.parametrize(
    ("seconds", "count"),
    [(60.0, 60), (4.0, 20), (0.0, 1)],
    ids=["a second each", "shorter ones", "one image"],
)
def test_stretches_of_a_recording(seconds, count):
    blocks = blocks_of(np.linspace(0, seconds, 1 + round(seconds * 30), endpoint=False))
    assert len(np.unique(blocks)) == count and blocks[0] == 0 and (np.diff(blocks) >= 0).all()


def test_one_image_gives_no_interval():
    (found,) = compare([mean_measure(np.ones(1), np.zeros(1))], blocks_of(np.zeros(1)), 100, 0)
    assert (found.difference, found.low, found.verdict) == (-1, None, "")
