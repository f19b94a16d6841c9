"""Look at a project and this machine, and write the experiment that follows from them.

Run it as `octopi plan` or `python -m octopi.plan`; every command takes what it writes as
`experiment=outputs/plan/experiment/NAME.yaml`.
"""

import logging
import math
import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from octopi.checks import measured_cost, planning_rules
from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.files import CONF_DIR
from octopi.config.settings import PlanSettings
from octopi.data.cache import working_grid
from octopi.errors import DataError, ResourceError, SettingError
from octopi.geometry import Grid, format_shape
from octopi.inference.windows import num_windows
from octopi.models.precision import choose_device_type
from octopi.models.properties import size_divisor
from octopi.project import PicksQuery, Project, Run, TomogramQuery, find_picks
from octopi.system import resources
from octopi.system.files import write_text
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)

TOMOGRAM_COPIES_WHILE_READING = (
    3.5  # copies of a tomogram, float32, while it is read, resampled and normalised
)
STATES = 6  # copies of the weights in best_model.pth and last.ckpt together
PLANNED = (
    "data.working_spacing", "data.crop_size", "data.crops_per_step", "predictor.window_size",
)  # fmt: skip


@dataclass(frozen=True)
class ProjectSummary:
    """What the project is like, as far as the plan depends on it.

    Args:
        runs: that hold picks, and the tomograms.
        tomo_types: to train on.
        voxel_spacing: Å.
        grids: of the runs' tomograms.
        radii: object -> Å.
        counts: object -> particles in all runs.
        classes: run name -> objects it holds.
        has_other_spacings: whether runs hold tomograms at other spacings too.
    """

    runs: list[Run]
    tomo_types: list[str]
    voxel_spacing: float
    grids: list[Grid]
    radii: dict[str, float]
    counts: dict[str, int]
    classes: dict[str, set[str]]
    has_other_spacings: bool


def plan(settings: PlanSettings, job: Job) -> None:
    """The folder holds the experiment; the log shows it and how every command takes it."""
    path = path_of(settings)
    project: Project = build(settings.project, "project")
    project_summary = fingerprint(project, settings)
    content, notes = plan_experiment(project_summary, settings, job)
    text = as_yaml(content, [*describe(project, project_summary), *notes])
    if settings.dry_run:
        log_dry_run("plan", [f"{path} would be written:", text])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    logger.info("%s:\n%s", path, text)
    logger.info("Edit it, and give it to every command: octopi train experiment=%s", path)


def path_of(settings: PlanSettings) -> Path:
    """Where the plan goes, if it may."""
    config = settings.project["config"]
    first = config[0] if isinstance(config, list) else config
    name = settings.name or (Path(first).stem if isinstance(first, str) else "demo")
    path = Path(settings.folder) / "experiment" / f"{name}.yaml"
    if (CONF_DIR / "experiment" / path.name).exists():
        raise SettingError(f"octopi has an experiment {name} of its own. Choose another name=…")
    if path.exists() and not settings.overwrite:
        raise SettingError(
            f"{path} is there, perhaps edited. Replace it with overwrite=true, or choose another "
            "name=…"
        )
    resources.check_writable(path.parent, "Choose another folder=…")
    return path


def fingerprint(project: Project, settings: PlanSettings) -> ProjectSummary:
    """What the project is like, from metadata and picks; no tomogram is read."""
    chosen = project.select(settings.runs)
    targets = settings.targets
    queries = find_picks(chosen, objects=targets.objects, source=targets.picks)
    queries = {name: q for name, q in queries.items() if name in project.objects}
    radii = {name: project.objects[name].require_radius() for name in queries}
    counts_by_run = {run.name: particles(run, queries) for run in chosen}
    runs = [
        run for run in chosen if settings.runs is not None or any(counts_by_run[run.name].values())
    ]
    tomograms = {run.name: run.tomograms() for run in runs}
    types, spacing = choose_tomograms(list(tomograms.values()), settings)
    grids = [run.tomogram_grid(run.find_tomogram(types[0], spacing)) for run in runs]
    return ProjectSummary(
        runs=runs,
        tomo_types=types,
        voxel_spacing=spacing,
        grids=grids,
        radii=radii,
        counts={name: sum(counts_by_run[run.name][name] for run in runs) for name in queries},
        classes={
            run.name: {n for n, count in counts_by_run[run.name].items() if count} for run in runs
        },
        has_other_spacings=any(
            len({q.voxel_spacing for q in found}) > 1 for found in tomograms.values()
        ),
    )


