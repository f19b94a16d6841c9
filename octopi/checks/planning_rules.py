"""From what a project holds to the sizes a training should have (pure)."""

import math
from collections.abc import Collection, Mapping, Sequence

from octopi.config.settings import Rules
from octopi.data.folds import SplitSettings, split_runs
from octopi.errors import DataError, SettingError


def working_spacing(radii: Collection[float], voxel_spacing: float, rules: Rules) -> float | None:
    """Å to which tomograms are Fourier-cropped; None = they are taken as they are."""
    wanted = math.floor(min(radii) / rules.voxels_per_radius)
    wanted = min(wanted, math.floor(rules.max_coarsening * voxel_spacing))
    return float(wanted) if wanted >= rules.min_coarsening * voxel_spacing else None


def crop_size(
    largest_radius: float,
    spacing: float,
    shape: Sequence[int],
    *,
    minimum: Sequence[int],
    divisor: int,
    rules: Rules,
) -> list[int]:
    """Voxels of a crop: the recipe's or, for large objects, more; no more than the volume has.

    Args:
        largest_radius: Å.
        spacing: Å, of the working grid.
        shape: of the smallest tomogram on it.
        minimum: the recipe's crop.
        divisor: that the network asks of every edge.
        rules: of the plan.
    """
    needed = rules.crop_radii * largest_radius / spacing
    return [
        min(_round_up(max(n, needed), divisor), _round_up(m, divisor))
        for n, m in zip(minimum, shape, strict=True)
    ]


def window_size(
    shape: Sequence[int], *, maximum: Sequence[int] | None, divisor: int, halo: Sequence[int]
) -> list[int]:
    """Voxels of a window: the recipe's, no more than the volume has, but wider than its halos."""
    return [
        max(min(_round_up(n, divisor), _round_up(m, divisor)), _round_up(2 * h + 1, divisor))
        for m, n, h in zip(maximum or shape, shape, halo, strict=True)
    ]


def radius_scales(
    radii: Mapping[str, float], scale: float, spacing: float, rules: Rules
) -> dict[str, float]:
    """Objects whose spheres must be larger than the recipe's for the working grid to see them."""
    least = rules.voxels_per_target * spacing
    return {
        name: round(least / radius, 2)
        for name, radius in radii.items()
        if scale * radius < 0.99 * least
    }


def batch(
    wanted: int, *, bytes_per_crop: int, memory: int, larger_helps: bool, rules: Rules
) -> tuple[int, bool]:
    """Crops in a step, and whether even those are too much for the memory.

    Args:
        wanted: the recipe's.
        bytes_per_crop: that one takes.
        memory: bytes there are.
        larger_helps: whether more than wanted are of use, as on a GPU.
        rules: of the plan.
    """
    fit = int(rules.memory_share * memory / max(1, bytes_per_crop))
    crops = wanted
    while larger_helps and crops * 2 <= min(fit, rules.max_crops_per_step):
        crops *= 2
    while crops > max(1, fit):
        crops //= 2
    return max(1, crops), fit < 1


def num_folds(
    wanted: int, classes: Mapping[str, Collection[str]], *, seed: int
) -> tuple[int | None, str]:
    """The most folds, up to those wanted, that leave every object to train on; and why not more.

    Args:
        wanted: the recipe's.
        classes: run name -> objects it holds.
        seed: of the shuffle.
    """
    why = ""
    for folds in range(min(wanted, len(classes)), 1, -1):
        try:
            for fold in range(folds):
                split_settings = SplitSettings(None, None, None, None, fold, folds, seed)
                split_runs(list(classes), split_settings, classes=classes)
        except (DataError, SettingError) as error:
            why = str(error)
            continue
        return folds, why
    return None, why or f"{len(classes)} run is too few to hold one out"


def _round_up(number: float, divisor: int) -> int:
    return max(1, math.ceil(number / divisor)) * divisor
