"""What words of the command line stand for."""

import pytest
import yaml

from octopi.errors import SettingError
from octopi.words import expanded, resumed


def _job(folder, *words):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(words)), encoding="utf-8")
    return folder


def test_resume_repeats_the_words_the_job_began_with(tmp_path):
    _job(tmp_path, "model=unet", "trainer.max_epochs=5")
    words = resumed([f"resume={tmp_path}", "trainer.max_epochs=9"])
    assert words[:2] == ["model=unet", "trainer.max_epochs=9"]
    assert f"hydra.run.dir='{tmp_path}'" in words


def test_an_experiment_may_be_the_folder_of_a_training(tmp_path):
    folder = _job(tmp_path / "a", "model=unet", "optim.optimizer.lr=0.1", "resume='x'")
    words = expanded([f"experiment={folder}", "optim.optimizer.lr=0.2"], verb="train")
    assert words == ["model=unet", "optim.optimizer.lr=0.2"]


def test_the_best_of_a_search_is_an_experiment_and_no_trial_any_more(tmp_path):
    _job(tmp_path / "trial_3", "loss=focal", "trial={folder:'x',number:3}")
    results = {"best": {"number": 3, "folder": "trial_3"}}
    (tmp_path / "optimization_results.yaml").write_text(yaml.safe_dump(results), encoding="utf-8")
    assert expanded([f"experiment={tmp_path}/best"], verb="train") == ["loss=focal"]


@pytest.mark.parametrize(
    ("results", "said"), [(None, "no optimization_results"), ({}, "no best trial yet")]
)
def test_a_best_that_is_not_there_is_said_so(tmp_path, results, said):
    if results is not None:
        (tmp_path / "optimization_results.yaml").write_text(
            yaml.safe_dump(results), encoding="utf-8"
        )
    with pytest.raises(SettingError, match=said):
        expanded([f"experiment={tmp_path}/best"], verb="train")


def test_an_experiment_of_conf_is_left_to_hydra():
    assert expanded(["experiment=czii"], verb="train") == ["experiment=czii"]


def test_the_same_sweep_has_the_same_folder_and_another_has_another():
    def folder(*words):
        return expanded(["-m", *words], verb="train")[-1]

    first = folder("search=unet", "seed=1", "hydra.sweeper.n_trials=4")
    assert first.startswith("hydra.sweep.dir='outputs/train/unet-")
    assert first == folder("seed=1", "search=unet", "hydra.sweeper.n_trials=8")
    assert first != folder("search=unet", "seed=2")
    assert folder("seed=1", "hydra.sweep.dir=here") == "hydra.sweep.dir=here"
    assert expanded(["seed=1"], verb="train") == ["seed=1"]


def test_an_experiment_may_be_a_file_and_is_found_again_on_resume(tmp_path):
    path = tmp_path / "plans" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.touch()
    search = f"hydra.searchpath=['file://{path.parents[1]}']"
    words = expanded([f"experiment={path}", "seed=1"], verb="train")
    assert words == ["seed=1", "experiment='mine'", search]
    folder = _job(tmp_path / "job", "experiment=mine", "seed=1")
    held = {"hydra": {"overrides": {"hydra": [search, "hydra.run.dir=job"]}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(held), encoding="utf-8")
    assert search in resumed([f"resume={folder}"])
    assert "hydra.run.dir=job" not in resumed([f"resume={folder}"])


def test_a_dry_run_makes_no_folder_and_remembers_which_it_would_be():
    words = expanded(["dry_run=true", "hydra.run.dir=outputs/a"], verb="train")
    assert "hydra.run.dir=." in words
    assert "hydra.sweep.dir='outputs/a'" in words
    assert "hydra.output_subdir=null" in words
    assert expanded(["dry_run=false"], verb="train") == ["dry_run=false"]


def test_a_sweep_rehearsed_has_the_folder_it_will_have():
    real = expanded(["-m", "seed=1,2"], verb="train")
    dry = expanded(["-m", "seed=1,2", "dry_run=true"], verb="train")
    assert real[-1] in dry
    with pytest.raises(SettingError, match="leave out -m"):
        expanded(["-m", "beta=1,2", "dry_run=true"], verb="localize")
