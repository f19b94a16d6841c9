"""Settings that exclude each other are refused with 2 and a sentence before any work starts."""

import shlex

import pytest
from tiny import TINY

from octopi import errors

TRAIN = [word for word in TINY if not word.startswith(("tomo_types", "trainer.precision"))]
COMBINATIONS = [
    ("train", "tomo_types=[wbp,wbp]", "each once"),
    ("train", "trainer.precision=16-true", "32-true"),
    ("train", "trainer.max_time=00:00:00:00", "above 0"),
    ("train", "data.tilt_series_pattern='('", "no regular expression"),
    ("train", "num_folds=3 trainer.devices=2", "leave trainer.devices at 1"),
    ("train", "optim.optimizer.lr=1e5", "at most 100"),
    ("train", "logger=mlflow logger.experiment_name=", "not empty"),
    ("train", "data.cache_dir=", "not empty"),
    ("train", "loss=dice_ce loss.lambda_dice=0 loss.lambda_ce=0", "Are all of its weights 0"),
    ("train", "objectives=[]", "not empty"),
    ("train", "fold=1", "needs num_folds"),
    ("train", "num_folds=3 data.fold=0", "leave out data.fold"),
    ("train", "num_folds=3 fold=1 data.fold=null", "leave out data.fold"),
    ("train", "data.num_folds=3 data.fold=0", "leave out data.fold"),
    ("train", "num_folds=3 data.num_folds=2", "leave out data.num_folds"),
    ("train", "num_folds=3 fold=3", "not among 0 to 2"),
    ("train", "num_folds=3 data.validation_runs=[TS_01]", "exclude each other"),
    ("train", "data.train_runs=[TS_01] data.test_runs=[TS_01]", "in train and in test"),
    ("train", "predictor.window_size=[16,16,16] predictor.halo=[8,0,0]", "nothing inside"),
    ("segment", "checkpoint=[a.pth,a.pth]", "each once"),
    ("segment", "checkpoint=a.pth scores=false", "Nothing to write"),
    ("localize", "thresholds=0.5 beta=2", "Drop one of them"),
    ("evaluate", "objects=[]", "not empty"),
    ("extract", "pairs=[200,100]", "the smaller first"),
    ("merge_picks", "picks=[] user_id=me", "not empty"),
    ("merge_picks", "picks=[octopi/1] objects=[] user_id=me", "not empty"),
]


@pytest.fixture(scope="module")
def painted(tiny_phantom, tmp_path_factory, octopi_command):
    """A working folder with a project that has targets."""
    from tiny import enter_copy

    folder = tmp_path_factory.mktemp("painted")
    with pytest.MonkeyPatch.context() as patch:
        enter_copy(tiny_phantom, folder, patch)
        assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
        yield folder


@pytest.mark.parametrize(("verb", "typed", "said"), COMBINATIONS)
def test_what_excludes_each_other_is_refused_before_work_starts(
    painted, octopi_command, capsys, verb, typed, said
):
    words = [*TRAIN, "dry_run=true"] if verb == "train" else []
    words = [w for w in words if w.split("=")[0] not in typed]
    words += ["tomo_types=[denoised]"] * (verb == "train" and "tomo_types" not in typed)
    assert octopi_command(verb, *words, *shlex.split(typed)) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "mistake in octopi" not in message


@pytest.mark.parametrize(
    ("verb", "words"),
    [("create_targets", ["overwrite=true", "tomo_types=[denoised]"]),
     ("extract", ["picks=curation/0", "pairs=[1,2]"]), ("evaluate", ["truth=curation/0"])],
)  # fmt: skip
def test_a_dry_run_lists_a_few_runs_and_counts_the_others(
    painted, octopi_command, capsys, monkeypatch, verb, words
):
    for path in painted.glob("static/**/Picks/curation_*.json"):
        path.with_name(path.name.replace("curation_0", "octopi_1")).write_bytes(path.read_bytes())
    monkeypatch.setattr(errors, "MAX_LISTED", 2)
    assert octopi_command(verb, *words, "dry_run=true") == 0
    assert "TS_01, TS_02, … and 1 more" in capsys.readouterr().err
