"""Splits: every run has one purpose, and no class is lost from training."""

import itertools

import pytest

from octopi.data.folds import SplitSettings, split_runs
from octopi.errors import DataError, NotInProjectError, SettingError

TEN = [f"TS_{i}" for i in range(10)]


def splitting(**changes):
    settings = dict.fromkeys(
        ("train_runs", "validation_runs", "test_runs", "ratios", "fold", "num_folds")
    )
    return SplitSettings(**{**settings, "seed": 0, **changes})


def test_folds_validate_every_run_once_and_train_on_all_others():
    splits = [split_runs(TEN, splitting(fold=f, num_folds=3)) for f in range(3)]
    assert sorted(itertools.chain(*(s.validation for s in splits))) == TEN
    assert all({*s.train, *s.validation} == set(TEN) for s in splits)
    assert sorted(len(s.validation) for s in splits) == [3, 3, 4]


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first = split_runs(TEN, splitting(fold=0, num_folds=2))
    assert first == split_runs(TEN[::-1], splitting(fold=0, num_folds=2))
    assert first != split_runs(TEN, splitting(fold=0, num_folds=2, seed=1))


@pytest.mark.parametrize(
    ("ratios", "sizes"),
    [
        ([0.7, 0.1, 0.2], (7, 1, 2)),
        ([0.8, 0.2, 0.0], (8, 2, 0)),
        ([0.65, 0.335, 0.015], (6, 3, 1)),
        ([1, 0, 0], (10, 0, 0)),
        ([0.6, 0.3, 0.1], (6, 3, 1)),
    ],
)
def test_ratios_give_what_they_say_and_a_real_test_set(ratios, sizes):
    split = split_runs(TEN, splitting(ratios=ratios))
    assert (len(split.train), len(split.validation), len(split.test)) == sizes


def test_named_runs_are_taken_as_named():
    split = split_runs(TEN, splitting(train_runs=["TS_3", "TS_1"], validation_runs=["TS_2"]))
    assert (split.train, split.validation, split.test) == (("TS_1", "TS_3"), ("TS_2",), ())


def test_naming_only_validation_runs_trains_on_the_rest():
    split = split_runs(TEN, splitting(validation_runs=["TS_2"], test_runs=["TS_9"]))
    assert split.validation == ("TS_2",)
    assert set(split.train) == set(TEN) - {"TS_2", "TS_9"}


def test_test_runs_are_set_aside_before_folding():
    splits = [
        split_runs(TEN, splitting(test_runs=["TS_8", "TS_9"], fold=f, num_folds=4))
        for f in range(4)
    ]
    assert all(s.test == ("TS_8", "TS_9") for s in splits)
    assert sorted(itertools.chain(*(s.validation for s in splits))) == TEN[:8]


def test_with_nothing_asked_every_run_trains():
    assert split_runs(TEN, splitting()).train == tuple(TEN)


def test_runs_of_one_tilt_series_stay_together():
    groups = {name: name[3:] + "x" if name < "TS_5" else "last" for name in TEN}
    for fold in range(3):
        split = split_runs(TEN, splitting(fold=fold, num_folds=3), groups=groups)
        together = set(TEN[5:])
        assert together <= set(split.train) or together <= set(split.validation)


@pytest.mark.parametrize("seed", range(20))
def test_two_rare_classes_never_leave_training(seed):
    classes = {name: {"common"} for name in TEN}
    for name, rare in (("TS_0", "a"), ("TS_1", "a"), ("TS_1", "b"), ("TS_2", "b"), ("TS_0", "b")):
        classes[name].add(rare)
    for fold in range(5):
        split = split_runs(TEN, splitting(fold=fold, num_folds=5, seed=seed), classes=classes)
        assert set().union(*(classes[name] for name in split.train)) == {"common", "a", "b"}
    split = split_runs(TEN, splitting(ratios=[0.4, 0.3, 0.3], seed=seed), classes=classes)
    assert set().union(*(classes[name] for name in split.train)) == {"common", "a", "b"}
    assert set().union(*(classes[name] for name in split.validation)) == {"common", "a", "b"}


def test_a_class_only_in_held_out_runs_is_an_error_that_names_it_and_them():
    classes = {"TS_0": {"apo"}, **{name: {"ribosome"} for name in TEN[1:]}}
    with pytest.raises(DataError, match=r"apo.*TS_0"):
        split_runs(TEN, splitting(validation_runs=["TS_0"]), classes=classes)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"fold": 0, "num_folds": 11}, SettingError, "there are 10"),
        ({"ratios": [0.5, 0.5, 0]}, SettingError, "Only one run has a target"),
        ({"train_runs": ["TS_1"], "validation_runs": ["TS_1"]}, SettingError, "TS_1 would be in"),
        ({"train_runs": ["TS_1", "TS_1"]}, SettingError, "twice"),
        ({"train_runs": ["TS_11"]}, NotInProjectError, "TS_11.*Did you mean"),
        ({"test_runs": ["TS1"], "fold": 0, "num_folds": 2}, NotInProjectError, "test_runs"),
        ({"train_runs": []}, SettingError, "No run is left"),
    ],
)
def test_impossible_splits_say_why(changes, error, says):
    runs = TEN[:1] if "ratios" in changes else TEN
    with pytest.raises(error, match=says):
        split_runs(runs, splitting(**changes))


def test_runs_of_one_tilt_series_cannot_be_named_apart():
    with pytest.raises(SettingError, match="TS_0 and TS_1, one group"):
        split_runs(
            TEN,
            splitting(train_runs=["TS_0"], validation_runs=["TS_1"]),
            groups={"TS_0": "a", "TS_1": "a"},
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"ratios": [0.5, 0.4, 0.2]},
        {"ratios": [0.0, 1.0, 0.0]},
        {"fold": 3, "num_folds": 3},
        {"fold": 0},
        {"fold": 0, "num_folds": 2, "train_runs": ["TS_1"]},
    ],
)
def test_settings_that_mean_nothing_are_refused_at_once(changes):
    with pytest.raises(SettingError):
        splitting(**changes)
