"""Folds: which runs train, which validate and which are left for the final test (pure)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list

ONE_RUN = (
    "Only one run has a target: nothing can be held out. Train with 'data.ratios=[1,0,0]', or "
    "annotate another run."
)
NUM_TRIES = 1000  # shuffles among which the best stratified one is taken


@dataclass(frozen=True)
class Split:
    """Run names by what they are used for, each sorted; no run is in two of them."""

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return the run names of each part, by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How the user wants the runs to be split.

    The first of these that is set decides: train_runs or validation_runs; fold; ratios; if none
    is, every run trains. test_runs are set aside before folds and ratios.

    Args:
        train_runs: names; None with validation_runs given means every other run.
        validation_runs: names; None with train_runs given means none.
        test_runs: names, never trained or validated on.
        ratios: parts for train, validation and test; they add up to 1.
        fold: which of num_folds parts validates, from 0.
        num_folds: number of parts.
        seed: seed of the shuffle; the parts do not depend on the fold.
    """

    train_runs: Sequence[str] | None
    validation_runs: Sequence[str] | None
    test_runs: Sequence[str] | None
    ratios: Sequence[float] | None
    fold: int | None
    num_folds: int | None
    seed: int

    def __post_init__(self) -> None:
        if self.fold is not None:
            self._check_fold(self.fold)
        elif self.ratios is not None and (abs(sum(self.ratios) - 1) > 1e-3 or not self.ratios[0]):
            raise SettingError(
                f"ratios are the parts for train, validation and test and add up to 1, for "
                f"instance [0.7, 0.1, 0.2]; not {list(self.ratios)}."
            )

    @property
    def names_runs(self) -> bool:
        """True if the user named the runs."""
        return self.train_runs is not None or self.validation_runs is not None

    def _check_fold(self, fold: int) -> None:
        if self.names_runs:
            raise SettingError(
                "fold and train_runs or validation_runs exclude each other: a fold chooses runs "
                "by itself. Drop one of them; test_runs may stay."
            )
        if self.num_folds is None:
            raise SettingError(f"fold={fold} needs num_folds of 2 or more.")
        if fold >= self.num_folds:
            raise SettingError(
                f"fold={fold} is not among 0 to {self.num_folds - 1} (num_folds - 1)."
            )


def split_runs(
    run_names: Sequence[str],
    settings: SplitSettings,
    *,
    groups: Mapping[str, str] | None = None,
    classes: Mapping[str, Collection[str]] | None = None,
) -> Split:
    """Split runs so that no group is divided and no class is missing from training.

    Args:
        run_names: all runs of the project.
        settings: how to split them.
        groups: run name -> what must stay together, such as its tilt series; default: the run.
        classes: run name -> names of the objects in its target.

    Raises:
        NotInProjectError: a named run is not among them.
        SettingError: the settings leave no run to train on or divide a group.
        DataError: a class occurs in no training run.
    """
    group_by_run = {name: (groups or {}).get(name, name) for name in run_names}
    classes_by_run = {name: frozenset((classes or {}).get(name, ())) for name in run_names}
    test_runs = _check_names(settings.test_runs or (), group_by_run, "test_runs")
    if settings.names_runs:
        split = _split_by_name(group_by_run, settings, test_runs)
    else:
        unnamed_runs = {run: group for run, group in group_by_run.items() if run not in test_runs}
        split = _split_unnamed(unnamed_runs, settings, classes_by_run, test_runs)
    _check_disjoint(split, group_by_run)
    _check_classes(split, classes_by_run)
    return split


def _split_unnamed(
    group_by_run: Mapping[str, str],
    settings: SplitSettings,
    classes_by_run: Mapping[str, frozenset[str]],
    test_runs: Sequence[str],
) -> Split:
    """Split the runs that the user did not name by fold, by ratios or not at all."""
    groups = sorted(set(group_by_run.values()))
    if settings.fold is not None and settings.num_folds is not None:
        parts = _fold_parts(len(groups), settings.num_folds)
        folds = range(settings.num_folds)
        assignment = _stratify(group_by_run, classes_by_run, parts, settings.seed, folds)
        validation_part, test_part = settings.fold, None
    elif settings.ratios is not None:
        parts = _ratio_parts(len(groups), settings.ratios)
        assignment = _stratify(group_by_run, classes_by_run, parts, settings.seed, [1])
        validation_part, test_part = 1, 2
    else:
        assignment = dict.fromkeys(groups, 0)
        validation_part = test_part = None
    runs = {run: assignment[group] for run, group in group_by_run.items()}
    validation = [run for run, part in runs.items() if part == validation_part]
    test = [run for run, part in runs.items() if part == test_part]
    train = runs.keys() - {*validation, *test}
    return Split(_sorted(train), _sorted(validation), _sorted([*test_runs, *test]))


def _split_by_name(
    run_names: Collection[str], settings: SplitSettings, test_runs: Sequence[str]
) -> Split:
    """Split the runs as the user named them."""
    validation = _check_names(settings.validation_runs or (), run_names, "validation_runs")
    if settings.train_runs is None:
        train = [name for name in run_names if name not in {*validation, *test_runs}]
    else:
        train = _check_names(settings.train_runs, run_names, "train_runs")
    if not train:
        raise SettingError("No run is left to train on. Name some in train_runs.")
    return Split(_sorted(train), _sorted(validation), _sorted(test_runs))


