"""Take a folder of MRC files into a copick project as tomograms.

Run it as `octopi import_tomograms folder=DIR tomo_type=denoised` or
`python -m octopi.import_tomograms …`. Every file is looked at, voxel sizes first, before anything
is written.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import ImportTomogramsSettings
from octopi.errors import DataError, SettingError, shorten_list
from octopi.formats import mrc
from octopi.geometry import Grid, format_shape, fourier_resample, same_spacing
from octopi.project import Project, TomogramQuery, check_name, check_run_name
from octopi.system.job_folder import Job
from octopi.system.resources import format_bytes

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_TRIMMED = 16  # voxels a side may lose so that resampled voxels are cubes


@dataclass(frozen=True)
class TomogramImport:
    """A file and what becomes of it.

    Args:
        used_shape: the part of its voxels that is used, z y x from the first on.
        grid: what it is stored on.
    """

    path: Path
    run_name: str
    used_shape: tuple[int, int, int]
    grid: Grid
    query: TomogramQuery


def import_tomograms(settings: ImportTomogramsSettings, _job: Job) -> None:
    """Every file is a tomogram of the run that its name tells, or nothing has been written."""
    check_name("tomo_type", settings.tomo_type)
    if "features" in settings.tomo_type:
        raise SettingError("copick takes a tomo_type with 'features' in it for something else.")
    project: Project = build(settings.project, "project")
    paths = find_files(Path(settings.folder), settings.files)
    tomograms = plan(paths, settings)
    check_not_imported(project, tomograms, settings)
    check_all(mrc.check_voxels, [t.path for t in tomograms])
    project.check_writable(touch=not settings.dry_run)
    if settings.dry_run:
        log_dry_run("import_tomograms", rehearsal(project, tomograms))
        return
    for tomogram in tqdm(tomograms, desc="import", unit="tomogram"):
        volume = mrc.read_voxels(tomogram.path)
        z, y, x = tomogram.used_shape
        volume = fourier_resample(volume[:z, :y, :x], tomogram.grid.shape)
        project.write_tomogram(tomogram.run_name, tomogram.query, volume, grid=tomogram.grid)
    logger.info(
        "%d tomograms of %s: %s.",
        len(tomograms),
        settings.folder,
        ", ".join(f"{t.run_name} {t.query}" for t in tomograms),
    )


def rehearsal(project: Project, tomograms: Sequence[TomogramImport]) -> list[str]:
    """What a dry run tells."""
    num_bytes = sum(4 * math.prod(tomogram.grid.shape) for tomogram in tomograms)
    return [
        *(
            f"{t.path.name}: run {t.run_name}, {t.query}, "
            f"{format_shape(t.grid.shape)} voxels (z, y, x)"
            for t in tomograms
        ),
        f"size: up to {format_bytes(num_bytes)} in {', '.join(project.overlays)}",
    ]


def find_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Run name -> file; an error for names that no run can have, or that two files share."""
    if not folder.is_dir():
        raise SettingError(f"folder={folder} is no folder.")
    if pattern.count("*") != 1 or "/" in pattern:
        raise SettingError(
            f"files={pattern!r}: write one * for the name of the run and no /, as in "
            "*_10.00Apx.mrc."
        )
    before, after = pattern.split("*")
    files_by_run: dict[str, Path] = {}
    paths = sorted(p for p in folder.glob(pattern) if p.is_file() and not p.name.startswith("."))
    for path in paths:
        name = check_run_name(path.name[len(before) : len(path.name) - len(after)])
        files_by_run[name] = path
    if not files_by_run:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        raise SettingError(
            f"{folder} has no files {pattern}. It holds: {shorten_list(names) or 'nothing'}."
        )
    check_names_differ(files_by_run)
    return files_by_run


def check_names_differ(files_by_run: Mapping[str, Path]) -> None:
    """Raise SettingError for names that differ in case only: some filesystems hold one of them."""
    seen: dict[str, str] = {}
    for name in files_by_run:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise SettingError(
                f"{files_by_run[other].name} and {files_by_run[name].name} would be runs "
                f"{other} and {name}, "
                "which some disks cannot tell apart. Rename one of them."
            )