def particles(run: Run, queries: dict[str, PicksQuery]) -> dict[str, int]:
    """How many picks of each object a run holds."""
    existing_picks = run.read_existing_picks(queries)
    return {name: len(existing_picks.get(name, ())) for name in queries}


def choose_tomograms(
    tomograms_by_run: Sequence[Sequence[TomogramQuery]], settings: PlanSettings
) -> tuple[list[str], float]:
    """The tomogram types to train on and their spacing: those asked for, else what all runs have.

    Of several, a denoised type is taken, else the first; of several spacings the most common.
    """
    common = (
        set.intersection(*({q.tomo_type for q in found} for found in tomograms_by_run))
        if tomograms_by_run
        else set()
    )
    requested_types = settings.tomo_types or []
    types = [name for name in requested_types if name in common]
    if not common:
        raise DataError("No tomogram type is there for every run with picks. See: octopi check")
    if not types:
        if requested_types and not set(requested_types) & {
            q.tomo_type for found in tomograms_by_run for q in found
        }:
            logger.info("No run has tomograms %s; %s are there.", requested_types, sorted(common))
        types = [next((n for n in sorted(common) if "denois" in n), min(common))]
    spacings = Counter(
        q.voxel_spacing for found in tomograms_by_run for q in found if q.tomo_type == types[0]
    )
    return types, settings.voxel_spacing or spacings.most_common(1)[0][0]


def plan_experiment(
    found: ProjectSummary, settings: PlanSettings, job: Job
) -> tuple[dict[str, Any], list[str]]:
    """The experiment, and what is to be said of it."""
    rules = settings.rules
    spacing = planning_rules.working_spacing(found.radii.values(), found.voxel_spacing, rules)
    grids = [working_grid(grid, spacing) for grid in found.grids]
    working = float(grids[0].spacing[-1])
    smallest = [min(grid.shape[axis] for grid in grids) for axis in range(3)]
    largest = [max(grid.shape[axis] for grid in grids) for axis in range(3)]
    net = build(settings.model, "model", out_channels=len(found.radii) + 1)
    divisor = size_divisor(net)
    crop = planning_rules.crop_size(
        max(found.radii.values()), working, smallest,
        minimum=settings.data["crop_size"], divisor=divisor, rules=rules,
    )  # fmt: skip
    predictor = settings.predictor
    window = planning_rules.window_size(
        largest, maximum=predictor["window_size"], divisor=divisor, halo=predictor["halo"]
    )
    device = device_of(settings)
    memory = memory_of(device)
    crop_cost, window_cost, window = measure(
        net, settings, found, crop, window, divisor=divisor, memory=memory
    )
    crops, exceeds_memory = planning_rules.batch(
        settings.data["crops_per_step"], bytes_per_crop=crop_cost.num_bytes, memory=memory,
        larger_helps=device.type == "cuda", rules=rules,
    )  # fmt: skip
    folds, why = planning_rules.num_folds(
        settings.num_folds or 1, found.classes, seed=settings.seed
    )
    scales = planning_rules.radius_scales(
        found.radii, settings.targets.radius_scale, working, rules
    )
    content = {
        **experiment_defaults(job),
        "tomo_types": found.tomo_types,
        **({"voxel_spacing": found.voxel_spacing} if found.has_other_spacings else {}),
        **({"runs": settings.runs} if settings.runs is not None else {}),
        "num_folds": folds,
        "data": {"working_spacing": spacing, "crop_size": crop, "crops_per_step": crops},
        "targets": {
            "radius_scale": settings.targets.radius_scale,
            **({"radius_scales": scales} if scales else {}),
        },
        "predictor": {"window_size": window},
    }
    if folds is None and settings.num_folds:
        content["data"]["ratios"] = [1.0, 0.0, 0.0]
    merge(content, command_line_settings(job))
    notes = [
        f"Working grid {format_shape(largest)} of {working:.4g} Å: the smallest object "
        f"({min(found.radii.values()):g} Å) keeps {min(found.radii.values()) / working:.2g} voxels "
        f"of radius; a crop is {crop[-1] * working:.0f} Å wide, the largest object "
        f"{2 * max(found.radii.values()):g} Å.",
        *([f"{folds or 'No'} folds: {why}"] if folds != settings.num_folds and why else []),
        *(["Even one crop may be too much for the memory."] if exceeds_memory else []),
        *estimate(
            found,
            settings,
            grids,
            device,
            net,
            divisor=divisor,
            step=crop_cost,
            look=window_cost,
            content=content,
        ),
    ]
    return content, notes


