"""Import a folder of MRC files into a copick project as tomograms.

Run it as `octopi import_tomograms folder=DIR tomo_type=denoised` or
`python -m octopi.import_tomograms …`. All files are checked, voxel sizes first, before any tomogram
is written.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import ImportTomogramsSettings
from octopi.errors import DataError, SettingError, shorten_list
from octopi.formats import mrc
from octopi.formats.mrc_folder import (
    check_same_spacing,
    find_files,
    warn_of_origins,
    warn_of_tilt_series,
)
from octopi.geometry import (
    MAX_OFFSET,
    Grid,
    format_shape,
    fourier_resample,
    same_spacing,
    trim_to_cubic_voxels,
)
from octopi.project import Project
from octopi.project.queries import TomogramQuery, check_name
from octopi.project.run import Run
from octopi.project.selection import readable_grids
from octopi.system.job_folder import Job
from octopi.system.progress import ProgressBar
from octopi.system.resources import format_bytes

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_FAULTS_LENGTH = 500  # characters
MAX_TRIMMED = 16  # voxels a side may lose so that resampled voxels are cubes


@dataclass(frozen=True)
class TomogramImport:
    """A file and the tomogram that it becomes.

    Args:
        header: of the file.
        run_name: of the run that gets the tomogram.
        used_shape: how many of the file's voxels are used, z y x from the first on.
        grid: that the tomogram is stored on.
        query: its type and voxel spacing.
    """

    header: mrc.Header
    run_name: str
    used_shape: tuple[int, int, int]
    grid: Grid
    query: TomogramQuery

    def read_volume(self) -> NDArray[np.float32]:
        """Read the voxels of the file on the grid of the tomogram."""
        z, y, x = self.used_shape
        return fourier_resample(mrc.read_voxels(self.header)[:z, :y, :x], self.grid.shape)


def import_tomograms(settings: ImportTomogramsSettings, _job: Job) -> None:
    """Import every file as a tomogram, after checking all of them; skip those imported before."""
    check_name("tomo_type", settings.tomo_type)
    if "features" in settings.tomo_type:
        raise SettingError("tomo_type cannot contain 'features': copick takes it for score maps.")
    project: Project = build(settings.project, "project")
    paths = find_files(Path(settings.folder), settings.files)
    tomograms = plan_imports(paths, settings)
    runs = {run.name: run for run in project.runs}
    missing = [
        tomogram
        for tomogram in tomograms
        if not is_imported(runs.get(tomogram.run_name), tomogram, overwrite=settings.overwrite)
    ]
    if num_imported := len(tomograms) - len(missing):
        logger.info("%d of %d tomograms were imported before.", num_imported, len(tomograms))
    warn_of_odd_sizes(project, missing)
    check_all(mrc.check_voxels, [tomogram.header for tomogram in missing])
    project.check_writable(touch=not settings.dry_run)
    if settings.dry_run:
        log_dry_run("import_tomograms", describe_dry_run(project, missing))
        return
    for tomogram in ProgressBar(missing, desc="import", unit="tomogram"):
        volume = tomogram.read_volume()
        project.write_tomogram(tomogram.run_name, tomogram.query, volume, grid=tomogram.grid)
    logger.info(
        "%d tomograms of %s: %s.",
        len(tomograms),
        settings.folder,
        shorten_list(f"{t.run_name} {t.query}" for t in tomograms),
    )


def warn_of_odd_sizes(project: Project, tomograms: Sequence[TomogramImport]) -> None:
    """Warn of tomograms too small for an object, or of another size than others of their run."""
    for obj in project.objects.values():
        if tomograms and (text := obj.odd_radius(tomograms[0].grid)):
            logger.warning("%s: %s", tomograms[0].header.path.name, text)
    runs = {run.name: run for run in project.runs}
    odd = []
    for tomogram in tomograms:
        grids = readable_grids(runs[tomogram.run_name]) if tomogram.run_name in runs else []
        if grids and not any(tomogram.grid.spans_box_of(g, max_offset=MAX_OFFSET) for g in grids):
            odd.append(f"{tomogram.run_name} ({format_shape(tomogram.grid.shape)} voxels)")
    if odd:
        logger.warning(
            "%d tomograms span another box than those that their runs have: %s. Are they turned, "
            "cropped or of other voxels?",
            len(odd),
            shorten_list(odd),
        )


def describe_dry_run(project: Project, tomograms: Sequence[TomogramImport]) -> list[str]:
    """Describe each tomogram, and the space that all need."""
    num_bytes = sum(4 * math.prod(tomogram.grid.shape) for tomogram in tomograms)
    return [
        *(
            f"{t.header.path.name}: run {t.run_name}, {t.query}, "
            f"{format_shape(t.grid.shape)} voxels (z, y, x)"
            for t in tomograms
        ),
        f"size: up to {format_bytes(num_bytes)} in {', '.join(project.overlays)}",
    ]


def plan_imports(
    paths: Mapping[str, Path], settings: ImportTomogramsSettings
) -> list[TomogramImport]:
    """Read the files' headers and choose the grid of each tomogram.

    Args:
        paths: run name -> file.
        settings: of the command.

    Raises:
        SettingError: settings contradict each other.
        DataError: headers are wrong or differ in voxel size; the text has the faults of all files.
    """
    given_spacing, ignore_header = settings.voxel_spacing, settings.ignore_header
    if ignore_header and given_spacing is None:
        raise SettingError("ignore_header=true needs voxel_spacing=…")
    headers = check_all(mrc.read_header, paths.values())
    warn_of_tilt_series(paths, headers)
    warn_of_origins(headers)
    spacings = check_all(lambda h: h.spacing(given_spacing, ignore_header=ignore_header), headers)
    check_same_spacing({h.path.name: s for h, s in zip(headers, spacings, strict=True)})
    tomograms = []
    for run_name, header, spacing in zip(paths, headers, spacings, strict=True):
        used_shape, grid = choose_grid(header.shape, spacing, settings.resample_to)
        query = TomogramQuery(settings.tomo_type, round(float(np.mean(grid.spacing)), 3))
        tomograms.append(TomogramImport(header, run_name, used_shape, grid, query))
    return tomograms


def check_all(check: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the results of a check of each item, or raise one DataError with all faults."""
    results, faults = [], []
    for item in items:
        try:
            results.append(check(item))
        except DataError as error:
            faults.append(str(error))
    if faults:
        text = shorten_list(faults, "\n", item_length=400, list_length=MAX_FAULTS_LENGTH)
        raise DataError(f"{text}\nNothing has been written.")
    return results


