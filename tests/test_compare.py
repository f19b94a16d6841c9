"""`octopi compare`: finished trainings, new ones, and what is not begun in vain."""

import dataclasses
import json

import pytest
from planted_folds import plant_candidates, plant_folds
from processes import run_command
from tiny import TINY

from octopi.cli.python_api import compose
from octopi.config.build import build
from octopi.evaluation.candidates_file import write_candidates
from octopi.system.files import write_json, write_yaml
from octopi.training.dataset_info import read_dataset_info

OBJECT = "ribosome"


@pytest.fixture
def plant_method(here, octopi_command):
    """Plants finished trainings of a method; a run of a seed may lack a particle."""
    assert octopi_command("create_targets") == 0

    def plant(name, *, seeds=(1, 2), missed=None, num_folds=3):
        for seed in seeds:
            folder = here / "done" / f"{name}_{seed}"
            overrides = [*TINY, f"seed={seed}", f"num_folds={num_folds}"]
            settings, _ = compose("train", overrides)
            info = read_dataset_info(build(settings.project, "project"), settings)
            for fold, run in zip(plant_folds(folder, settings, info), info.runs, strict=True):
                if missed is not None:
                    candidates = {run.name: plant_candidates(info, run, missed=missed)}
                    write_candidates(fold / "candidates.npz", candidates)
                cost = {"steps": 10 * seed, "cpu_seconds_per_step": 0.5}
                write_json(
                    fold / "outcome.json", {"state": "complete", "values": {}, "seconds": 1, **cost}
                )
            write_json(folder / "outcome.json", {"state": "complete", "values": {}, "seconds": 1})
            write_yaml(folder / "config.yaml", dataclasses.asdict(settings))
        return " ".join(f"done/{name}_{seed}" for seed in seeds)

    return plant


def compare(octopi_command, base, *methods, code=0):
    typed = [f"base='{base}'", f"methods=[{','.join(repr(m) for m in methods)}]"]
    return octopi_command("compare", *typed, "hydra.run.dir=job") == code


def test_finished_trainings_are_compared_by_their_candidates(
    here, octopi_command, plant_method, capfd
):
    good, worse = plant_method("good"), plant_method("worse", missed=OBJECT)
    assert compare(octopi_command, good, worse, good.replace("done", "./done"))
    comparison = json.loads((here / "job/comparison.json").read_text(encoding="utf-8"))
    assert comparison["seeds"] == [1, 2]
    assert comparison["num_runs"] == 3
    by_score = comparison["differences"][worse]
    # one of two particles of each run is found: F1 2/3, F4 17/33
    f1, f4 = by_score["F1"][OBJECT], by_score["F4"][OBJECT]
    assert f1["difference"] == pytest.approx(2 / 3 - 1)
    assert f4["difference"] == pytest.approx(17 / 33 - 1)
    assert f1["verdict"] == f4["verdict"] == "worse"
    num_objects = len(by_score["F1"]) - 1
    assert by_score["F1"]["all objects"]["difference"] == pytest.approx((2 / 3 - 1) / num_objects)
    same = comparison["differences"][good.replace("done", "./done")]
    assert {one["verdict"] for one in same["F1"].values()} == {"no difference shown"}
    assert comparison["costs"][worse] == {"steps": 15, "cpu_seconds_per_step": 0.5}
    table = (here / "job/comparison.md").read_text(encoding="utf-8")
    row = f"| F1 {OBJECT} | 1.000 | 0.667 | -0.333 | -0.333 … -0.333 | worse |"
    assert row in " ".join(table.split())
    assert table.strip() in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (1, 3)}, "The seeds of"),
        ({"num_folds": 2}, "has 3 folds of 2"),
    ],
)
def test_trainings_that_are_no_pairs_are_refused(
    octopi_command, plant_method, capsys, changes, message
):
    base, other = plant_method("base"), plant_method("other", **changes)
    code = 2 if "seeds" in changes else 3
    assert compare(octopi_command, base, other, code=code)
    assert message in capsys.readouterr().err


def test_a_method_on_other_particles_is_refused(here, octopi_command, plant_method, capsys):
    overrides = ["targets.picks=curation/0", "targets.objects=[ribosome]", "targets.session_id=2"]
    assert octopi_command("create_targets", *overrides) == 0
    base = f"base={' '.join(TINY)}"
    typed = [base, "methods=[target=targets:octopi/2]", "num_folds=3", "dry_run=true"]
    assert octopi_command("compare", *typed) == 2
    error = capsys.readouterr().err
    assert "scored otherwise than the base" in error
    assert "radii" in error


def test_a_method_that_cannot_be_trained_is_found_before_the_first_begins(
    here, octopi_command, capsys
):
    assert octopi_command("create_targets") == 0
    typed = [f"base={' '.join(TINY)}", "methods=[model.strides=[2,2,2]]", "num_folds=3"]
    assert octopi_command("compare", *typed, "hydra.run.dir=job") == 2
    assert "strides" in capsys.readouterr().err
    assert not list(here.glob("job/**/*"))


@pytest.mark.slow
def test_new_trainings_are_paired_and_a_rerun_trains_only_what_is_missing(
    here, octopi_command, capfd
):
    assert octopi_command("create_targets") == 0
    base = " ".join(word for word in TINY if "check_val" not in word)
    typed = [f"base={base}", "methods=[loss=dice]", "seeds=[1]", "num_folds=3", "cpu_seconds=1"]
    assert run_command("compare", *typed, "hydra.run.dir=job") == 0
    first = json.loads((here / "job/comparison.json").read_text(encoding="utf-8"))
    assert first["costs"]["base"]["cpu_seconds_per_step"] > 0
    splits = [
        [
            json.loads(
                (here / f"job/{name}/seed_1/fold_{i}/data.json").read_text(encoding="utf-8")
            )["split"]
            for i in range(3)
        ]
        for name in ("base", "loss-dice")
    ]
    assert splits[0] == splits[1]
    removed = here / "job/loss-dice/seed_1/fold_1/outcome.json"
    removed.unlink()
    (here / "job/loss-dice/seed_1/outcome.json").unlink()
    kept = here / "job/base/seed_1/fold_0/best_model.pth"
    before = kept.stat().st_mtime_ns
    assert run_command("compare", *typed, "hydra.run.dir=job") == 0
    assert removed.exists()
    assert kept.stat().st_mtime_ns == before
    again = json.loads((here / "job/comparison.json").read_text(encoding="utf-8"))
    assert again["trainings"] == first["trainings"]
