"""Projects: the runs and objects of one or several copick configs."""

import contextlib
import functools
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import (
    DataError,
    LockedError,
    NotInProjectError,
    SettingError,
    shorten,
    shorten_list,
)
from octopi.geometry import Grid
from octopi.project import copick_items
from octopi.project.config_file import check_config, open_config_root, refused_options
from octopi.project.objects import NO_OBJECTS, PickableObject, merge_objects
from octopi.project.queries import TomogramQuery, check_name, check_run_name
from octopi.project.run import Run
from octopi.project.shared_work import SharedWork
from octopi.project.storage import (
    check_overlay,
    check_overlays_differ,
    check_roots,
    is_absent,
    root_folders,
    storage_errors_as_data_error,
    storage_errors_as_resource_error,
)
from octopi.project.work_folder import WorkFolder, new_worker_id
from octopi.project.worker import PROCESS, Worker
from octopi.project.write_volume import write_volume

logger = logging.getLogger(__name__)


class Project:
    """The runs and objects of one or several copick configs.

    It pickles as the paths of the configs, which are opened again where it is unpickled.

    Args:
        config_paths: the configs.
    """

    def __init__(self, config_paths: Sequence[Path]) -> None:
        self.config_paths = tuple(config_paths)
        self._roots = {str(path): open_config_root(path) for path in self.config_paths}
        for path, root in self._roots.items():
            check_roots(root, path)
        self.objects: dict[str, PickableObject] = merge_objects(
            {path: root.config.pickable_objects for path, root in self._roots.items()}
        )
        check_overlays_differ(self._roots)
        self._warnings: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config_paths,)

    @cached_property
    def runs(self) -> list[Run]:
        """All runs, sorted by name; those of several configs with one name are `CONFIG/RUN`."""
        copick_runs = []
        prefixes = _prefixes(self.config_paths)
        for prefix, (path, root) in zip(prefixes, self._roots.items(), strict=True):
            if is_absent(root, "static_root"):
                self.warn_once(
                    f"{path}: its static_root {shorten(root.config.static_root, 200)} is not "
                    "there, so that only overlay_root is read. Correct it, or mount its disk."
                )
            with storage_errors_as_data_error(f"The list of runs of {path}"):
                try:
                    copick_runs += [(prefix, run) for run in root.query()]
                except TypeError as error:  # S3's client takes its options when it connects
                    raise refused_options(path, error) from error
        for _, run in copick_runs:
            if any(unicodedata.category(sign) == "Cc" for sign in run.name):
                raise DataError(
                    f"The name of run {run.name!r} has control characters, which lists and logs "
                    "cannot show. Rename its folder."
                )
        times = Counter(run.name for _, run in copick_runs)
        runs = [
            Run(
                run.name if times[run.name] == 1 else f"{prefix}/{run.name}",
                run,
                self.objects,
                self.warn_once,
                self._select_one,
            )
            for prefix, run in copick_runs
        ]
        return sorted(runs, key=lambda run: run.name)

    def select(self, names: Sequence[str] | None, *, keep_contents: bool = False) -> list[Run]:
        """Return the runs of these names, in this order; all runs for None.

        Args:
            names: of the runs.
            keep_contents: whether each is listed once, for one command; see `Run.keep_contents`.

        Raises:
            DataError: the project has no runs.
            NotInProjectError: it has no run of a name.
            SettingError: no run is named, or one twice.
        """
        if names is None:
            if not self.runs:
                roots = [folder for root in self._roots.values() for folder in root_folders(root)]
                raise DataError(
                    f"{self} has no runs: ExperimentRuns is empty or absent in "
                    f"{shorten_list(roots, item_length=160)}. "
                    "Check static_root and overlay_root in the config."
                )
            names = [run.name for run in self.runs]
        if not names:
            raise SettingError("runs=[] names no run. Leave it out for all runs, or name some.")
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise SettingError(f"Run {repeated[0]} is named more than once. Name each run once.")
        by_name = {run.name: run for run in self.runs}
        for name in names:
            if name not in by_name:
                raise NotInProjectError(str(self), "run", name, by_name)
        runs = [by_name[name] for name in names]
        for run in runs if keep_contents else ():
            run.keep_contents()
        return runs

    def _select_one(self, name: str) -> Run:
        return self.select([name])[0]

    def require_objects(self) -> dict[str, PickableObject]:
        """Return the objects; raise DataError where the configs name none."""
        if not self.objects:
            raise DataError(NO_OBJECTS)
        return self.objects

    def check_writable(self, *, touch: bool = True) -> None:
        """Raise ResourceError unless every overlay accepts files; call it before long work.

        Args:
            touch: write a file to try; else only check permissions, and only on local disks.
        """
        for root in self._roots.values():
            check_overlay(root, touch=touch)

    @contextlib.contextmanager
    def writing(
        self,
        runs: Sequence[Run],
        output: str,
        settings: Mapping[str, Any],
        *,
        dry_run: bool,
        alone: bool = False,
    ) -> Iterator[SharedWork]:
        """Check that the overlays accept files; share the runs with processes that write the same.

        Args:
            runs: that are written to.
            output: what is written to each, such as `picks octopi/1`.
            settings: what makes it; a process with others is refused, one with the same helps.
            dry_run: whether nothing is written; then nothing is shared.
            alone: whether every other process is refused, also one with the same settings.

        Raises:
            ResourceError: an overlay accepts no files.
            LockedError: another process writes this output with other settings.
            RunsFailedError: runs failed by a DataError within `failing_alone`.
        """
        self.check_writable(touch=not dry_run)
        if alone:
            settings = {**settings, PROCESS: new_worker_id()}
        roots = {} if dry_run else {run.copick_run.root: None for run in runs}
        workers = {
            root: Worker(WorkFolder.for_output(root, output), settings, output) for root in roots
        }
        work = SharedWork(workers)
        with contextlib.ExitStack() as stack:
            for worker in workers.values():
                is_exclusive, text = worker.folder.describe_sharing()
                if not is_exclusive:
                    self.warn_once(f"{worker.folder.path}: {text}")
                worker.join()
                stack.push(functools.partial(_leave, worker))
            yield work
            work.check_failures()

    def work_folders(self) -> list[WorkFolder]:
        """Return the folders by which processes share what they write, of each output."""
        with storage_errors_as_data_error("What is at work"):
            return [folder for root in self._roots.values() for folder in WorkFolder.list_all(root)]

    def folders_to_share(self) -> list[WorkFolder]:
        """Return a folder of each overlay in which `WorkFolder.is_exclusive` can be tried."""
        return [WorkFolder.for_output(root, "") for root in self._roots.values()]

    @property
    def overlays(self) -> list[str]:
        """Where results are written, one overlay root per config."""
        return [str(root.config.overlay_root) for root in self._roots.values()]

    def write_tomogram(
        self, run_name: str, query: TomogramQuery, volume: NDArray[np.float32], *, grid: Grid
    ) -> None:
        """Write a tomogram (z, y, x), replacing an older one; add its run if it is new."""
        check_run_name(run_name)
        check_name("tomo_type", query.tomo_type)
        path, *others = self.config_paths
        if others:
            raise SettingError(
                f"{self} has {len(self.config_paths)} configs; a tomogram is written to one. "
                "Give one config: project.config=…"
            )
        item = copick_items.new_tomogram(self._roots[str(path)], run_name, query)
        with storage_errors_as_resource_error(
            f"Run {run_name}: tomogram {query}", item.overlay_path
        ):
            write_volume(item.fs_overlay, item.overlay_path, volume, grid=grid, attributes={})
        self.__dict__.pop("runs", None)  # it may be a new run

    def warn_once(self, text: str) -> None:
        """Log a warning about the project, once however many runs give it."""
        if text not in self._warnings:
            self._warnings.add(text)
            logger.warning(text)

    def __str__(self) -> str:
        return f"Project {shorten_list(path.name for path in self.config_paths)}"


