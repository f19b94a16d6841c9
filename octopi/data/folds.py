"""Folds: which runs train, which validate and which are left for the final test (pure)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, NotInProjectError, SettingError

NUM_TRIES = 1000  # shuffles among which the best stratified one is taken


@dataclass(frozen=True)
class Split:
    """Run names by what they are used for, each sorted; no run is in two of them."""

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitSettings:
    """How runs are to be split, as the user said it.

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
            self._check_fold()
        elif self.ratios is not None:
            self._check_ratios()

    @property
    def names_runs(self) -> bool:
        """Whether the user named the runs."""
        return self.train_runs is not None or self.validation_runs is not None

    def _check_fold(self) -> None:
        if self.names_runs:
            raise SettingError(
                "fold and train_runs or validation_runs exclude each other: a fold chooses runs "
                "by itself. Drop one of them; test_runs may stay."
            )
        if self.num_folds is None or self.num_folds < 2:
            raise SettingError(f"fold={self.fold} needs num_folds of 2 or more.")
        if self.fold is not None and not 0 <= self.fold < self.num_folds:
            raise SettingError(
                f"fold={self.fold} is not among 0 to {self.num_folds - 1} (num_folds - 1)."
            )

    def _check_ratios(self) -> None:
        ratios = list(self.ratios or ())
        if len(ratios) != 3 or min(ratios) < 0 or abs(sum(ratios) - 1) > 1e-3 or not ratios[0]:
            raise SettingError(
                f"ratios are the parts for train, validation and test and add up to 1, for "
                f"instance [0.7, 0.1, 0.2]; not {ratios}."
            )


def split_runs(
    run_names: Sequence[str],
    splitting: SplitSettings,
    *,
    groups: Mapping[str, str] | None = None,
    classes: Mapping[str, Collection[str]] | None = None,
) -> Split:
    """The split asked for, in which no group is torn apart and no class is missing from training.

    Args:
        run_names: all runs there are.
        splitting: what was asked.
        groups: run name -> what must stay together, such as its tilt series; default: the run.
        classes: run name -> names of the objects its target holds.
    """
    known = {name: (groups or {}).get(name, name) for name in run_names}
    classes_by_run = {name: frozenset((classes or {}).get(name, ())) for name in run_names}
    test_runs = _known_runs(splitting.test_runs or (), known, "test_runs")
    if splitting.names_runs:
        split = _split_by_name(known, splitting, test_runs)
    else:
        unnamed_runs = {name: group for name, group in known.items() if name not in test_runs}
        split = _split_pool(unnamed_runs, splitting, classes_by_run, test_runs)
    _check_disjoint(split, known)
    _check_classes(split, classes_by_run)
    return split


def _split_pool(
    pool: Mapping[str, str],
    splitting: SplitSettings,
    classes_by_run: Mapping[str, frozenset[str]],
    tested: Sequence[str],
) -> Split:
    """The runs that nobody named, split by fold, by ratios or not at all."""
    names = sorted(set(pool.values()))
    if splitting.fold is not None and splitting.num_folds is not None:
        parts = _fold_parts(len(names), splitting.num_folds)
        assigned = _stratify(
            pool, classes_by_run, parts, splitting.seed, range(splitting.num_folds)
        )
        validating, testing = {splitting.fold}, set()
    elif splitting.ratios is not None:
        parts = _ratio_parts(len(names), splitting.ratios)
        assigned = _stratify(pool, classes_by_run, parts, splitting.seed, [1])
        validating, testing = {1}, {2}
    else:
        assigned = dict.fromkeys(names, 0)
        validating, testing = set(), set()
    part = {name: assigned[group] for name, group in pool.items()}
    return Split(
        train=_sorted(name for name in part if part[name] not in validating | testing),
        validation=_sorted(name for name in part if part[name] in validating),
        test=_sorted([*tested, *(name for name in part if part[name] in testing)]),
    )


def _split_by_name(
    known: Mapping[str, str], splitting: SplitSettings, tested: Sequence[str]
) -> Split:
    """The split a user wrote down."""
    validation = _known_runs(splitting.validation_runs or (), known, "validation_runs")
    if splitting.train_runs is None:
        train = [name for name in known if name not in {*validation, *tested}]
    else:
        train = _known_runs(splitting.train_runs, known, "train_runs")
    if not train:
        raise SettingError("No run is left to train on. Name some in train_runs.")
    return Split(_sorted(train), _sorted(validation), _sorted(tested))


