"""Intake: which runs of a project are learned from, read and cached; light to import."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from octopi.data.cache import VolumeCache
from octopi.data.folds import Split, SplitSettings, split_runs
from octopi.data.sources import RunVolumes, SourceReader
from octopi.errors import DataError
from octopi.project import Run, SegmentationQuery, TomogramQuery

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataPreparation:
    """How runs are split and read.

    Args:
        runs: the runs to choose from, by name.
        groups: run name -> what must stay together.
        split_settings: what was asked.
        candidates: the runs that may train or validate: their targets decide the split.
        reader: of their targets and tomograms.
    """

    runs: Mapping[str, Run]
    groups: Mapping[str, str]
    split_settings: SplitSettings
    candidates: Sequence[str]
    reader: SourceReader

    @classmethod
    def from_settings(  # noqa: PLR0913  keys of conf/data, next to four facts
        cls,
        *,
        runs: Iterable[Run],
        target: SegmentationQuery,
        tomograms: Sequence[TomogramQuery],
        labels: Mapping[str, int],
        working_spacing: float | None,
        num_workers: int,
        cache_dir: str,
        train_runs: Sequence[str] | None,
        validation_runs: Sequence[str] | None,
        test_runs: Sequence[str] | None,
        ratios: Sequence[float] | None,
        fold: int | None,
        num_folds: int | None,
        tilt_series_pattern: str | None,
        seed: int,
    ) -> "DataPreparation":
        """The intake of a data module, see there; a split that is impossible is refused."""
        runs_by_name = {run.name: run for run in runs}
        groups = {name: _group(name, tilt_series_pattern) for name in runs_by_name}
        splitting = SplitSettings(
            train_runs, validation_runs, test_runs, ratios, fold, num_folds, seed
        )
        preliminary_split = split_runs(list(runs_by_name), splitting, groups=groups)
        if splitting.names_runs:
            candidates = [*preliminary_split.train, *preliminary_split.validation]
        else:
            candidates = [name for name in runs_by_name if name not in (test_runs or ())]
        cache = VolumeCache(cache_dir)
        reader = SourceReader(cache, target, tomograms, labels, working_spacing, num_workers)
        return cls(runs_by_name, groups, splitting, candidates, reader)

    def read(self) -> tuple[Split, dict[str, RunVolumes]]:
        """The split, and the sources of the candidates: targets are read, tomograms are not."""
        sources = self.reader.read(self.runs[name] for name in self.candidates)
        classes = {name: source.classes for name, source in sources.items()}
        split = split_runs(
            list(self.runs), self.split_settings, groups=self.groups, classes=classes
        )
        labels = self.reader.labels
        _check_trained(labels, [classes[name] for name in split.train])
        validated_objects = set().union(*(classes[name] for name in split.validation))
        for missing in sorted(set(labels) - validated_objects) if split.validation else ():
            logger.warning("No validation run holds %s: it gets no score.", missing)
        return split, sources

    def fill(self, split: Split, sources: Mapping[str, RunVolumes]) -> None:
        """In the cache are the tomograms that training and validation need."""
        self.reader.fill(
            all_tomograms_of=[sources[name] for name in split.train],
            first_only=[sources[name] for name in split.validation],
        )


def _check_trained(labels: Mapping[str, int], classes: Sequence[frozenset[str]]) -> None:
    """Raise DataError if an object can be learned from no run at all."""
    missing = sorted(set(labels).difference(*classes))
    if missing:
        raise DataError(
            f"No target of a training run holds {', '.join(missing)}. Choose other runs, or make "
            "the targets again without it."
        )


def _group(run_name: str, pattern: str | None) -> str:
    """What stays together with the run: its tilt series, or runs of its name in other projects."""
    if pattern is None:
        return run_name.rpartition("/")[2]
    match = re.search(pattern, run_name)
    if match is None:
        raise ValueError(f"tilt_series_pattern {pattern!r} matches nothing in {run_name}.")
    return match.group()
