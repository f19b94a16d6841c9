"""Write picks as RELION 5, Warp, Dynamo or a spreadsheet reads them.

Run it as `octopi export format=relion5` or `python -m octopi.export format=…`.
"""

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from octopi.checks.picks import warn_of_odd_picks
from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import ExportSettings
from octopi.errors import NotInProjectError, ResourceError, SettingError, did_you_mean, shorten_list
from octopi.formats import Format, Particles
from octopi.geometry import Grid
from octopi.project import Project
from octopi.project.queries import PicksQuery, nearest
from octopi.project.run import Run
from octopi.project.selection import find_picks
from octopi.system.files import staged
from octopi.system.job_folder import Job
from octopi.system.resources import check_writable

logger = logging.getLogger(__name__)


def export(settings: ExportSettings, job: Job) -> None:
    """Write the picks of each object in the format; write nothing if some file cannot be made."""
    writer: Format = build(settings.format, "format")
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs, keep_contents=True)
    source = f"{settings.user_id}/{settings.session_id}"
    queries = find_picks(runs, objects=settings.objects, source=source)
    check_settings(runs, queries, settings)
    warn_of_missing_picks(runs, queries)
    grids = {run.name: find_grid(run, settings) for run in runs}
    folder = Path(settings.out) if settings.out else job.folder
    files: dict[str, str] = {}
    counts, run_names = {}, set()
    for name, query in queries.items():
        particle_sets = [
            read_particles(run, query, grids[run.name], settings)
            for run in runs
            if query in run.picks()
        ]
        files.update(writer.files(name, particle_sets, folder=folder))
        warn_of_odd_picks(name, {p.run_name: p.points for p in particle_sets}, grids)
        counts[name] = sum(len(particles.points) for particles in particle_sets)
        run_names.update(particles.run_name for particles in particle_sets)
    existing_files = [name for name, text in files.items() if holds_other(folder / name, text)]
    if existing_files and not settings.overwrite:
        raise SettingError(
            f"{folder} already has {shorten_list(existing_files)}, with other content. Replace "
            "them with overwrite=true, or choose another folder with out=…"
        )
    check_writable(folder, "Choose another folder with out=…")
    warn_of_other_files(folder, files)
    if settings.dry_run:
        log_dry_run("export", describe_dry_run(folder, files, existing_files, counts))
        return
    write_files(folder, files)
    logger.info(
        "Picks of %s from %d runs in %s: %s.",
        source,
        len(run_names),
        folder.absolute(),
        format_counts(counts),
    )


def check_settings(
    runs: Sequence[Run], queries: Mapping[str, PicksQuery], settings: ExportSettings
) -> None:
    """Check that named runs have picks, runs can name files, and `min_score` names objects.

    Args:
        runs: that are exported.
        queries: object name -> its picks.
        settings: of the command.

    Raises:
        NotInProjectError: a run that the user named has none of the picks.
        SettingError: a run shares its name with another, or `min_score` names an unknown object.
    """
    for run in runs:
        if "/" in run.name:
            raise SettingError(
                f"Run {run.name} shares its name with a run of another project. Export one project "
                "at a time: project.config=…"
            )
        if settings.runs is not None and not set(run.picks()) & set(queries.values()):
            requested = " or ".join(map(str, queries.values()))
            raise NotInProjectError(f"Run {run.name}", "picks", requested, run.picks())
    if isinstance(settings.min_score, Mapping):
        for name in settings.min_score:
            if name not in queries:
                raise SettingError(
                    f"min_score names {name}.{did_you_mean(name, queries)} "
                    f"Objects: {shorten_list(queries, closest_to=name)}."
                )


def warn_of_missing_picks(runs: Sequence[Run], queries: Mapping[str, PicksQuery]) -> None:
    """Warn of runs that have no file of some picks: it is unknown whether they have particles."""
    existing = {run.name: set(run.picks()) for run in runs}
    for query in queries.values():
        if missing := [name for name, picks in existing.items() if query not in picks]:
            logger.warning(
                "%d of %d runs have no picks %s and are left out: %s.",
                len(missing), len(runs), query, shorten_list(missing),
            )  # fmt: skip


def find_grid(run: Run, settings: ExportSettings) -> Grid | None:
    """Find the grid of the tomogram that the picks are in; return None if the run has none.

    Raises:
        NotInProjectError: the run has no tomogram as requested.
        SettingError: it has several, which differ in size or spacing.
    """
    existing = run.tomograms()
    if not existing:
        return None
    candidates = [q for q in existing if settings.tomo_type in (None, q.tomo_type)]
    candidates = nearest(candidates, settings.voxel_spacing)
    if not candidates:
        run.find_tomogram(settings.tomo_type, settings.voxel_spacing)  # which says what there is
    first, *others = [run.tomogram_grid(query) for query in candidates]
    if not all(first.matches(grid) for grid in others):
        raise SettingError(
            f"The tomograms of run {run.name} differ in size or spacing: "
            f"{shorten_list(candidates)}. Say which the picks are in: tomo_type=… "
            "voxel_spacing=…"
        )
    return first


def read_particles(
    run: Run, query: PicksQuery, grid: Grid | None, settings: ExportSettings
) -> Particles:
    """Read a run's picks of one object; leave out those below `min_score`."""
    points, rotations = run.read_oriented(query)
    if not settings.orientations:
        rotations = None
    min_score = settings.min_score
    if isinstance(min_score, Mapping):
        min_score = min_score.get(query.object_name)
    if min_score is not None and len(points):
        if points.scores is None:
            raise SettingError(
                f"Run {run.name}: the picks {query} have no scores to be compared with min_score. "
                "Leave it out."
            )
        keep = points.scores >= float(min_score)
        points, rotations = points[keep], None if rotations is None else rotations[keep]
    return Particles(run.name, grid, points, rotations)


def describe_dry_run(
    folder: Path, files: Iterable[str], existing_files: Sequence[str], counts: Mapping[str, int]
) -> list[str]:
    """Describe the folder, the files that would be new or replaced, and the picks in them."""
    new_files = [name for name in files if name not in existing_files]
    return [
        f"folder     {folder.absolute()}",
        f"written    {shorten_list(new_files) or 'nothing new'}",
        f"replaced   {shorten_list(existing_files) or 'none'}",
        f"picks      {format_counts(counts)}",
    ]


def format_counts(counts: Mapping[str, int]) -> str:
    """Format the number of picks of each object."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def warn_of_other_files(folder: Path, names: Iterable[str]) -> None:
    """Warn of files beside those of an export that may be of an older one, with other runs."""
    paths = {folder / name for name in names}
    suffixes = {path.suffix for path in paths}
    beside = (found for parent in {path.parent for path in paths} for found in parent.glob("*"))
    others = sorted(found for found in beside if found.suffix in suffixes and found not in paths)
    if others:
        logger.warning(
            "%s also has %s, which this export does not write: delete what is of an older one.",
            folder, shorten_list(str(path.relative_to(folder)) for path in others),
        )  # fmt: skip


def holds_other(path: Path, text: str) -> bool:
    """Return whether there is something at the path that is not a file of this text."""
    return path.exists() and not (path.is_file() and path.read_bytes() == text.encode())


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files to the folder; leave none of them if one cannot be written."""
    try:
        with contextlib.ExitStack() as stack:
            for name, text in files.items():
                stage = stack.enter_context(staged(folder / name))
                stage.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResourceError(
            f"The export cannot be written to {folder}: {error}. Choose another folder with out=…"
        ) from error


main = Command("export", export)

if __name__ == "__main__":
    main()
