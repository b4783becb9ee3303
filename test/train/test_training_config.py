"""Training configurations: the ones that come along, stages, changes, and what is wrong explained."""

import pytest

pytest.importorskip("torch")

from train.config import FOLDER, Plan, RunConfig, changed
from train.run import main

RECIPES = {
    # epochs, learning rate, milestones, batch: the table of the paper's repository.
    ("single_frame_dexycb", "stage1"): (38, 1e-3, (30,), 32),
    ("single_frame_dexycb", "stage2"): (38, 1e-4, (30,), 32),
    ("multi_frame_dexycb", "stage1"): (25, 1e-4, (10, 20), 32),
    ("multi_frame_dexycb", "stage2"): (25, 1e-4, (10, 20), 32),
    ("single_frame_ho3d", "stage1"): (90, 1e-3, (30, 50, 70), 128),
    ("single_frame_ho3d", "stage2"): (90, 1e-3, (30, 50, 70), 128),
    ("multi_frame_ho3d", "stage1"): (90, 1e-3, (40, 70, 90), 32),
    ("multi_frame_ho3d", "stage2"): (90, 1e-3, (40, 70, 90), 32),
}


@pytest.mark.parametrize(("name", "stage"), RECIPES)
def test_the_published_recipes(name, stage):
    config = Plan.load(name).stages[stage]
    o, mixture = config.optimisation, config.mixture
    batch = mixture.triplet_batch if config.network.multi_frame else mixture.batch
    assert (o.epochs, o.learning_rate, o.milestones, batch) == RECIPES[name, stage]
    assert (o.gamma, o.clip, o.weight_decay, o.average) == (0.1, 0.1, 0, 0)
    assert o.stage == int(stage[-1])
    assert config.network.width == 1.0 and mixture.augmentation == "published"
    assert mixture.triplet_share == 1 or not config.network.multi_frame
    assert list(config.data) == ["dexycb" if "dexycb" in name else "ho3d_v2"]


def test_stages_begin_with_the_last_one():
    starts = {name: [stage.start for stage in Plan.load(name).stages.values()] for name, _ in RECIPES}
    assert starts == {
        "single_frame_dexycb": ["", "stage1"],
        "multi_frame_dexycb": ["single_frame_dexycb/stage1", "stage1"],
        "single_frame_ho3d": ["", "stage1", "warm_up"],
        "multi_frame_ho3d": ["single_frame_ho3d/stage1", "stage1", "warm_up"],
    }


@pytest.mark.parametrize("name", ["single_frame_ho3d", "multi_frame_ho3d"])
def test_ho3d_is_warmed_up_on_dexycb(name):
    warm_up = Plan.load(name).stages["warm_up"]
    assert list(warm_up.data) == ["dexycb"]
    assert warm_up.optimisation.stage == 2 and warm_up.optimisation.epochs < 5


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_configurations_that_come_along_survive_the_disk(path, tmp_path):
    plan = Plan.load(path)
    for config in plan.stages.values():
        assert config.description
        config.save(tmp_path / "config.yaml")
        assert RunConfig.load(tmp_path / "config.yaml") == config


def test_values_are_changed_for_all_stages_or_for_one():
    plan = Plan.load(
        "single_frame_dexycb",
        ["network.width=0.5", "stage2:optimisation.learning_rate=2e-5", "optimisation.steps=7"],
    )
    one, two = plan.stages["stage1"], plan.stages["stage2"]
    assert one.network.width == two.network.width == 0.5
    assert (one.optimisation.learning_rate, two.optimisation.learning_rate) == (1e-3, 2e-5)
    assert one.optimisation.steps == 7 and one.optimisation.epochs is None
    assert "optimisation.stage: 1 -> 2" in changed(one, two)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimisation: {steps: 5, speed: 3}", "optimisation: unknown speed; known are"),
        ("network: {width: 99}\noptimisation: {steps: 5}", "width must lie"),
        ("seed: 3", "optimisation"),
        ("[1, 2", "not YAML"),
        ("optimisation: {steps: 5, learning_rate: fast}", "learning_rate: expected float, got 'fast'"),
        ("optimisation: {steps: 5, epochs: 2}", "either steps or epochs"),
        ("optimisation: {steps: 5}\ndata: {freihand: {}}", "unknown freihand; known are synthetic"),
        ("optimisation: {steps: 5}\nmixture: {augmentation: none}", "expected 'upright' or 'published'"),
        ("optimisation: {steps: 5}\nstages: [1]", "stages must be names"),
    ],
)
def test_wrong_configurations_are_explained(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        RunConfig.load(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimisation.learning_rate", "expected NAME=VALUE"),
        ("stage9:seed=1", "no stage 'stage9'; there are stage1, stage2"),
        ("optimisation.speed=1", "unknown speed"),
    ],
)
def test_wrong_changes_are_explained(change, message):
    with pytest.raises(ValueError, match=message):
        Plan.load("single_frame_dexycb", [change])


def test_an_unknown_configuration_names_the_known_ones():
    with pytest.raises(ValueError, match="multi_frame_dexycb"):
        Plan.load("three_frames")


def test_the_list_shows_every_stage(capsys):
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    for name, stage in RECIPES:
        assert name in shown and stage in shown
    assert "90 epochs, learning rate 0.001, batch 128, from warm_up" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["single_frame_dexycb"], "--mano MANO_RIGHT.pkl"),
        (["open_hand_compact"], "give --synthetic and --real"),
        (["multi_frame_dexycb"], "python -m train.run single_frame_dexycb --stage stage1"),
        (["single_frame_dexycb", "--stage", "stage3"], "no stage stage3; it has stage1, stage2"),
        (["single_frame_dexycb", "--device", "tpu"], "expected cpu, cuda"),
    ],
)
def test_what_is_missing_is_named(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
