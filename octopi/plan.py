"""Plan a training from a project and this machine, and write it as an experiment.

Run it as `octopi plan` or `python -m octopi.plan`; every command takes what it writes as
`experiment=outputs/plan/experiment/NAME.yaml`.
"""

import logging
from pathlib import Path

import torch

from octopi.checks.experiment_file import (
    as_experiment,
    describe_estimate,
    describe_project,
    describe_sizes,
    to_yaml,
)
from octopi.checks.measured_cost import measure_network
from octopi.checks.picks import describe_gaps
from octopi.checks.planning_rules import fit_to_memory, fit_to_minutes, most_folds, plan_sizes
from octopi.checks.project_summary import summarise_project
from octopi.checks.tables import annotation_table
from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.files import CONF_DIR
from octopi.config.settings import PlanSettings
from octopi.errors import ResourceError, SettingError
from octopi.geometry import format_shape
from octopi.models.devices import choose_device_type
from octopi.models.properties import size_divisor
from octopi.project import Project
from octopi.system import resources
from octopi.system.files import write_text
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)


def plan(settings: PlanSettings, job: Job) -> None:
    """Write the planned experiment to the folder and log it; log how commands take it."""
    path = plan_path(settings)
    project: Project = build(settings.project, "project")
    text = plan_experiment(project, settings, job)
    if settings.dry_run:
        log_dry_run("plan", [f"{path} would be written:", text])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    logger.info("%s:\n%s", path, text)
    logger.info("Edit it, and give it to every command: octopi train experiment=%s", path)


def plan_path(settings: PlanSettings) -> Path:
    """Return the path of the experiment to write.

    Raises:
        SettingError: its name is one of octopi's own, or it exists and must not be replaced.
        ResourceError: the folder cannot be written.
    """
    config = settings.project["config"]
    first = config[0] if isinstance(config, list) else config
    name = settings.name or (Path(first).stem if isinstance(first, str) else "demo")
    name = name.removesuffix(".yaml")
    if Path(name).name != name or name == "..":
        raise SettingError(
            f"name={name} is no name of a file: leave out / and say where in folder=…"
        )
    path = Path(settings.folder) / "experiment" / f"{name}.yaml"
    if (CONF_DIR / "experiment" / path.name).exists():
        raise SettingError(f"octopi has an experiment {name} of its own. Choose another name=…")
    if path.exists() and not settings.overwrite:
        raise SettingError(
            f"{path} exists and may have been edited. Replace it with overwrite=true, or choose "
            "another name=…"
        )
    resources.check_writable(path.parent, "Choose another folder=…")
    return path


def plan_experiment(project: Project, settings: PlanSettings, job: Job) -> str:
    """Plan an experiment; return it as YAML that is explained by comments."""
    summary = summarise_project(project, settings)
    logger.info("%s\n%s", project, annotation_table(summary.counts, list(summary.radii)))
    for name, origin in summary.origins.items():
        if not origin.is_plain:
            logger.info("%s: %s.", name, origin)
    for text in describe_gaps(summary.counts, summary.partial):
        logger.warning(text)
    num_classes = summary.num_labels + 1
    net = build(settings.model, "model", out_channels=num_classes)
    device = torch.device(
        choose_device_type(settings.trainer["accelerator"], "trainer.accelerator")
    )
    on_gpu = device.type == "cuda"
    memory = torch.cuda.mem_get_info()[0] if on_gpu else resources.memory()
    sizes = plan_sizes(summary, settings, divisor=size_divisor(net))
    loss = build(settings.loss, "loss")
    try:
        costs = measure_network(net, loss, sizes.crop_size, num_classes=num_classes, device=device)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(
            f"One crop of {format_shape(sizes.crop_size)} voxels does not fit into "
            f"{resources.format_bytes(memory)}. Plan with a smaller model, or with "
            "rules.crop_radii=3."
        ) from error
    sizes = fit_to_memory(sizes, costs, settings, memory=memory, larger_helps=on_gpu)
    sizes = fit_to_minutes(sizes, costs, summary, settings)
    device_name = torch.cuda.get_device_name() if on_gpu else f"{costs.num_cores} cores"
    notes = [
        *describe_project(str(project), summary),
        *describe_sizes(summary, sizes, most_folds(settings)),
        *describe_estimate(summary, sizes, costs, settings, device_name=device_name),
    ]
    return to_yaml(as_experiment(summary, sizes, settings, job.overrides), notes)


main = Command("plan", plan)

if __name__ == "__main__":
    main()