def _known_runs(names: Sequence[str], known: Mapping[str, str], key: str) -> list[str]:
    """The names, once each, if the project has them all."""
    for name in names:
        if name not in known:
            raise NotInProjectError("The project", f"run in {key}", name, known)
    if len(set(names)) < len(names):
        raise SettingError(f"{key} names a run twice: {', '.join(names)}.")
    return list(names)


def _fold_parts(num_groups: int, num_folds: int) -> NDArray[np.intp]:
    """The part of each shuffled group, folds as equal as can be."""
    if num_groups < num_folds:
        raise SettingError(
            f"num_folds={num_folds} needs as many runs (or tilt series), but there are "
            f"{num_groups}. Choose num_folds of {num_groups} or less."
        )
    return np.arange(num_groups) % num_folds


def _ratio_parts(num_groups: int, ratios: Sequence[float]) -> NDArray[np.intp]:
    """The part of each shuffled group: 0 train, 1 validation, 2 test; a part asked for has one."""
    num_validation, num_test = (max(1, round(num_groups * r)) if r else 0 for r in ratios[1:])
    num_train = num_groups - num_validation - num_test
    if num_train < 1:
        raise SettingError(
            f"{num_groups} run(s) cannot be split by ratios={list(ratios)}: nothing would be left "
            "to train on. Use ratios=[1, 0, 0] to train on every run without validation."
        )
    return np.repeat([0, 1, 2], [num_train, num_validation, num_test])


def _stratify(
    pool: Mapping[str, str],
    classes_by_run: Mapping[str, frozenset[str]],
    parts: NDArray[np.intp],
    seed: int,
    held_out: Iterable[int],
) -> dict[str, int]:
    """Group -> part, by the shuffle that leaves the fewest classes out.

    First none may be missing from training, then as few as possible from validation. A search
    among shuffles holds for any number of classes at once, where a greedy dealing does not.
    """
    names = sorted(set(pool.values()))
    classes = sorted(set().union(*classes_by_run.values()))
    rows = {name: row for row, name in enumerate(names)}
    has = np.zeros((len(names), len(classes)), dtype=np.int64)
    for run, group in pool.items():
        has[rows[group], [classes.index(name) for name in classes_by_run[run]]] = 1
    rng = np.random.default_rng(seed)
    held_out = list(held_out)
    best: tuple[tuple[int, int], NDArray[np.intp]] | None = None
    for _ in range(NUM_TRIES):
        assignment = rng.permutation(parts)
        cost = _missing(assignment, has, held_out)
        if best is None or cost < best[0]:
            best = cost, assignment
        if best[0] == (0, 0):
            break
    assert best is not None
    return {name: int(part) for name, part in zip(names, best[1], strict=True)}


def _missing(
    dealt: NDArray[np.intp], has: NDArray[np.int64], held_out: Sequence[int]
) -> tuple[int, int]:
    """How often a class is missing from training and from validation, over the held-out parts."""
    folds = len(held_out) > 1  # with ratios, training is part 0; with folds, all other parts
    validation = np.stack([has[dealt == part].sum(axis=0) for part in held_out])
    train = has.sum(axis=0) - validation if folds else has[dealt == 0].sum(axis=0)[None]
    return int((train == 0).sum()), int((validation == 0).sum())


def _check_disjoint(split: Split, groups: Mapping[str, str]) -> None:
    """No run, and no two runs of one group, serve two purposes."""
    owner: dict[str, tuple[str, str]] = {}
    for part in ("train", "validation", "test"):
        for name in getattr(split, part):
            other_part, other = owner.setdefault(groups[name], (part, name))
            if other_part != part:
                shared = f"Run {name}" if other == name else f"Runs {other} and {name}, one group,"
                raise SettingError(
                    f"{shared} would be in {other_part} and in {part}. Scores would be too good: "
                    "name each run or tilt series once."
                )


def _check_classes(split: Split, classes_by_run: Mapping[str, frozenset[str]]) -> None:
    """Every class that some run holds is in a training run."""
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
