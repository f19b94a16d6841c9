"""Write picks as RELION 5, Warp, Dynamo or a spreadsheet reads them.

Run it as `octopi export format=relion5` or `python -m octopi.export format=…`.
"""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import ExportSettings
from octopi.errors import (
    NotInProjectError,
    ResourceError,
    SettingError,
    did_you_mean,
    shorten_list,
)
from octopi.formats import Format, Particles
from octopi.geometry import Grid
from octopi.project import PicksQuery, Project, Run, find_picks
from octopi.project.queries import nearest
from octopi.system.files import staged
from octopi.system.job_folder import Job
from octopi.system.resources import check_writable

logger = logging.getLogger(__name__)


def export(settings: ExportSettings, job: Job) -> None:
    """The folder holds the files of every object, all of them complete, or none is new."""
    writer: Format = build(settings.format, "format")
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs)
    source = f"{settings.user_id}/{settings.session_id}"
    queries = find_picks(runs, objects=settings.objects, source=source)
    refuse_unusable(runs, queries, settings)
    grids = {run.name: grid_of(run, settings) for run in runs}
    folder = Path(settings.out) if settings.out else job.folder
    files: dict[str, str] = {}
    counts, names = {}, set()
    for name, query in queries.items():
        runs_with_picks = [run for run in runs if query in run.picks()]
        particle_sets = [
            read_particles(run, query, grids[run.name], settings) for run in runs_with_picks
        ]
        files.update(writer.files(name, particle_sets, folder=folder))
        counts[name] = sum(len(particles.points) for particles in particle_sets)
        names.update(run.name for run in runs_with_picks)
    existing_files = refuse_existing(folder, files, overwrite=settings.overwrite)
    if settings.dry_run:
        check_writable(folder, "Choose another folder with out=…")
        log_dry_run("export", rehearsal(folder, files, counts, existing_files))
        return
    write_together(folder, files)
    logger.info(
        "Picks of %s from %d runs in %s: %s.",
        source,
        len(names),
        folder.absolute(),
        ", ".join(f"{name} {number}" for name, number in counts.items()),
    )


def refuse_unusable(
    runs: list[Run], queries: Mapping[str, PicksQuery], settings: ExportSettings
) -> None:
    """Raise unless every run named has picks, names can name files, and min_score is sound."""
    for run in runs:
        if "/" in run.name:
            raise SettingError(
                f"Run {run.name} shares its name with a run of another project. Export one project "
                "at a time: project.config=…"
            )
        if settings.runs is not None and not set(run.picks()) & set(queries.values()):
            extract = " or ".join(map(str, queries.values()))
            raise NotInProjectError(f"Run {run.name}", "picks", extract, run.picks())
    if isinstance(settings.min_score, Mapping):
        for name in settings.min_score:
            if name not in queries:
                raise SettingError(
                    f"min_score names {name}.{did_you_mean(name, queries)} "
                    f"Objects: {', '.join(queries)}."
                )


def grid_of(run: Run, settings: ExportSettings) -> Grid | None:
    """The grid of the tomogram that a run's picks are in; None where the run has no tomogram."""
    tomograms = run.tomograms()
    if not tomograms:
        return None
    named = [q for q in tomograms if settings.tomo_type in (None, q.tomo_type)]
    fit = nearest(named, settings.voxel_spacing)
    if not fit:
        extract = "@".join(str(v) for v in (settings.tomo_type, settings.voxel_spacing) if v)
        raise NotInProjectError(f"Run {run.name}", "tomogram", extract, tomograms)
    grids = {run.tomogram_grid(query) for query in fit}
    if len({(g.shape, tuple(round(s, 3) for s in g.spacing)) for g in grids}) > 1:
        raise SettingError(
            f"The tomograms of run {run.name} differ in size or spacing: "
            f"{', '.join(map(str, fit))}. Say which the picks are in: tomo_type=… voxel_spacing=…"
        )
    return grids.pop()


def read_particles(
    run: Run, query: PicksQuery, grid: Grid | None, settings: ExportSettings
) -> Particles:
    """The run's picks of one object that score enough."""
    if settings.orientations:
        points, turns = run.read_oriented(query)
    else:
        points, turns = run.read_picks(query), None
    least = settings.min_score
    if isinstance(least, Mapping):
        least = least.get(query.object_name)
    if least is None:
        return Particles(run.name, grid, points, turns)
    if points.scores is None and len(points):
        raise SettingError(
            f"Run {run.name}: the picks {query} have no scores to be compared with min_score. "
            "Leave it out."
        )
    keep = np.ones(0, dtype=bool) if points.scores is None else points.scores >= float(least)
    return Particles(run.name, grid, points[keep], None if turns is None else turns[keep])


def rehearsal(
    folder: Path, files: Mapping[str, str], counts: Mapping[str, int], there: list[str]
) -> list[str]:
    """What a dry run tells."""
    return [
        f"folder     {folder.absolute()}",
        f"written    {', '.join(name for name in files if name not in there) or 'nothing new'}",
        f"replaced   {', '.join(there) or 'none'}",
        f"picks      {', '.join(f'{name} {number}' for name, number in counts.items())}",
    ]


def refuse_existing(folder: Path, files: Mapping[str, str], *, overwrite: bool) -> list[str]:
    """The files that are there already, which only overwrite lets go."""
    there = [name for name in files if (folder / name).exists()]
    if there and not overwrite:
        raise SettingError(
            f"{folder} already has {shorten_list(there)}. Replace them with overwrite=true, "
            "or choose another folder with out=…"
        )
    return there


def write_together(folder: Path, files: Mapping[str, str]) -> None:
    """All files lie in the folder, whole, or none is new."""
    try:
        with contextlib.ExitStack() as stack:
            for name, text in files.items():
                stage = stack.enter_context(staged(folder / name))
                stage.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResourceError(
            f"The export cannot be written to {folder}: {error}. Choose another folder with out=…"
        ) from error


main = command("export", export)

if __name__ == "__main__":
    main()
