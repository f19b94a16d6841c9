"""Assemble what the page's script reads: runs, scores, pictures, commands and provenance."""

import datetime
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from octopi.config.overrides import shell_override
from octopi.config.settings import ReportSettings
from octopi.evaluation.scores import Scorer
from octopi.evaluation.share_report import advise_partial, count_annotated, describe_shares
from octopi.html_report.collect import ReportData
from octopi.html_report.runs import pick_arrays, render_pictures, score_runs, size_of_arrays
from octopi.html_report.training_history import TrainingHistory
from octopi.project import Project
from octopi.project.selection import tomogram_for_display
from octopi.system.job_folder import BEST_MODEL_FILE
from octopi.system.passwords import mask_passwords
from octopi.system.versions import git_commit, versions

PAGE_BYTES = 150_000  # of the page without pictures and picks
MAX_BYTES_PER_RUN = 2_600_000  # even where the page may be larger


def render_runs(
    data: ReportData, project: Project, settings: ReportSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Describe each run's tomogram and render its pictures, with one run in memory at a time.

    Args:
        data: the runs and objects to show.
        project: that the tomograms are read from.
        settings: which tomograms to show, and how large the page may be.

    Returns:
        A description of the tomogram and a block of pictures for each run.
    """
    max_bytes = _bytes_per_run(data, settings)
    descriptions, blocks = [], []
    for run in data.runs:
        project_run = project.select([run.name])[0]
        query = tomogram_for_display(project_run, settings.tomo_type)
        if query is None:
            descriptions.append({"tomogram": None})
            blocks.append({"volume": None, "scores": None, "crops": []})
            continue
        volume, grid = project_run.read_tomogram(query), project_run.tomogram_grid(query)
        block, mosaic = render_pictures(
            run, data.objects, volume, grid, max_bytes=max_bytes, num_runs=len(data.runs)
        )
        blocks.append(block)
        descriptions.append(
            {
                "tomogram": str(query),
                "shape": grid.shape,
                "spacing": grid.spacing,
                "binned": round(mosaic.spacing[0] / grid.spacing[0]),
                "quality": mosaic.quality,
            }
        )
    return descriptions, blocks


def _bytes_per_run(data: ReportData, settings: ReportSettings) -> float:
    """Return each run's part of the bytes that charts and picks leave for pictures."""
    charts = data.history.pictures if data.history else []
    used = sum(len(chart["picture"]) for chart in charts) + sum(map(size_of_arrays, data.runs))
    available = settings.max_megabytes * 1e6 - PAGE_BYTES - used
    return min(MAX_BYTES_PER_RUN, available / len(data.runs))


def page_content(
    data: ReportData, scorer: Scorer, tomograms: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Assemble objects, runs and scores as the page's script reads them.

    Args:
        data: the runs and objects to show.
        scorer: matches picks to particles.
        tomograms: the description of each run's tomogram, from render_runs.
    """
    shares = data.estimated_shares
    scores = score_runs(data.runs, data.objects, scorer, shares)
    return {
        "beta": scorer.beta,
        "toleranceScale": scorer.tolerance_scale,
        "objects": [
            {**one, "share": shares[one["name"]][0] if one["name"] in shares else None}
            for one in data.objects.to_list(scorer.tolerance_scale)
        ],
        "annotation": describe_annotation(data),
        "runs": [
            {
                "name": run.name,
                "role": run.role,
                "inTotals": run.in_totals,
                "hasTruth": run.has_truth,
                "points": pick_arrays(run, data.objects, scorer),
                **tomogram,
            }
            for run, tomogram in zip(data.runs, tomograms, strict=True)
        ],
        "scores": None if scores is None else scores.to_dict() | {"curves": None, "runs": None},
        "training": None if data.history is None else data.history.to_dict(),
    }


def describe_annotation(data: ReportData) -> list[str]:
    """Say which part of the particles seems annotated, and what to do where it should be all.

    Nothing is said where no target tells what was said to be complete.
    """
    info = None if data.history is None else data.history.checkpoint_info
    if info is None or data.partial is None:
        return []
    shares = data.annotated_share
    truth = {run.name: run.truth for run in data.runs if run.in_totals}
    advice = advise_partial(
        shares,
        count_annotated(truth, shares.keys()),
        partial=data.partial,
        object_names=info.labels.keys(),
        write_override=shell_override,
    )
    sentences = describe_shares(shares, data.partial & data.objects.radii.keys())
    return sentences if advice is None else [*sentences, advice]


def open_commands(project: Project, history: TrainingHistory | None) -> dict[str, str]:
    """Write the commands that open the project in viewers, and the overrides that name it."""
    first = shlex.quote(str(project.config_paths[0]))
    configs = [str(path) for path in project.config_paths]
    checkpoint = None if history is None else history.folder / BEST_MODEL_FILE
    return {
        "chimerax": f"copick start {first}",
        "napari": f"napari-copick run --config {first}",
        "project": shell_override("project.config", configs if len(configs) > 1 else configs[0]),
        "checkpoint": (
            shell_override("checkpoint", str(checkpoint))
            if checkpoint is not None and checkpoint.is_file()
            else ""
        ),
    }


def provenance_rows(
    data: ReportData, project: Project, scorer: Scorer, overrides: Sequence[str]
) -> list[tuple[str, str]]:
    """Describe where the page comes from, without passwords.

    Args:
        data: the runs and objects to show.
        project: that they are from.
        scorer: that the page was scored with.
        overrides: of the command that writes the page.

    Returns:
        Pairs of a name and a text.
    """
    now = datetime.datetime.now().astimezone()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    rule = "one pick, one particle"
    if type(scorer).__name__ == "Czii":
        rule = "that of the CZII challenge"
    rows = [
        ("written", f"{now:%Y-%m-%d %H:%M %Z}, octopi report {shlex.join(overrides)}"),
        ("project", ", ".join(map(str, project.config_paths))),
        ("runs", f"{len(data.runs)} shown of {len(project.runs)}"),
        ("truth", ", ".join(map(str, data.truth.values())) or "none"),
        ("rule", f"{rule}, within {scorer.tolerance_scale:g} radii; F{scorer.beta:g}"),
        ("software", f"{packages}; commit {git_commit() or 'unknown'}"),
    ]
    for path, digest in data.checkpoints.items():
        rows.append(("score maps by", f"{path} (sha256 {digest[:12]}…)"))
    if data.info.localizer:
        rows.append(("localizer", _format_node(data.info.localizer)))
    if data.history is not None:
        rows += _training_rows(data.history)
    return [(name, mask_passwords(text)) for name, text in rows]


def _training_rows(history: TrainingHistory) -> list[tuple[str, str]]:
    """Describe how the network was trained, in pairs of a name and a text."""
    rows = [("training", str(history.folder))]
    for key in ("model", "loss", "data"):
        if node := history.config.get(key):
            rows.append((key, _format_node(node)))
    info = history.checkpoint_info
    if info is not None:
        spacing = info.working_spacing or info.voxel_spacing
        rows.append(("trained on", f"{', '.join(info.tomo_types)} at {spacing:g} Å"))
        folds = info.provenance.get("folds")
        provenance = folds[0] if folds else info.provenance
        for key in ("commit", "seed", "data_fingerprint"):
            rows.append((f"training: {key.replace('_', ' ')}", str(provenance.get(key))))
    return rows


def _format_node(node: Any) -> str:
    """Format a node of a config as its class and arguments, in one line."""
    if not isinstance(node, Mapping):
        return str(node)
    name = str(node.get("_target_", "")).rpartition(".")[2]
    arguments = ", ".join(f"{key} {value}" for key, value in node.items() if key != "_target_")
    return f"{name} ({arguments})" if name else arguments
