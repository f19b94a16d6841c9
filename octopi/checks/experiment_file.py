"""Write a plan as an experiment: a YAML file that every command takes, explained by comments."""

import math
import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from octopi.checks.measured_cost import NetworkCosts
from octopi.checks.planning_rules import Sizes, edges
from octopi.checks.project_summary import ProjectSummary
from octopi.config.files import CONF_DIR
from octopi.config.overrides import override_key, override_value
from octopi.config.settings import PlanSettings
from octopi.data.cache import IMAGE_BYTES, TARGET_BYTES
from octopi.geometry import format_shape
from octopi.inference.windows import num_windows
from octopi.models.properties import checkpoint_bytes
from octopi.system import resources
from octopi.system.files import YamlDumper, read_yaml
from octopi.system.resources import format_bytes, format_duration, format_time_limit

FLOAT = 4  # bytes
READING_COPIES = 3.5  # of a tomogram, while it is read, resampled and normalised in float32
BUSY = 1.5  # load of a core above which measured seconds are too many
GROUPS = ("model", "loss", "trainer", "predictor")
SECTIONS = ("data", "targets", *GROUPS)
PLANNED = (
    "data.working_spacing", "data.crop_size", "data.crops_per_step", "predictor.window_size",
)  # fmt: skip


def as_experiment(
    summary: ProjectSummary, sizes: Sizes, settings: PlanSettings, overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the content of the experiment.

    Args:
        summary: of the project.
        sizes: that were planned.
        settings: of the plan.
        overrides: of the plan's command line; those of the training are part of the experiment.
    """
    content: dict[str, Any] = {
        "defaults": _defaults_list(overrides),
        "tomo_types": summary.tomo_types,
        **({"voxel_spacing": summary.voxel_spacing} if summary.has_other_spacings else {}),
        **({"runs": settings.runs} if settings.runs is not None else {}),
        "num_folds": sizes.num_folds,
        "data": {
            "working_spacing": sizes.working_spacing,
            "crop_size": sizes.crop_size,
            "crops_per_step": sizes.crops_per_step,
        },
        "targets": {
            "radius_scale": settings.targets.radius_scale,
            **({"radius_scales": sizes.radius_scales} if sizes.radius_scales else {}),
        },
        "predictor": {"window_size": sizes.window_size},
    }
    if settings.minutes is not None:
        max_time = format_time_limit(round(60 * settings.minutes))
        content["trainer"] = {"max_time": max_time, "max_epochs": sizes.max_epochs}
    if sizes.num_folds is None and sizes.max_epochs is not None and len(summary.runs) > 2:
        validation = round(1 / len(summary.runs), 3)  # one run, for the thresholds
        content["data"]["ratios"] = [1 - validation, validation, 0.0]
    elif sizes.num_folds is None and settings.num_folds:
        content["data"]["ratios"] = [1.0, 0.0, 0.0]
    for override in overrides:
        key = override_key(override)
        if key.partition(".")[0] in SECTIONS and "." in key and key not in PLANNED:
            _set(content, key, override_value(override))
    return content


def _defaults_list(overrides: Sequence[str]) -> list[Any]:
    """Return the experiment's defaults list: its recipe, itself, other choices of groups."""
    choices = {override_key(o): o.partition("=")[2] for o in overrides if "=" in o}
    own_defaults = read_yaml(CONF_DIR / "plan.yaml")["defaults"]
    default = next((e["experiment"] for e in own_defaults if "experiment" in e), None)
    recipe = choices.get("experiment", default)
    return [
        *([recipe] if recipe not in ("[]", None) else []),
        "_self_",
        *({f"override /{group}": choices[group]} for group in GROUPS if group in choices),
    ]


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its dotted key; add the sections that are missing."""
    *sections, name = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
    content[name] = value


def to_yaml(content: dict[str, Any], comments: Sequence[str]) -> str:
    """Format an experiment as a file of its group, below comments."""

    class Dumper(YamlDumper):
        """Writes a list in one line, but the defaults list in several."""

    Dumper.add_representer(
        list,
        lambda dumper, value: dumper.represent_sequence(
            "tag:yaml.org,2002:seq", value, flow_style="_self_" not in value
        ),
    )
    body = yaml.dump(content, Dumper=Dumper, sort_keys=False, width=100, allow_unicode=True)
    lines = [f"# {line}" for comment in comments for line in textwrap.wrap(comment, 96)]
    return "\n".join(["# @package _global_", *lines, body])


def describe_project(project: str, summary: ProjectSummary) -> list[str]:
    """Describe the runs and objects of the project."""
    shapes = Counter(format_shape(grid.shape) for grid in summary.grids)
    tomograms = ", ".join(f"{number} of {shape}" for shape, number in shapes.items())
    objects = ", ".join(
        f"{name} (radius {radius:g} Å, {summary.total(name)} particles in "
        f"{sum(name in objects for objects in summary.classes.values())} runs)"
        for name, radius in summary.radii.items()
    )
    return [
        f"Planned for {project}: {len(summary.runs)} runs, {tomograms} voxels of "
        f"{summary.voxel_spacing:g} Å.",
        f"Objects: {objects}.",
    ]


def describe_sizes(summary: ProjectSummary, sizes: Sizes, most_folds: int) -> list[str]:
    """Describe the planned sizes, and why there are fewer folds than there may be."""
    voxel = sizes.grids[0].spacing[-1]
    smallest, largest = min(summary.radii.values()), max(summary.radii.values())
    lines = [
        f"Working grid {format_shape(edges(max, sizes.grids))} of {voxel:.4g} Å: the smallest "
        f"object ({smallest:g} Å) keeps {smallest / voxel:.2g} voxels of radius; a crop is "
        f"{sizes.crop_size[-1] * voxel:.0f} Å wide, the largest object {2 * largest:g} Å."
    ]
    if (sizes.num_folds or 1) < most_folds and sizes.why_fewer_folds:
        lines.append(f"{sizes.num_folds or 'No'} folds: {sizes.why_fewer_folds}")
    if sizes.exceeds_memory:
        lines.append("Even one crop may be too much for the memory.")
    return lines


def describe_estimate(
    summary: ProjectSummary,
    sizes: Sizes,
    costs: NetworkCosts,
    settings: PlanSettings,
    *,
    device_name: str,
) -> list[str]:
    """Describe what was measured, what a training takes by that, and what is too little here.

    Args:
        summary: of the project.
        sizes: of the training.
        costs: of a crop and a window, as measured.
        settings: of the plan.
        device_name: where they were measured.
    """
    steps, training_seconds, segment_seconds = _estimate_time(sizes, costs, settings)
    folds, free = sizes.num_folds or 1, resources.free_space(settings.data["cache_dir"])
    step_bytes = sizes.crops_per_step * costs.crop.num_bytes
    reading = FLOAT * READING_COPIES * max(math.prod(grid.shape) for grid in summary.grids)
    folds_at_once = 1 if costs.on_gpu else min(folds, costs.num_cores)
    ram = folds_at_once * (costs.process_bytes + max(step_bytes, reading))
    voxels = sum(math.prod(grid.shape) for grid in sizes.grids)
    cache = voxels * (IMAGE_BYTES * len(summary.tomo_types) + TARGET_BYTES)
    outputs = voxels * (1 + summary.num_labels)  # segmentations, score maps: a byte a voxel
    disk = cache + outputs + folds * sum(checkpoint_bytes(costs.num_weights))
    gpu = f", {format_bytes(step_bytes)} of the GPU" if costs.on_gpu else ""
    lines = [
        f"Measured on {device_name}: a crop {costs.crop.seconds:.2g} s and "
        f"{format_bytes(costs.crop.num_bytes)}, a window's million voxels "
        f"{1e6 * costs.window.seconds_per_voxel:.2g} s.",
        f"Time: training about {format_duration(training_seconds)} "
        f"({steps} steps of {sizes.crops_per_step} crops; "
        "trainer.max_time=DD:HH:MM:SS ends it sooner, cooled down), segment about "
        f"{format_duration(segment_seconds)} a tomogram.",
        f"Memory: about {format_bytes(ram)} RAM for training{gpu}. Disk: about "
        f"{format_bytes(disk)}, {format_bytes(cache)} of it cache.",
    ]
    load, memory = os.getloadavg()[0], resources.memory()
    if not costs.on_gpu and load > BUSY * costs.num_cores:
        lines.append(
            f"Others kept the machine busy meanwhile (load {load:.1f}): idle, it is faster."
        )
    if disk > free:
        lines.append(f"Only {format_bytes(free)} of disk are free: make room first.")
    if not costs.on_gpu and ram > memory:
        lines.append(
            f"Only {format_bytes(memory)} of RAM are free: train fold by fold (fold=0, fold=1, …), "
            "or with data.crops_per_step=1."
        )
    return lines


def _estimate_time(
    sizes: Sizes, costs: NetworkCosts, settings: PlanSettings
) -> tuple[int, float, float]:
    """Estimate the steps and the seconds of all folds, and those of the largest tomogram."""
    trainer, predictor, folds = settings.trainer, settings.predictor, sizes.num_folds or 1
    epochs = sizes.max_epochs or trainer["max_epochs"]
    steps = folds * epochs * settings.data["steps_per_epoch"]
    halo, predict_seconds = predictor["halo"], []
    for grid in sizes.grids:
        count, window = num_windows(grid.shape, sizes.window_size, divisor=sizes.divisor, halo=halo)
        voxels = count * math.prod(window) * predictor["num_sides"]
        predict_seconds.append(voxels * costs.window.seconds_per_voxel)
    validations = max(1, epochs // trainer["check_val_every_n_epoch"])
    training = steps * sizes.crops_per_step * costs.crop.seconds
    return steps, training + validations * sum(predict_seconds), folds * max(predict_seconds)