def choose_grid(
    shape: tuple[int, int, int], spacing: float, resample_to: float | None
) -> tuple[tuple[int, int, int], Grid]:
    """Choose the voxels that are used, z y x, and the grid that they are stored on.

    Args:
        shape: of the file, voxels z y x.
        spacing: of the file, Å.
        resample_to: Å; None = store the file's own voxels.

    Raises:
        SettingError: `resample_to` is finer than the file.
    """
    file_grid = Grid.cubic(shape, spacing)
    if resample_to is None or same_spacing(resample_to, spacing):
        return shape, file_grid
    if resample_to < spacing:
        raise SettingError(
            f"resample_to={resample_to:g} is finer than the tomograms ({spacing:g} Å): that adds "
            "voxels but no detail. Choose a coarser one."
        )
    return trim_to_cubic_voxels(file_grid, resample_to, max_trimmed=MAX_TRIMMED)


def is_imported(run: Run | None, tomogram: TomogramImport, *, overwrite: bool) -> bool:
    """Return whether the run has the tomogram's very voxels; always False with `overwrite`.

    Raises:
        SettingError: the run has another tomogram that may not or cannot be replaced.
    """
    new = tomogram.query
    if run is None:
        return False
    for existing in run.tomograms():
        is_same_type = existing.tomo_type == new.tomo_type
        if not is_same_type or not same_spacing(existing.voxel_spacing, new.voxel_spacing):
            continue
        replaceable = existing == new and not run.is_read_only(existing)
        if replaceable and (overwrite or not run.is_finished(existing)):
            continue
        if existing == new and not overwrite and is_stored(run, tomogram):
            return True
        advice = "Replace it with overwrite=true, or choose" if replaceable else "Choose"
        raise SettingError(
            f"Run {tomogram.run_name} already has the tomogram {existing} "
            f"({tomogram.header.path.name} would be {new}), with other voxels. {advice} another "
            "tomo_type. Nothing has been written."
        )
    return False


def is_stored(run: Run, tomogram: TomogramImport) -> bool:
    """Return whether the run's tomogram has the voxels that the file would give."""
    try:
        if not run.tomogram_grid(tomogram.query).matches(tomogram.grid):
            return False
        return np.array_equal(run.read_tomogram(tomogram.query), tomogram.read_volume())
    except DataError:  # damaged
        return False


main = Command("import_tomograms", import_tomograms)

if __name__ == "__main__":
    main()
