"""Explain a plan in sentences: the comments on top of its experiment."""

import os
from collections import Counter

from octopi.checks.estimate import Estimate
from octopi.checks.measured_cost import NetworkCosts
from octopi.checks.planning_rules import Sizes, edges
from octopi.checks.project_summary import ProjectSummary
from octopi.config.settings import PlanSettings
from octopi.geometry import format_shape
from octopi.system import resources
from octopi.system.resources import format_bytes, format_duration

BUSY = 1.5  # load of a core above which measured seconds are too many


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
    estimate: Estimate, sizes: Sizes, costs: NetworkCosts, *, device_name: str
) -> list[str]:
    """Describe the measured costs and the time, memory and disk estimated from them."""
    gpu = f", {format_bytes(estimate.gpu)} of the GPU" if costs.on_gpu else ""
    return [
        f"Measured on {device_name}: a crop {costs.crop.seconds:.2g} s and "
        f"{format_bytes(costs.crop.num_bytes)}, a window's million voxels "
        f"{1e6 * costs.window.seconds_per_voxel:.2g} s.",
        f"Time: training about {format_duration(estimate.training_seconds)} "
        f"({estimate.num_steps} steps of {sizes.crops_per_step} crops; "
        "trainer.max_time=DD:HH:MM:SS ends it sooner, cooled down), segment about "
        f"{format_duration(estimate.segment_seconds)} a tomogram.",
        f"Memory: about {format_bytes(estimate.ram)} RAM for training{gpu}. Disk: about "
        f"{format_bytes(estimate.disk)}, {format_bytes(estimate.cache)} of it cache.",
    ]


def describe_shortages(
    estimate: Estimate, costs: NetworkCosts, settings: PlanSettings
) -> list[str]:
    """Describe what this machine has too little of now."""
    lines = []
    load, free, memory = (
        os.getloadavg()[0],
        resources.free_space(settings.data["cache_dir"]),
        resources.memory(),
    )
    if not costs.on_gpu and load > BUSY * costs.num_cores:
        lines.append(
            f"Others kept the machine busy meanwhile (load {load:.1f}): idle, it is faster."
        )
    if estimate.disk > free:
        lines.append(f"Only {format_bytes(free)} of disk are free: make room first.")
    if not costs.on_gpu and estimate.ram > memory:
        lines.append(
            f"Only {format_bytes(memory)} of RAM are free: train fold by fold (fold=0, fold=1, …), "
            "or with data.crops_per_step=1."
        )
    return lines
