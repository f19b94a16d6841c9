"""Write one HTML page: picks on tomograms, their scores, and where they come from.

Run it as `octopi report FOLDER_OF_A_TRAINING`, `octopi report PROJECT.json` or
`python -m octopi.report folder=…`. The file needs no server and no network; PNGs for logs are
beside it.
"""

import datetime
import logging
from pathlib import Path

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import ReportSettings
from octopi.errors import DataError
from octopi.evaluation.scores import Scorer
from octopi.html_report.collect import ReportData, gather
from octopi.html_report.content import open_commands, page_content, provenance_rows, render_runs
from octopi.html_report.html import render_page
from octopi.html_report.threshold_figure import draw_thresholds
from octopi.html_report.training_history import TrainingHistory, read_training_history
from octopi.project import Project
from octopi.system.job_folder import Job
from octopi.tracking import mlflow

logger = logging.getLogger(__name__)


def report(settings: ReportSettings, job: Job) -> Path:
    """Write the page and two PNGs beside it; return the path of the page."""
    scorer: Scorer = build(settings.scorer, "scorer")
    journey = (
        None if settings.folder is None else read_training_history(Path(settings.folder).absolute())
    )
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
        log_dry_run("report", rehearsal(path, gathered, settings))
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    tomograms, blocks = render_runs(path, gathered, project, settings)
    content = {
        "title": project.config_paths[0].stem,
        "subtitle": subtitle(gathered, settings),
        **page_content(gathered, scorer, tomograms),
        "lines": open_commands(project, gathered.journey),
        "provenance": provenance_rows(gathered, project, scorer, job.overrides),
    }
    title = f"{project.config_paths[0].stem} · octopi report"
    path.write_text(render_page(content, blocks, title=title), encoding="utf-8")
    draw_thresholds(path.with_suffix(".png"), gathered.runs, gathered.objects, scorer)
    if journey is not None:
        files = [path, path.with_suffix(".png"), path.with_name(f"{path.stem}_picks.png")]
        written = [file for file in files if file.is_file()]
        mlflow.add_artifacts(journey.folder, journey.config.get("logger"), written)
    logger.info("%d runs, %.1f MB: %s", len(gathered.runs), path.stat().st_size / 1e6, path)
    return path


def rehearsal(path: Path, gathered: ReportData, settings: ReportSettings) -> list[str]:
    """Describe what would be written, for a dry run."""
    lines = [f"would show  {subtitle(gathered, settings)}"]
    for run in gathered.runs:
        counts = ", ".join(f"{name} {len(points)}" for name, points in run.candidates.items())
        lines.append(f"run         {run.name}: candidates of {counts}")
    state = "is replaced" if path.exists() else "is new"
    return [*lines, f"written     {path}, which {state}, and PNGs beside it"]


def subtitle(gathered: ReportData, settings: ReportSettings) -> str:
    """Summarize the runs by their part in the training, and date the page, in one line."""
    parts: dict[str, int] = {}
    for run in gathered.runs:
        part = run.part.partition(" (")[0]
        parts[part] = parts.get(part, 0) + 1
    counts = ", ".join(f"{number} {part}" for part, number in parts.items())
    start = f"Training {Path(settings.folder).absolute().name}. " if settings.folder else ""
    day = datetime.datetime.now().astimezone()
    return f"{start}Runs: {counts}. {day:%Y-%m-%d}."


def open_project(settings: ReportSettings, journey: TrainingHistory | None, job: Job) -> Project:
    """Open the project named on the command line, else that of the training."""
    named = any(argument.split("=")[0].split(".")[0] == "project" for argument in job.overrides)
    if journey is None or named:
        return build(settings.project, "project")
    node = journey.config["project"]
    return build(node, "project")


def output_of(settings: ReportSettings, project: Project) -> Path:
    """Choose the path of the page: output=…, else the training's folder, else outputs/report."""
    if settings.output is not None:
        return Path(settings.output).absolute()
    if settings.folder is not None:
        return Path(settings.folder).absolute() / "report.html"
    return Path("outputs/report").absolute() / f"{project.config_paths[0].stem}.html"


main = command("report", report)

if __name__ == "__main__":
    main()