def _check_names(names: Sequence[str], run_names: Collection[str], key: str) -> list[str]:
    """Return the names after a check that each is a run of the project, and named once."""
    for name in names:
        if name not in run_names:
            raise NotInProjectError("The project", f"run in {key}", name, run_names)
    if len(set(names)) < len(names):
        raise SettingError(f"{key} names a run twice: {shorten_list(names)}.")
    return list(names)


def _fold_parts(num_groups: int, num_folds: int) -> NDArray[np.intp]:
    """Return the fold of each shuffled group, folds as equal as can be."""
    if num_groups < num_folds:
        raise SettingError(
            f"num_folds={num_folds} needs as many runs (or tilt series), but there are "
            f"{num_groups}. Choose num_folds of {num_groups} or less."
        )
    return np.arange(num_groups) % num_folds


def check_none_absent(absent: Collection[str]) -> None:
    """Raise DataError if there are objects that no target of a training run holds."""
    if absent:
        raise DataError(
            f"No target of a training run holds {shorten_list(sorted(absent))}. Choose other runs, "
            "or make the targets again without it (targets.objects)."
        )


def _ratio_parts(num_groups: int, ratios: Sequence[float]) -> NDArray[np.intp]:
    """Return the part of each shuffled group: 0 train, 1 validation, 2 test.

    A ratio above 0 gives at least one group.
    """
    num_validation, num_test = (max(1, round(num_groups * r)) if r else 0 for r in ratios[1:])
    num_train = num_groups - num_validation - num_test
    if num_train < 1 and num_groups == 1:
        raise SettingError(ONE_RUN)
    if num_train < 1:
        raise SettingError(
            f"{num_groups} run(s) cannot be split by ratios={list(ratios)}: nothing would be left "
            "to train on. Use ratios=[1, 0, 0] to train on every run without validation."
        )
    return np.repeat([0, 1, 2], [num_train, num_validation, num_test])


def _stratify(
    group_by_run: Mapping[str, str],
    classes_by_run: Mapping[str, frozenset[str]],
    parts: NDArray[np.intp],
    seed: int,
    held_out: Iterable[int],
) -> dict[str, int]:
    """Assign each group a part, by the shuffle that leaves the fewest classes out.

    First none may be missing from training, then as few as possible from validation. A search
    among shuffles works for any number of classes at once, which a greedy assignment does not.

    Args:
        group_by_run: of each run, what stays together.
        classes_by_run: of each run, the objects in its target.
        parts: of the shuffled groups.
        seed: of the shuffles.
        held_out: the parts that validate, each in its turn.
    """
    names = sorted(set(group_by_run.values()))
    classes = sorted(set().union(*classes_by_run.values()))
    rows = {name: row for row, name in enumerate(names)}
    has = np.zeros((len(names), len(classes)), dtype=np.int64)
    for run, group in group_by_run.items():
        has[rows[group], [classes.index(name) for name in classes_by_run[run]]] = 1
    rng = np.random.default_rng(seed)
    held_out = list(held_out)
    best: tuple[tuple[int, int], NDArray[np.intp]] | None = None
    for _ in range(NUM_TRIES):
        assignment = rng.permutation(parts)
        cost = _count_missing(assignment, has, held_out)
        if best is None or cost < best[0]:
            best = cost, assignment
        if best[0] == (0, 0):
            break
    assert best is not None
    return {name: int(part) for name, part in zip(names, best[1], strict=True)}


def _count_missing(
    assignment: NDArray[np.intp], has: NDArray[np.int64], held_out: Sequence[int]
) -> tuple[int, int]:
    """Count how often a class is missing from training and from validation.

    Args:
        assignment: part of each group.
        has: whether a group (row) has a class (column), 0 or 1.
        held_out: the parts that validate, each in its turn.
    """
    folds = len(held_out) > 1  # with ratios, training is part 0; with folds, all other parts
    validation = np.stack([has[assignment == part].sum(axis=0) for part in held_out])
    train = has.sum(axis=0) - validation if folds else has[assignment == 0].sum(axis=0)[None]
    return int((train == 0).sum()), int((validation == 0).sum())


def _check_disjoint(split: Split, groups: Mapping[str, str]) -> None:
    """Raise SettingError if a run, or two runs of one group, are in two parts."""
    first_use: dict[str, tuple[str, str]] = {}
    for part, names in split.parts().items():
        for name in names:
            other_part, other = first_use.setdefault(groups[name], (part, name))
            if other_part != part:
                shared = f"Run {name}" if other == name else f"Runs {other} and {name}, one group,"
                raise SettingError(
                    f"{shared} would be in {other_part} and in {part}. Scores would be too good: "
                    "name each run or tilt series once."
                )


def _check_classes(split: Split, classes_by_run: Mapping[str, frozenset[str]]) -> None:
    """Raise DataError if a class occurs in no training run."""
    trained = frozenset().union(*(classes_by_run[name] for name in split.train))
    for missing in sorted(frozenset().union(*classes_by_run.values()) - trained):
        runs = [name for name, names in classes_by_run.items() if missing in names]
        raise DataError(
            f"No training run holds {missing}: only {', '.join(runs)} do, and they are held out. "
            "Annotate it in another run, choose the runs by name (train_runs), or leave this "
            "object out of the targets."
        )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