def _leave(worker: Worker, _kind: object, error: BaseException | None, _place: object) -> None:
    """Let a worker leave; only an error of the work itself counts as a failure of its runs."""
    is_by_command = isinstance(error, SettingError | LockedError)
    worker.leave(error if isinstance(error, Exception) and not is_by_command else None)


def open_project(config: str | Path | Sequence[str | Path] | None) -> Project:
    """Open the project of one or several copick configs; read nothing but these.

    Raises:
        SettingError: there is no config, or it is not one that copick can open.
        DataError: two configs contradict each other.
        ResourceError: a config has no overlay_root.
    """
    if not config:
        raise SettingError(
            "No copick project is given. Set OCTOPI_PROJECT or project.config=PATH to a copick "
            "config, or try project=demo."
        )
    configs = [config] if isinstance(config, str | Path) else list(config)
    paths = [Path(path).expanduser().absolute() for path in configs]
    for path in paths:
        if paths.count(path) > 1:
            raise SettingError(f"The copick config {path} is given twice. Give each config once.")
        check_config(path)
    return Project(paths)


def _prefixes(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each config: FILE; if not unique FOLDER-FILE, else numbered."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    longer = [f"{path.parent.name}-{path.stem}" for path in paths]
    if len(set(longer)) == len(longer):
        return longer
    return [f"{name}-{number}" for number, name in enumerate(longer, start=1)]
