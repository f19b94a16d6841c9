"""Split a project's runs and prepare their volumes."""

import logging
import re
from collections.abc import Iterable, Mapping

from octopi.data.folds import Split, SplitSettings, check_none_absent, split_runs
from octopi.data.sources import RunVolumes, SourceReader
from octopi.errors import shorten_list
from octopi.project.run import Run

logger = logging.getLogger(__name__)


class DataPreparation:
    """Splits runs by their names and by what their targets hold.

    Args:
        runs: the runs to choose from; each needs the target and the tomograms.
        split_settings: how to split them.
        reader: of their targets and tomograms.
        tilt_series_pattern: regular expression whose match in a run's name is its tilt series;
            runs of one tilt series stay together. None: the run's name, which several projects
            may share.

    Raises:
        SettingError: the split is impossible.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        split_settings: SplitSettings,
        reader: SourceReader,
        *,
        tilt_series_pattern: str | None,
    ) -> None:
        self.runs = {run.name: run for run in runs}
        self.reader = reader
        self._settings = split_settings
        self._groups = {name: _tilt_series(name, tilt_series_pattern) for name in self.runs}
        preliminary_split = split_runs(list(self.runs), split_settings, groups=self._groups)
        if split_settings.names_runs:
            self._runs_to_read = [*preliminary_split.train, *preliminary_split.validation]
        else:  # the classes in their targets decide
            test_runs = split_settings.test_runs or ()
            self._runs_to_read = [name for name in self.runs if name not in test_runs]

    def read_and_split(self) -> tuple[Split, dict[str, RunVolumes]]:
        """Read the targets and split the runs; return the split and the volumes by run name.

        Raises:
            DataError: an object is in no target that trains.
        """
        volumes = self.reader.cache_targets([self.runs[name] for name in self._runs_to_read])
        classes = {name: run_volumes.classes for name, run_volumes in volumes.items()}
        split = split_runs(list(self.runs), self._settings, groups=self._groups, classes=classes)
        _warn_of_missing_annotations(volumes)
        labels = self.reader.labels
        check_none_absent(set(labels).difference(*(classes[name] for name in split.train)))
        validated_objects = set().union(*(classes[name] for name in split.validation))
        for missing in sorted(set(labels) - validated_objects) if split.validation else ():
            logger.warning("No validation run holds %s: it gets no score.", missing)
        return split, volumes


def _warn_of_missing_annotations(volumes: Mapping[str, RunVolumes]) -> None:
    """Warn of objects that count only in some runs, because nobody annotated them in the others."""
    for name in sorted(set[str]().union(*(v.not_annotated for v in volumes.values()))):
        run_names = [run_name for run_name, v in volumes.items() if name in v.not_annotated]
        logger.warning(
            "%s is not annotated in %d of %d runs, where it is neither learned nor scored: %s.",
            name,
            len(run_names),
            len(volumes),
            shorten_list(run_names),
        )


def _tilt_series(run_name: str, pattern: str | None) -> str:
    """Return the name of a run's tilt series; without a pattern, its name in any project."""
    if pattern is None:
        return run_name.rpartition("/")[2]
    try:
        match = re.search(pattern, run_name)
    except re.error as error:
        raise ValueError(
            f"tilt_series_pattern {pattern!r} is no regular expression: {error}."
        ) from error
    if match is None:
        raise ValueError(f"tilt_series_pattern {pattern!r} matches nothing in {run_name}.")
    return match.group()