def plan(paths: Mapping[str, Path], settings: ImportTomogramsSettings) -> list[TomogramImport]:
    """What becomes of every file, or one error that lists all that is wrong with them."""
    headers = dict(zip(paths, check_all(mrc.read_header, list(paths.values())), strict=True))
    given_spacing, ignore = settings.voxel_spacing, settings.ignore_header
    if given_spacing is not None and given_spacing <= 0:
        raise SettingError(f"voxel_spacing must be above zero, not {given_spacing}.")
    if ignore and given_spacing is None:
        raise SettingError("ignore_header=true needs voxel_spacing=…")
    spacings = check_all(
        lambda h: h.spacing(given_spacing, ignore_header=ignore), list(headers.values())
    )
    check_same_spacing(dict(zip([h.path.name for h in headers.values()], spacings, strict=True)))
    tomograms = []
    for (name, header), spacing in zip(headers.items(), spacings, strict=True):
        kept, grid = stored_grid(header.shape, spacing, settings.resample_to)
        query = TomogramQuery(settings.tomo_type, round(float(np.mean(grid.spacing)), 3))
        tomograms.append(TomogramImport(header.path, name, kept, grid, query))
    return tomograms


def check_all(check: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What the check gives for every item, or one DataError with the faults of all."""
    results, faults = [], []
    for item in items:
        try:
            results.append(check(item))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError(shorten_list(faults, "\n") + "\nNothing has been written.")
    return results


def check_same_spacing(spacings: Mapping[str, float]) -> None:
    """Raise DataError if the files differ in voxel spacing: then some header is wrong."""
    low, high = min(spacings, key=spacings.__getitem__), max(spacings, key=spacings.__getitem__)
    if not same_spacing(spacings[high], spacings[low]):
        raise DataError(
            f"The files differ in voxel size: {low} has {spacings[low]:g} Å, {high} "
            f"{spacings[high]:g} Å. Import them apart (files=…), or correct the headers. Nothing "
            "has been written."
        )


def stored_grid(
    shape: tuple[int, int, int], spacing: float, resample_to: float | None
) -> tuple[tuple[int, int, int], Grid]:
    """The voxels that are used and the grid they are stored on.

    A coarser grid begins at the same first voxel. Each side gives up some voxels at its end where
    that makes the new voxels more nearly cubes, which is what copick takes them for.
    """
    whole = Grid.cubic(shape, spacing)
    if resample_to is None or same_spacing(resample_to, spacing):
        return shape, whole
    if resample_to < spacing:
        raise SettingError(
            f"resample_to={resample_to:g} is finer than the tomograms ({spacing:g} Å): that adds "
            "voxels but no detail. Choose a coarser one."
        )
    factor = resample_to / spacing
    sides = [_trim_to_cubic_voxels(n, factor) for n in shape]
    z, y, x = (kept for kept, _ in sides)
    return (z, y, x), Grid.cubic((z, y, x), spacing).with_shape([size for _, size in sides])


def _trim_to_cubic_voxels(n: int, factor: float) -> tuple[int, int]:
    """How many of n voxels to use and how many to make of them."""
    parts = range(n, max(n - MAX_TRIMMED, n // 2, 1) - 1, -1)
    sizes = {kept: max(1, round(kept / factor)) for kept in parts}
    kept = min(parts, key=lambda k: (round(abs(k / sizes[k] / factor - 1), 6), -k))
    return kept, sizes[kept]


def check_not_imported(
    project: Project, tomograms: Sequence[TomogramImport], settings: ImportTomogramsSettings
) -> None:
    """Raise SettingError if the project already has one of the tomograms, unless it may go."""
    runs = {run.name: run for run in project.runs}
    for tomogram in tomograms:
        existing_tomograms = (
            runs[tomogram.run_name].tomograms() if tomogram.run_name in runs else []
        )
        for query in existing_tomograms:
            same_type = query.tomo_type == tomogram.query.tomo_type
            spacing = tomogram.query.voxel_spacing
            if not same_type or not same_spacing(query.voxel_spacing, spacing):
                continue
            replaceable = query == tomogram.query and not runs[tomogram.run_name].is_read_only(
                query
            )
            if not (settings.overwrite and replaceable):
                cure = "Replace it with overwrite=true, or choose" if replaceable else "Choose"
                raise SettingError(
                    f"Run {tomogram.run_name} already has the tomogram {query} "
                    f"({tomogram.path.name} would be {tomogram.query}). {cure} another tomo_type. "
                    "Nothing has been written."
                )


main = command("import_tomograms", import_tomograms)

if __name__ == "__main__":
    main()
