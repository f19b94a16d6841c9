"""Summarise a project as far as a plan depends on it, from metadata and picks."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from octopi.checks.target_inputs import keep_annotated, make_plan
from octopi.config.settings import PlanSettings
from octopi.errors import DataError
from octopi.geometry import Grid
from octopi.pick_sets import PickCounts, sum_counts
from octopi.project import Project
from octopi.project.queries import TomogramQuery
from octopi.project.run import Run
from octopi.project.selection import is_denoised
from octopi.project.united_picks import read_united_picks
from octopi.targets import check_any_inside

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProjectSummary:
    """A project, as far as a plan depends on it.

    Args:
        runs: those to train on.
        tomo_types: to train on.
        voxel_spacing: Å, of the tomograms to train on.
        grids: of each run's tomogram.
        radii: object -> Å, of those that are picked.
        num_labels: number of objects with picks or masks.
        counts: run name -> object -> its picks; without those that are not annotated there.
        origins: object -> how many picks of the selected runs came from where.
        partial: names of the objects of which not every particle is annotated.
        has_other_spacings: whether a run has tomograms at other voxel spacings too.
    """

    runs: list[Run]
    tomo_types: list[str]
    voxel_spacing: float
    grids: list[Grid]
    radii: dict[str, float]
    num_labels: int
    counts: dict[str, dict[str, int]]
    origins: dict[str, PickCounts]
    partial: list[str]
    has_other_spacings: bool

    @property
    def classes(self) -> dict[str, set[str]]:
        """The objects that occur in each run, by its name."""
        return {
            run: {name for name, n in of_run.items() if n} for run, of_run in self.counts.items()
        }

    def total(self, object_name: str) -> int:
        """Return the number of an object's picks in all runs."""
        return sum(of_run.get(object_name, 0) for of_run in self.counts.values())


def summarise_project(project: Project, settings: PlanSettings) -> ProjectSummary:
    """Summarise a project from metadata and picks; read no tomogram.

    The runs are those that create_targets paints.
    """
    selected = project.select(settings.runs, keep_contents=True)
    plan = make_plan(project, selected, settings.targets)
    runs = keep_annotated(selected, plan, settings.runs)
    united = {run.name: read_united_picks(run, plan.picks, plan.rejected) for run in runs}
    counts = {
        run: {name: len(one.points) for name, one in of_run.items() if one.points is not None}
        for run, of_run in united.items()
    }
    check_any_inside(sum(sum(of_run.values()) for of_run in counts.values()), 0)
    tomograms = [run.tomograms() for run in runs]
    types, spacing = choose_tomograms(tomograms, settings)
    return ProjectSummary(
        runs=runs,
        tomo_types=types,
        voxel_spacing=spacing,
        grids=[run.tomogram_grid(run.find_tomogram(types[0], spacing)) for run in runs],
        radii=plan.object_radii,
        num_labels=len(plan.labels),
        counts=counts,
        origins={
            name: sum_counts(sets.user_sessions, (one[name].counts for one in united.values()))
            for name, sets in plan.picks.items()
        },
        partial=plan.partial,
        has_other_spacings=any(len({q.voxel_spacing for q in of_run}) > 1 for of_run in tomograms),
    )


def choose_tomograms(
    tomograms: Sequence[Sequence[TomogramQuery]], settings: PlanSettings
) -> tuple[list[str], float]:
    """Choose the tomogram types to train on, and their voxel spacing (Å).

    Args:
        tomograms: of each run.
        settings: of the plan. Of the types that all runs have, the requested ones are taken, else
            a denoised one, else the first; of the voxel spacings the requested, else the most
            common one.

    Raises:
        DataError: there is no tomogram type that all runs have.
    """
    types_by_run = [{query.tomo_type for query in of_run} for of_run in tomograms]
    common = sorted(set[str].intersection(*types_by_run)) if types_by_run else []
    if not common:
        raise DataError("No tomogram type is in every run with picks. See: octopi check")
    requested = settings.tomo_types or []
    types = [tomo_type for tomo_type in requested if tomo_type in common]
    if requested and not set(requested) & set.union(*types_by_run):
        logger.info("No run has tomograms %s. Every run has: %s.", requested, ", ".join(common))
    if not types:
        types = [min(common, key=lambda tomo_type: not is_denoised(tomo_type))]
    spacings = Counter(
        query.voxel_spacing for of_run in tomograms for query in of_run
        if query.tomo_type == types[0]
    )  # fmt: skip
    return types, settings.voxel_spacing or spacings.most_common(1)[0][0]
