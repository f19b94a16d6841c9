"""Write a plan as an experiment: a YAML file that every command takes."""

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from octopi.checks.planning_rules import Sizes
from octopi.checks.project_summary import ProjectSummary
from octopi.config.files import CONF_DIR
from octopi.config.overrides import override_key, override_value
from octopi.config.settings import PlanSettings
from octopi.system.files import YamlDumper, read_yaml
from octopi.system.resources import format_time_limit

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
    recipe = choices.get("experiment", _default_recipe())
    return [
        *([recipe] if recipe not in ("[]", None) else []),
        "_self_",
        *({f"override /{group}": choices[group]} for group in GROUPS if group in choices),
    ]


def _default_recipe() -> str | None:
    """Return the experiment that `plan` starts from unless another is chosen."""
    defaults = read_yaml(CONF_DIR / "plan.yaml")["defaults"]
    return next((e["experiment"] for e in defaults if "experiment" in e), None)


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
