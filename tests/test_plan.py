import shutil

import pytest
import yaml
from tiny import TINY

from octopi.checks.measured_cost import Cost, NetworkCosts

PLAN = "outputs/plan/experiment/project.yaml"
SHORT = [o for o in TINY if o.startswith(("trainer.", "model.", "data.steps", "data.num"))]


@pytest.fixture
def planned(here, octopi_command, capfd):
    assert octopi_command("plan", "model.channels=[4,8]", "model.strides=[2]") == 0
    return yaml.safe_load((here / PLAN).read_text(encoding="utf-8")), "".join(capfd.readouterr())


def test_a_plan_describes_the_project_its_sizes_and_its_use(planned, here):
    content, output = planned
    text = (here / PLAN).read_text(encoding="utf-8")
    assert text.startswith("# @package _global_")
    assert "3 of 24×48×48 voxels of 20 Å" in text
    assert content["tomo_types"] == ["denoised"]
    assert content["data"]["working_spacing"] is None
    assert content["data"]["crop_size"] == [24, 48, 48]
    assert content["model"] == {"channels": [4, 8], "strides": [2]}
    assert content["num_folds"] == 3
    assert "Time: training about" in text
    assert output.strip().endswith(f"octopi train experiment={PLAN}")


def test_every_command_takes_a_plan_as_its_experiment(planned, here, octopi_command):
    experiment = f"experiment={PLAN}"
    assert octopi_command("create_targets", experiment) == 0
    assert octopi_command("check", experiment) == 0
    once = ["num_folds=null", "data.ratios=null", "data.train_runs=[TS_01,TS_02]",
            "data.validation_runs=[TS_03]", "hydra.run.dir=job"]  # fmt: skip
    assert octopi_command("train", experiment, *SHORT, *once) == 0
    config = yaml.safe_load((here / "job" / "config.yaml").read_text(encoding="utf-8"))
    assert config["data"]["crop_size"] == [24, 48, 48]
    assert config["predictor"]["window_size"] == [24, 48, 48]
    model = "checkpoint=job/best_model.pth"
    assert (
        octopi_command("segment", experiment, model, "runs=[TS_03]", "predictor.num_sides=1") == 0
    )
    assert octopi_command("localize", experiment, model, "runs=[TS_03]", "thresholds=0.5") == 0
    assert octopi_command("evaluate", experiment, "runs=[TS_03]", "scorer=czii") == 0


def test_a_training_from_a_plan_resumes_without_it(planned, here, octopi_command):
    experiment = f"experiment={PLAN}"
    assert octopi_command("create_targets", experiment) == 0
    once = ["num_folds=null", "data.ratios=[1,0,0]", "hydra.run.dir=job"]
    assert octopi_command("train", experiment, *SHORT, *once) == 0
    assert octopi_command("train", "resume=job", "trainer.max_epochs=2") == 0


def test_the_ending_of_the_file_may_be_part_of_the_name(here, octopi_command):
    words = ["model.channels=[4,8]", "model.strides=[2]"]
    assert octopi_command("plan", "name=mine.yaml", *words) == 0
    path = next(here.rglob("mine.yaml"))
    assert octopi_command("create_targets", f"experiment={path}", "dry_run=true") == 0


def test_an_existing_plan_is_not_replaced_without_overwrite(planned, here, octopi_command):
    path = here / PLAN
    path.write_text("# @package _global_\nmine: 1\n", encoding="utf-8")
    assert octopi_command("plan") == 2
    assert "mine" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["../x", "a/b", ".."])
def test_a_name_that_climbs_out_of_the_folder_is_refused(here, octopi_command, capfd, name):
    assert octopi_command("plan", f"name={name}", "overwrite=true") == 2
    assert "is no name of a file" in capfd.readouterr().err
    assert not list(here.rglob("x.yaml"))


def test_a_dry_run_shows_the_plan_and_writes_nothing(here, octopi_command, capfd):
    before = sorted(here.rglob("*"))
    overrides = [
        "model.channels=[4,8]",
        "model.strides=[2]",
        "targets.radius_scale=0.4",
        "name=mine",
    ]
    assert octopi_command("plan", *overrides, "dry_run=true") == 0
    output = "".join(capfd.readouterr())
    assert "outputs/plan/experiment/mine.yaml would be written" in output
    assert "radius_scale: 0.4" in output
    assert sorted(here.rglob("*")) == before


def test_minutes_decide_how_many_folds_there_are_and_how_long_they_train(
    here, octopi_command, capfd, monkeypatch
):
    seconds_of_a_step = 0.9 * 60 / 1000  # so that a minute has 1,000 steps
    crop = Cost(seconds_of_a_step / 2, 1, 1)
    costs = NetworkCosts(crop, crop, 1, 2, 1, on_gpu=False)
    monkeypatch.setattr("octopi.plan.measure_network", lambda *_, **__: costs)
    planned = {}
    for minutes in (0.5, 2.5, 60):
        words = [f"minutes={minutes}", f"name=p{minutes:g}", "experiment=czii", "dry_run=false"]
        assert octopi_command("plan", *words) == 0
        text = (here / f"outputs/plan/experiment/p{minutes:g}.yaml").read_text(encoding="utf-8")
        planned[minutes] = yaml.safe_load(text), text
    none, two, all_runs = planned.values()
    assert none[0]["num_folds"] is None
    assert none[0]["data"]["ratios"] == [0.667, 0.333, 0.0]
    assert "No folds: 30 s are about 500 steps here" in none[1].replace("\n# ", " ")
    assert two[0]["num_folds"] == 2
    assert two[0]["trainer"] == {"max_time": "00:00:02:30", "max_epochs": 12}  # of 100 steps
    assert all_runs[0]["num_folds"] == 3
    assert "steps_per_fold" not in all_runs[1]


def test_a_mask_is_a_class_of_the_network_that_is_measured(here, octopi_command, monkeypatch):
    measured = []

    def measure(net, loss, crop_size, *, num_classes, device):
        measured.append(num_classes)
        raise MemoryError

    monkeypatch.setattr("octopi.plan.measure_network", measure)
    assert octopi_command("plan") == 4
    assert octopi_command("plan", "targets.segmentations=[membrane:curation/0]") == 4
    assert measured[1] == measured[0] + 1


def test_a_run_without_picks_is_left_out_as_by_create_targets(here, octopi_command, capfd):
    shutil.rmtree(next((here / "static").glob("**/TS_02/Picks")))
    assert octopi_command("create_targets") == 0
    assert octopi_command("plan", "model.channels=[4,8]", "model.strides=[2]") == 0
    assert "2 runs, 2 of 24×48×48 voxels" in (here / PLAN).read_text(encoding="utf-8")
    assert octopi_command("plan", "runs=[TS_02]", "name=other") == 3
    assert "Run TS_02 has no picks or masks" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment=outputs/none.yaml", "There is no experiment"),
        ("experiment=elsewhere.yaml", "folder called experiment"),
    ],
)
def test_an_experiment_that_does_not_exist_is_refused(
    here, octopi_command, capfd, override, message
):
    (here / "elsewhere.yaml").write_text("# @package _global_\n", encoding="utf-8")
    assert octopi_command("create_targets", override) == 2
    assert message in capfd.readouterr().err


def test_picks_that_do_not_exist_are_refused_with_those_that_do(here, octopi_command, capfd):
    assert octopi_command("plan", "targets.picks=nobody/1") == 3
    assert "curation/0" in capfd.readouterr().err
