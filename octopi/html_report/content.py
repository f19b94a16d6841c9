"""The content of the report page: findings, pictures, command lines and provenance."""

import datetime
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from octopi.config.settings import ReportSettings
from octopi.evaluation.picks_figure import draw_picks
from octopi.evaluation.scores import Scorer
from octopi.geometry import Grid, Points
from octopi.html_report.collect import ReportData, tomogram_to_show
from octopi.html_report.runs import ShownRun, marks_size, pick_arrays, report_of, run_pictures
from octopi.html_report.training_history import TrainingHistory
from octopi.project import Project
from octopi.system.job_folder import BEST_MODEL_FILE
from octopi.system.passwords import mask_passwords
from octopi.system.versions import git_commit, versions

PAGE_BYTES = 150_000  # of the page without pictures and picks
MAX_BYTES_PER_RUN = 2_600_000  # even where the page has room for more


def render_runs(
    path: Path, gathered: ReportData, project: Project, settings: ReportSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Describe each run's tomogram and render its pictures, with one run in memory at a time.

    Args:
        path: of the page; a PNG of the run with the most particles is written beside it.
        gathered: the runs and objects to show.
        project: that the tomograms are read from.
        settings: which tomograms to show, and how large the page may be.

    Returns:
        A description of the tomogram and a block of pictures for each run.
    """
    shown = gathered.runs
    max_bytes = _bytes_per_run(gathered, settings)
    fullest = max(shown, key=lambda run: sum(map(len, (run.truth or run.candidates).values())))
    descriptions, blocks = [], []
    for run in shown:
        project_run = project.select([run.name])[0]
        query = tomogram_to_show(project_run, settings)
        if query is None:
            descriptions.append({"tomogram": None})
            blocks.append({"volume": None, "scores": None, "crops": []})
            continue
        volume, grid = project_run.read_tomogram(query), project_run.tomogram_grid(query)
        block, mosaic = run_pictures(
            run, gathered.objects, volume, grid, max_bytes=max_bytes, num_runs=len(shown)
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
        if run is fullest:
            _draw_run(path.with_name(f"{path.stem}_picks.png"), run, gathered, volume, grid)
    return descriptions, blocks


def _bytes_per_run(gathered: ReportData, settings: ReportSettings) -> float:
    """Share the bytes that charts and picks leave of the page among the runs' pictures."""
    charts = gathered.journey.pictures if gathered.journey else []
    used = sum(len(chart["picture"]) for chart in charts) + sum(map(marks_size, gathered.runs))
    available = settings.max_megabytes * 1e6 - PAGE_BYTES - used
    return min(MAX_BYTES_PER_RUN, available / len(gathered.runs))


def _draw_run(path: Path, run: ShownRun, gathered: ReportData, volume: NDArray, grid: Grid) -> None:
    """Draw the run's picks at the chosen thresholds on a slice of its tomogram."""
    objects = gathered.objects
    draw_picks(
        path,
        volume,
        grid,
        picks={
            name: run.ranked(name).above(objects.initial_thresholds[name]) for name in objects.radii
        },
        truth={name: run.truth.get(name, Points.empty()) for name in objects.radii},
        radii=objects.radii,
        colors={name: objects.known[name].color for name in objects.radii},
    )


def page_content(
    gathered: ReportData, scorer: Scorer, tomograms: list[dict[str, Any]]
) -> dict[str, Any]:
    """Assemble objects, runs and scores as the page's script reads them.

    Args:
        gathered: the runs and objects to show.
        scorer: matches picks to particles.
        tomograms: the description of each run's tomogram, from render_runs.
    """
    scores = report_of(gathered.runs, gathered.objects, scorer)
    journey = gathered.journey
    return {
        "beta": scorer.beta,
        "toleranceScale": scorer.tolerance_scale,
        "objects": gathered.objects.to_list(scorer.tolerance_scale),
        "runs": [
            {
                "name": run.name,
                "part": run.part,
                "counted": run.in_totals,
                "judged": run.has_truth,
                "marks": pick_arrays(run, gathered.objects, scorer),
                **tomogram,
            }
            for run, tomogram in zip(gathered.runs, tomograms, strict=True)
        ],
        "report": None if scores is None else scores.to_dict() | {"curves": None, "runs": None},
        "journey": None if journey is None else journey.to_dict(),
    }


def open_commands(project: Project, journey: TrainingHistory | None) -> dict[str, str]:
    """Write the shell words that open the project in viewers and name it to octopi."""
    first = shlex.quote(str(project.config_paths[0]))
    config = ",".join(map(str, project.config_paths))
    config = f"[{config}]" if len(project.config_paths) > 1 else config
    out = {
        "chimerax": f"copick start {first}",
        "napari": f"napari-copick run --config {first}",
        "project": shlex.quote(f"project.config={config}"),
        "checkpoint": "",
    }
    if journey is not None and (journey.folder / BEST_MODEL_FILE).is_file():
        out["checkpoint"] = shlex.quote(f"checkpoint={journey.folder / BEST_MODEL_FILE}")
    return out


def provenance_rows(
    gathered: ReportData, project: Project, scorer: Scorer, arguments: Sequence[str]
) -> list[tuple[str, str]]:
    """Describe where the page comes from, without passwords.

    Args:
        gathered: the runs and objects to show.
        project: that they are from.
        scorer: that the page was scored with.
        arguments: of the command line that writes the page.

    Returns:
        Pairs of a name and a text.
    """
    now = datetime.datetime.now().astimezone()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    rule = "one pick, one particle"
    if type(scorer).__name__ == "Czii":
        rule = "that of the CZII challenge"
    rows = [
        ("written", f"{now:%Y-%m-%d %H:%M %Z}, octopi report {' '.join(arguments)}"),
        ("project", ", ".join(map(str, project.config_paths))),
        ("runs", f"{len(gathered.runs)} shown of {len(project.runs)}"),
        ("truth", ", ".join(map(str, gathered.truth.values())) or "none"),
        ("rule", f"{rule}, within {scorer.tolerance_scale:g} radii; F{scorer.beta:g}"),
        ("software", f"{packages}; commit {git_commit() or 'unknown'}"),
    ]
    for path, digest in gathered.checkpoints.items():
        rows.append(("score maps by", f"{path} (sha256 {digest[:12]}…)"))
    if gathered.info.localizer:
        rows.append(("localizer", _format_node(gathered.info.localizer)))
    if gathered.journey is not None:
        rows += _training_rows(gathered.journey)
    return [(name, mask_passwords(text)) for name, text in rows]


def _training_rows(journey: TrainingHistory) -> list[tuple[str, str]]:
    """Describe how the network was trained, in pairs of a name and a text."""
    rows = [
        ("training", str(journey.folder)),
    ]
    config, recipe = journey.config, journey.recipe
    for key in ("model", "loss", "data"):
        if config.get(key):
            rows.append((key, _format_node(config[key])))
    if recipe:
        spacing = recipe["working_spacing"] or recipe["voxel_spacing"]
        rows.append(("trained on", f"{', '.join(recipe['tomo_types'])} at {spacing:g} Å"))
        stored = recipe["provenance"]
        first = stored["folds"][0] if "folds" in stored else stored
        for key in ("commit", "seed", "data_fingerprint"):
            rows.append((f"training: {key.replace('_', ' ')}", str(first.get(key))))
    return rows


def _format_node(node: Mapping[str, Any]) -> str:
    """Format a node of a config as its class and arguments, in one line."""
    name = str(node.get("_target_", "")).rpartition(".")[2]
    arguments = ", ".join(f"{key} {value}" for key, value in node.items() if key != "_target_")
    return f"{name} ({arguments})" if name else arguments
