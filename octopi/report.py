"""Write one HTML file to look at: picks on tomograms, their scores, and how they came about.

Run it as `octopi report FOLDER_OF_A_TRAINING`, `octopi report PROJECT.json` or
`python -m octopi.report folder=…`. The file needs no server and no network; PNGs for logs are
beside it.
"""

import datetime
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octopi import provenance
from octopi.config import SECTIONS, build, check_node
from octopi.errors import DataError
from octopi.evaluation.scores import Scorer
from octopi.geometry import Points
from octopi.job import Job, command, tell
from octopi.page.gather import Gathered, gather, tomogram_to_show
from octopi.page.journey import Journey, read_journey
from octopi.page.page import page_of
from octopi.page.runs import ShownRun, marks_of, marks_size, pictures_of, report_of
from octopi.page.stills import draw_thresholds
from octopi.pictures import draw_picks
from octopi.project import Project
from octopi.settings import ReportSettings

logger = logging.getLogger(__name__)

FIXED = 150_000  # bytes of the page besides pictures and picks
MOST = 2_600_000  # bytes for one run, however many there is room for


def report(settings: ReportSettings, job: Job) -> Path:
    """The page and two PNGs are there; the log names them."""
    scorer: Scorer = build(settings.scorer, "scorer")
    journey = None if settings.folder is None else read_journey(Path(settings.folder).absolute())
    project = open_project(settings, journey, job)
    gathered = gather(project, journey, settings)
    if not gathered.runs:
        raise DataError(
            f"{project} has neither score maps {settings.input} nor picks of "
            f"{settings.user_id}/{settings.session_id}, and no run was held out in training. "
            "Run octopi segment and localize first, or name others with input=… user_id=…"
        )
    path = output_of(settings, project)
    if settings.dry_run:
        tell("report", rehearsal(path, gathered, settings))
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    runs, blocks = pictures(path, gathered, project, settings)
    content = {
        "title": project.config_paths[0].stem,
        "subtitle": subtitle(gathered, settings),
        **findings(gathered, scorer, runs),
        "lines": lines(project, gathered.journey),
        "provenance": origin(gathered, project, scorer, settings, job),
    }
    title = f"{project.config_paths[0].stem} · octopi report"
    path.write_text(page_of(content, blocks, title=title), encoding="utf-8")
    draw_thresholds(path.with_suffix(".png"), gathered.runs, gathered.objects, scorer)
    if journey is not None:
        files = [path, path.with_suffix(".png"), path.with_name(f"{path.stem}_picks.png")]
        written = [file for file in files if file.is_file()]
        provenance.add_artifacts(journey.folder, journey.config.get("logger"), written)
    logger.info("%d runs, %.1f MB: %s", len(runs), path.stat().st_size / 1e6, path)
    return path


def rehearsal(path: Path, gathered: Gathered, settings: ReportSettings) -> list[str]:
    """What a dry run tells."""
    lines = [f"would show  {subtitle(gathered, settings)}"]
    for run in gathered.runs:
        counts = ", ".join(f"{name} {len(points)}" for name, points in run.candidates.items())
        lines.append(f"run         {run.name}: candidates of {counts}")
    state = "is replaced" if path.exists() else "is new"
    return [*lines, f"written     {path}, which {state}, and PNGs beside it"]


def subtitle(gathered: Gathered, settings: ReportSettings) -> str:
    """What the page is about, in a line."""
    parts: dict[str, int] = {}
    for run in gathered.runs:
        part = run.part.partition(" (")[0]
        parts[part] = parts.get(part, 0) + 1
    told = ", ".join(f"{number} {part}" for part, number in parts.items())
    start = f"Training {Path(settings.folder).absolute().name}. " if settings.folder else ""
    day = datetime.datetime.now().astimezone()
    return f"{start}Runs: {told}. {day:%Y-%m-%d}."


def open_project(settings: ReportSettings, journey: Journey | None, job: Job) -> Project:
    """The project named on the command line, else that of the training."""
    named = any(word.split("=")[0].split(".")[0] == "project" for word in job.words)
    if journey is None or named:
        return build(settings.project, "project")
    node = journey.config["project"]
    check_node(node, SECTIONS["project"], "project")
    return build(node, "project")


def output_of(settings: ReportSettings, project: Project) -> Path:
    """Where the page goes."""
    if settings.output is not None:
        return Path(settings.output).absolute()
    if settings.folder is not None:
        return Path(settings.folder).absolute() / "report.html"
    return Path("outputs/report").absolute() / f"{project.config_paths[0].stem}.html"


