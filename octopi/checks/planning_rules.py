"""Plan the sizes of a training from a project (pure)."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from octopi.checks.measured_cost import NetworkCosts
from octopi.checks.project_summary import ProjectSummary
from octopi.config.setting_types import Rules
from octopi.config.settings import PlanSettings
from octopi.data.cache import working_grid
from octopi.data.folds import SplitSettings, split_runs
from octopi.errors import DataError, SettingError
from octopi.geometry import Grid
from octopi.system.resources import format_duration

SHARE_OF_STEPS = 0.9  # of a training's time; the others are its start and its validations
MOST_FOLDS = 4


@dataclass(frozen=True)
class Sizes:
    """The sizes of a training.

    Args:
        working_spacing: Å, to which tomograms are Fourier-cropped; None = left as they are.
        grids: of each run's tomogram at that voxel spacing.
        crop_size: voxels z y x.
        crops_per_step: number of crops in a batch.
        window_size: voxels z y x.
        num_folds: None = no folds.
        why_fewer_folds: the reason for fewer folds than requested; empty without one.
        max_epochs: of each fold, within the minutes that were requested; None = the recipe's.
        radius_scales: object -> radius of its spheres, in radii, where the recipe's is too small.
        divisor: of which every edge of the network's input is a multiple.
        exceeds_memory: whether even one crop may be too much for the memory.
    """

    working_spacing: float | None
    grids: list[Grid]
    crop_size: list[int]
    crops_per_step: int
    window_size: list[int]
    num_folds: int | None
    why_fewer_folds: str
    radius_scales: dict[str, float]
    divisor: int
    exceeds_memory: bool = False
    max_epochs: int | None = None


def plan_sizes(summary: ProjectSummary, settings: PlanSettings, *, divisor: int) -> Sizes:
    """Plan the sizes that follow from the project; the memory is not considered yet.

    Args:
        summary: of the project.
        settings: of the plan, with the recipe's sizes.
        divisor: of which every edge of the network's input must be a multiple.
    """
    spacing = choose_working_spacing(summary.radii.values(), summary.voxel_spacing, settings.rules)
    grids = [working_grid(grid, spacing) for grid in summary.grids]
    folds, why_fewer = choose_num_folds(most_folds(settings), summary.classes, seed=settings.seed)
    return Sizes(
        working_spacing=spacing,
        grids=grids,
        crop_size=choose_crop_size(max(summary.radii.values()), grids, settings, divisor),
        crops_per_step=settings.data["crops_per_step"],
        window_size=choose_window_size(grids, settings.predictor, divisor),
        num_folds=folds,
        why_fewer_folds=why_fewer,
        radius_scales=radius_scales(summary.radii, grids[0].spacing[-1], settings),
        divisor=divisor,
    )


def fit_to_memory(
    sizes: Sizes, costs: NetworkCosts, settings: PlanSettings, *, memory: int, larger_helps: bool
) -> Sizes:
    """Return the sizes with a batch and a window that fit into the memory.

    Args:
        sizes: planned without regard to memory.
        costs: measured for one crop of these sizes.
        settings: of the plan.
        memory: free bytes where the training would run.
        larger_helps: whether a larger batch than the recipe's is of use, as on a GPU.
    """
    max_bytes = settings.rules.memory_share * memory
    fit = int(max_bytes / max(1, costs.crop.num_bytes))
    crops = sizes.crops_per_step
    while larger_helps and crops * 2 <= min(fit, settings.rules.max_crops_per_step):
        crops *= 2
    while crops > max(1, fit):
        crops //= 2
    return replace(
        sizes,
        crops_per_step=max(1, crops),
        window_size=shrink_window(sizes, costs, max_bytes, settings.predictor["halo"]),
        exceeds_memory=fit < 1,
    )


def fit_to_minutes(
    sizes: Sizes, costs: NetworkCosts, summary: ProjectSummary, settings: PlanSettings
) -> Sizes:
    """Return the sizes with the folds and epochs of `minutes`, where they were requested.

    Folds take their thresholds from all runs, and one network has more steps: there are as many
    folds as have enough of them.

    Args:
        sizes: planned without regard to time.
        costs: measured for one crop of these sizes.
        summary: of the project.
        settings: of the plan.
    """
    if settings.minutes is None:
        return sizes
    step_seconds = sizes.crops_per_step * costs.crop.seconds
    steps = SHARE_OF_STEPS * 60 * settings.minutes / step_seconds
    folds, why = sizes.num_folds, sizes.why_fewer_folds
    if (enough := int(steps / settings.rules.steps_per_fold)) < (folds or 1):
        folds, _ = choose_num_folds(enough, summary.classes, seed=settings.seed)
        why = (
            f"{format_duration(60 * settings.minutes)} are about {steps:.0f} steps here, and each "
            f"fold should have {settings.rules.steps_per_fold} (rules.steps_per_fold)."
        )
    epochs = max(1, round(steps / (folds or 1) / settings.data["steps_per_epoch"]))
    return replace(sizes, num_folds=folds, why_fewer_folds=why, max_epochs=epochs)


def most_folds(settings: PlanSettings) -> int:
    """Return the greatest number of folds that a plan may have."""
    return settings.num_folds or (1 if settings.minutes is None else MOST_FOLDS)


def edges(select: Callable[[Iterable[int]], int], grids: Sequence[Grid]) -> list[int]:
    """Return the shortest (`min`) or longest (`max`) edges among grids, voxels z y x."""
    return [select(grid.shape[axis] for grid in grids) for axis in range(3)]


def choose_working_spacing(
    radii: Collection[float], voxel_spacing: float, rules: Rules
) -> float | None:
    """Return the spacing (Å) to which to Fourier-crop tomograms; None = leave them as they are."""
    coarsest = min(
        math.floor(min(radii) / rules.voxels_per_radius),
        math.floor(rules.max_coarsening * voxel_spacing),
    )
    return float(coarsest) if coarsest >= rules.min_coarsening * voxel_spacing else None


def choose_crop_size(
    largest_radius: float, grids: Sequence[Grid], settings: PlanSettings, divisor: int
) -> list[int]:
    """Return the edges of a crop: the recipe's, more for large objects, at most the volume's.

    Args:
        largest_radius: Å.
        grids: of the tomograms, at the working spacing.
        settings: of the plan.
        divisor: of which every edge must be a multiple.
    """
    needed = settings.rules.crop_radii * largest_radius / grids[0].spacing[-1]
    return [
        min(_round_up(max(n, needed), divisor), _round_up(m, divisor))
        for n, m in zip(settings.data["crop_size"], edges(min, grids), strict=True)
    ]


def choose_window_size(
    grids: Sequence[Grid], predictor: Mapping[str, Any], divisor: int
) -> list[int]:
    """Return the edges of a window: the recipe's, at most the volume's, but wider than halos."""
    shape = edges(max, grids)
    largest = predictor["window_size"] or shape
    return [
        max(min(_round_up(n, divisor), _round_up(m, divisor)), _round_up(2 * h + 1, divisor))
        for m, n, h in zip(largest, shape, predictor["halo"], strict=True)
    ]


def shrink_window(
    sizes: Sizes, costs: NetworkCosts, max_bytes: float, halo: Sequence[int]
) -> list[int]:
    """Halve the longest edge of a window until it takes few enough bytes or would be all halo."""
    window = list(sizes.window_size)
    while costs.window.num_bytes / costs.window.voxels * math.prod(window) > max_bytes:
        axis = window.index(max(window))
        half = _round_up(window[axis] / 2, sizes.divisor)
        if half <= 2 * halo[axis] or half == window[axis]:
            break
        window[axis] = half
    return window


def radius_scales(
    radii: Mapping[str, float], spacing: float, settings: PlanSettings
) -> dict[str, float]:
    """Return larger scales for objects whose spheres would be too small for the working grid."""
    min_radius = settings.rules.voxels_per_target * spacing
    return {
        name: round(min_radius / radius, 2)
        for name, radius in radii.items()
        if settings.targets.radius_scale * radius < 0.99 * min_radius
    }


def choose_num_folds(
    requested: int, classes: Mapping[str, Collection[str]], *, seed: int
) -> tuple[int | None, str]:
    """Return the most folds that leave every object to train on, and why there are not more.

    Args:
        requested: at most these.
        classes: run name -> objects that occur in it.
        seed: of the shuffle.
    """
    why = ""
    for folds in range(min(requested, len(classes)), 1, -1):
        try:
            for fold in range(folds):
                split_settings = SplitSettings(
                    train_runs=None, validation_runs=None, test_runs=None, ratios=None,
                    fold=fold, num_folds=folds, seed=seed,
                )  # fmt: skip
                split_runs(list(classes), split_settings, classes=classes)
        except (DataError, SettingError) as error:
            why = str(error)
            continue
        return folds, why
    return None, why or f"{len(classes)} run is too few to hold one out"


def _round_up(number: float, divisor: int) -> int:
    return max(1, math.ceil(number / divisor)) * divisor