def device_of(settings: PlanSettings) -> torch.device:
    """Where a training would run."""
    return torch.device(choose_device_type(settings.trainer["accelerator"], "trainer.accelerator"))


def memory_of(device: torch.device) -> int:
    """Bytes that can still be taken there."""
    return resources.memory() if device.type == "cpu" else torch.cuda.mem_get_info()[0]


def measure(
    net: torch.nn.Module,
    settings: PlanSettings,
    found: ProjectSummary,
    crop: list[int],
    window: list[int],
    *,
    divisor: int,
    memory: int,
) -> tuple[measured_cost.Cost, measured_cost.Cost, list[int]]:
    """What a crop and a window cost here, and the window, made small enough for the memory."""
    device, halo = device_of(settings), settings.predictor["halo"]
    try:
        step = measured_cost.measure_training_step(
            net, build(settings.loss, "loss"), crop, num_classes=len(found.radii) + 1, device=device
        )
        look = measured_cost.measure_window(net, crop, device=device)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(
            f"One crop of {format_shape(crop)} voxels does not fit into "
            f"{resources.format_bytes(memory)}. Plan with "
            "a smaller model, or with rules.crop_radii=3."
        ) from error
    per_voxel = look.num_bytes / look.voxels
    while per_voxel * math.prod(window) > settings.rules.memory_share * memory:
        axis = max(range(3), key=lambda i: window[i])
        half = -(-window[axis] // 2 // divisor) * divisor
        if half <= 2 * halo[axis] or half == window[axis]:
            break
        window = [half if i == axis else n for i, n in enumerate(window)]
    return step, look, window


def experiment_defaults(job: Job) -> dict[str, Any]:
    """The recipe, and the groups chosen otherwise on the command line."""
    overrides = dict(word.lstrip("+").split("=", 1) for word in job.overrides if "=" in word)
    recipe = overrides.get("experiment", yaml_default("experiment"))
    groups = [g for g in ("model", "loss", "trainer", "predictor") if g in overrides]
    return {
        "defaults": [
            *([recipe] if recipe not in ("[]", None) else []),
            "_self_",
            *({f"override /{group}": overrides[group]} for group in groups),
        ]
    }


def yaml_default(group: str) -> str | None:
    """What the command's own config chooses of a group."""
    defaults = yaml.safe_load((CONF_DIR / "plan.yaml").read_text(encoding="utf-8"))["defaults"]
    return next((e[group] for e in defaults if isinstance(e, dict) and group in e), None)


def command_line_settings(job: Job) -> dict[str, Any]:
    """The settings typed on the command line that are the experiment's, not the plan's own."""
    out: dict[str, Any] = {}
    for word in job.overrides:
        key, _, value = word.lstrip("+").partition("=")
        section = key.partition(".")[0]
        sections = ("data", "targets", "model", "loss", "trainer", "predictor")
        if "." in key and section in sections and key not in PLANNED:
            node = out
            *path, last = key.split(".")
            for part in path:
                node = node.setdefault(part, {})
            node[last] = yaml.safe_load(value)
    return out


def merge(content: dict[str, Any], more: dict[str, Any]) -> None:
    """The content holds what is in more, too."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            merge(content[key], value)
        else:
            content[key] = value


def describe(project: Project, found: ProjectSummary) -> list[str]:
    """The project in a few lines."""
    shapes = Counter(format_shape(grid.shape) for grid in found.grids)
    return [
        f"Planned for {project}: {len(found.runs)} runs, "
        + ", ".join(f"{times} of {shape}" for shape, times in shapes.items())
        + f" voxels of {found.voxel_spacing:g} Å.",
        "Objects: " + ", ".join(
            f"{name} (radius {radius:g} Å, {found.counts[name]} particles in "
            f"{sum(name in objects for objects in found.classes.values())} runs)"
            for name, radius in found.radii.items()
        ) + ".",
    ]  # fmt: skip


def estimate(
    found: ProjectSummary,
    settings: PlanSettings,
    grids: Sequence[Grid],
    device: torch.device,
    net: torch.nn.Module,
    *,
    divisor: int,
    step: measured_cost.Cost,
    look: measured_cost.Cost,
    content: dict[str, Any],
) -> list[str]:
    """What time, memory and disk it will take, from a measured crop and a measured window."""
    trainer, data = settings.trainer, content["data"]
    folds, crops = content["num_folds"] or 1, data["crops_per_step"]
    steps = folds * trainer["max_epochs"] * settings.data["steps_per_epoch"]
    size, halo = content["predictor"]["window_size"], settings.predictor["halo"]
    passes = [num_computed_voxels(grid.shape, size, halo, divisor) for grid in grids]
    seen = [voxels * settings.predictor["num_sides"] * look.per_voxel() for voxels in passes]
    validations = trainer["max_epochs"] // trainer["check_val_every_n_epoch"]
    training = steps * crops * step.seconds + validations * sum(seen)
    side_by_side = min(folds, resources.num_cores()) if device.type == "cpu" else 1
    raw = max(math.prod(grid.shape) for grid in found.grids)
    working = [math.prod(grid.shape) for grid in grids]
    weights = 4 * sum(p.numel() for p in net.parameters())
    base = resources.peak_memory()
    ram = side_by_side * (
        base + max(crops * step.num_bytes, 4 * TOMOGRAM_COPIES_WHILE_READING * raw)
    )
    cache = sum(working) * (2 * len(found.tomo_types) + 1)
    scores = sum(working) * len(found.radii)
    disk = cache + sum(working) + scores + folds * STATES * weights
    where = torch.cuda.get_device_name() if device.type == "cuda" else (
        f"{resources.num_cores()} cores")  # fmt: skip
    lines = [
        f"Measured on {where}: a crop {step.seconds:.2g} s and "
        f"{resources.format_bytes(step.num_bytes)}, a window's million voxels "
        f"{1e6 * look.per_voxel():.2g} s.",
        f"Time: training about {duration(training)} ({steps} steps of {crops} crops; "
        "trainer.max_time=DD:HH:MM:SS ends it sooner, cooled down), segment about "
        f"{duration(folds * max(seen))} a tomogram.",
        f"Memory: about {resources.format_bytes(ram)} RAM for training"
        + (
            f", {resources.format_bytes(crops * step.num_bytes)} of the GPU"
            * (device.type == "cuda")
        )
        + f". Disk: about {resources.format_bytes(disk)}, {resources.format_bytes(cache)} of it "
        f"cache.",
    ]
    load = os.getloadavg()[0]
    if device.type == "cpu" and load > 1.5 * resources.num_cores():
        lines.append(
            f"Others kept the machine busy meanwhile (load {load:.1f}): idle, it is faster."
        )
    free = resources.free_space(settings.data["cache_dir"])
    if disk > free:
        lines.append(f"Only {resources.format_bytes(free)} of disk are free: make room first.")
    if device.type == "cpu" and ram > resources.memory():
        memory = resources.format_bytes(resources.memory())
        lines.append(
            f"Only {memory} of RAM are free: train fold by fold (fold=0, fold=1, …), or with "
            "data.crops_per_step=1."
        )
    return lines


def num_computed_voxels(
    shape: Sequence[int], size: Sequence[int], halo: Sequence[int], divisor: int
) -> int:
    """Voxels that a network looks at to see a volume once: halos count every time."""
    looks, window = num_windows(shape, size, divisor=divisor, halo=halo)
    return looks * math.prod(window)


def duration(seconds: float) -> str:
    """A time for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def as_yaml(content: dict[str, Any], comments: Sequence[str]) -> str:
    """The experiment as a file of its group, with the reasons on top."""

    class Flow(yaml.SafeDumper):
        """Lists in one line."""

    Flow.add_representer(
        list,
        lambda dumper, value: dumper.represent_sequence(
            "tag:yaml.org,2002:seq", value, flow_style="_self_" not in value
        ),
    )
    body = yaml.dump(content, Dumper=Flow, sort_keys=False, width=100)
    lines = [part for line in comments for part in textwrap.wrap(line, 96)]
    return "\n".join(["# @package _global_", *(f"# {line}" for line in lines), body])


main = command("plan", plan)

if __name__ == "__main__":
    main()