def pictures(
    path: Path, gathered: Gathered, project: Project, settings: ReportSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is told of each run's tomogram, and its pictures; one run is in memory at a time."""
    shown = gathered.runs
    charts = gathered.journey.pictures if gathered.journey else []
    spent = FIXED + sum(len(chart["picture"]) for chart in charts) + sum(map(marks_size, shown))
    each = min(MOST, (settings.megabytes * 1e6 - spent) / len(shown))
    fullest = max(shown, key=lambda run: sum(map(len, (run.truth or run.candidates).values())))
    told, blocks = [], []
    for run in shown:
        held = project.select([run.name])[0]
        query = tomogram_to_show(held, settings)
        if query is None:
            told.append({"tomogram": None})
            blocks.append({"volume": None, "scores": None, "crops": []})
            continue
        volume, grid = held.read_tomogram(query), held.tomogram_grid(query)
        block, mosaic = pictures_of(
            run, gathered.objects, volume, grid, max_bytes=each, num_runs=len(shown)
        )
        blocks.append(block)
        told.append(
            {
                "tomogram": str(query),
                "shape": grid.shape,
                "spacing": grid.spacing,
                "binned": round(mosaic.spacing[0] / grid.spacing[0]),
                "quality": mosaic.quality,
            }
        )
        if run is fullest:
            draw(path.with_name(f"{path.stem}_picks.png"), run, gathered, volume, grid)
    return told, blocks


def draw(path: Path, run: ShownRun, gathered: Gathered, volume: Any, grid: Any) -> None:
    """The PNG shows the run's picks on a slice."""
    objects = gathered.objects
    draw_picks(
        path,
        volume,
        grid,
        picks={name: run.ranked(name).above(objects.chosen[name]) for name in objects.radii},
        truth={name: run.truth.get(name, Points.empty()) for name in objects.radii},
        radii=objects.radii,
        colors={name: objects.known[name].color for name in objects.radii},
    )


def findings(gathered: Gathered, scorer: Scorer, told: list[dict[str, Any]]) -> dict[str, Any]:
    """Objects, runs and scores, as the page reads them."""
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
                "counted": run.counted,
                "judged": run.judged,
                "marks": marks_of(run, gathered.objects, scorer),
                **facts,
            }
            for run, facts in zip(gathered.runs, told, strict=True)
        ],
        "report": None if scores is None else scores.to_dict() | {"curves": None, "runs": None},
        "journey": None if journey is None else journey.to_dict(),
    }


def lines(project: Project, journey: Journey | None) -> dict[str, str]:
    """Command lines that open the project elsewhere, ready to be pasted."""
    first = shlex.quote(str(project.config_paths[0]))
    config = ",".join(map(str, project.config_paths))
    config = f"[{config}]" if len(project.config_paths) > 1 else config
    out = {
        "chimerax": f"copick start {first}",
        "napari": f"napari-copick run --config {first}",
        "project": shlex.quote(f"project.config={config}"),
        "checkpoint": "",
    }
    if journey is not None and (journey.folder / "best_model.pth").is_file():
        out["checkpoint"] = shlex.quote(f"checkpoint={journey.folder / 'best_model.pth'}")
    return out


def origin(
    gathered: Gathered, project: Project, scorer: Scorer, settings: ReportSettings, job: Job
) -> list[tuple[str, str]]:
    """What was done with what, in lines of a name and a text."""
    now = datetime.datetime.now().astimezone()
    packages = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    rule = "one pick, one particle"
    if type(scorer).__name__ == "Czii":
        rule = "that of the CZII challenge"
    told = [
        ("written", f"{now:%Y-%m-%d %H:%M %Z}, octopi report {' '.join(job.words)}"),
        ("project", ", ".join(map(str, project.config_paths))),
        ("runs", f"{len(gathered.runs)} shown of {len(project.runs)}"),
        ("truth", ", ".join(map(str, gathered.truth.values())) or "none"),
        ("rule", f"{rule}, within {scorer.tolerance_scale:g} radii; F{scorer.beta:g}"),
        ("software", f"{packages}; commit {provenance.git_commit() or 'unknown'}"),
    ]
    checkpoints: Mapping[str, str] = gathered.facts.get("checkpoints", {})
    for place, digest in checkpoints.items():
        told.append(("score maps by", f"{place} (sha256 {digest[:12]}…)"))
    if localizer := gathered.facts.get("localizer"):
        told.append(("localizer", _words(localizer)))
    if gathered.journey is not None:
        told += history(gathered.journey)
    return [(name, provenance.without_passwords(text)) for name, text in told]


def history(journey: Journey) -> list[tuple[str, str]]:
    """How the network was trained."""
    told = [("training", str(journey.folder))]
    config, recipe = journey.config, journey.recipe
    told += [(key, _words(config[key])) for key in ("model", "loss", "data") if config.get(key)]
    if recipe:
        spacing = recipe["working_spacing"] or recipe["voxel_spacing"]
        told.append(("trained on", f"{', '.join(recipe['tomo_types'])} at {spacing:g} Å"))
        stored = recipe["provenance"]
        first = stored["folds"][0] if "folds" in stored else stored
        for key in ("commit", "seed", "data_fingerprint"):
            told.append((f"training: {key.replace('_', ' ')}", str(first.get(key))))
    return told


def _words(node: Mapping[str, Any]) -> str:
    """A node of a config in a line."""
    name = str(node.get("_target_", "")).rpartition(".")[2]
    held = ", ".join(f"{key} {value}" for key, value in node.items() if key != "_target_")
    return f"{name} ({held})" if name else held


main = command("report", report)

if __name__ == "__main__":
    main()
