"""Write an HTML report: picks on tomograms, their scores, and where they come from.

Run it as `octopi report FOLDER_OF_A_TRAINING`, `octopi report PROJECT.json` or
`python -m octopi.report folder=…`. The file needs no server and no network.
"""

import collections
import datetime
import logging
from collections.abc import Mapping
from pathlib import Path

from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.overrides import override_key
from octopi.config.settings import ReportSettings
from octopi.errors import DataError, shorten
from octopi.evaluation.scores import Scorer
from octopi.html_report.collect import ReportData, collect_report
from octopi.html_report.content import open_commands, page_content, provenance_rows, render_runs
from octopi.html_report.html import choose_page_path, render_page
from octopi.html_report.training_history import TrainingHistory, read_training_history
from octopi.phantom.store import CONFIG_NAME
from octopi.project import Project, open_project
from octopi.system.files import write_text
from octopi.system.job_folder import CONFIG_FILE, Job
from octopi.system.passwords import TRACKING_VARIABLE, mask_passwords
from octopi.tracking import mlflow

logger = logging.getLogger(__name__)

TITLE_END = " · octopi report"  # of every page, by which the next one knows it


def report(settings: ReportSettings, job: Job) -> Path:
    """Write the HTML report; return the path of the page."""
    scorer: Scorer = build(settings.scorer, "scorer")
    folder = None if settings.folder is None else Path(settings.folder).absolute()
    history = None if folder is None else read_training_history(folder)
    project = choose_project(settings, history, job)
    data = collect_report(project, history, settings)
    if not data.runs:
        raise DataError(
            f"{project} has neither score maps {settings.input} nor picks of "
            f"{settings.user_id}/{settings.session_id}, and no run was held out in training. "
            "Run octopi segment and localize first, or name others with input=… user_id=…"
        )
    default = Path("outputs/report") / f"{project.config_paths[0].stem}.html"
    path = choose_page_path(
        settings.output,
        default if folder is None else folder / "report.html",
        may_replace=is_report,
        other="no report of octopi",
    )
    if settings.dry_run:
        log_dry_run("report", describe_report(path, data, settings))
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    tomograms, blocks = render_runs(data, project, settings)
    content = {
        "title": project.config_paths[0].stem,
        "subtitle": summarize_runs(data, settings),
        **page_content(data, scorer, tomograms),
        "commands": open_commands(project, data.history),
        "provenance": provenance_rows(data, project, scorer, job.overrides),
    }
    title = f"{shorten(project.config_paths[0].stem)}{TITLE_END}"
    by_id = {f"run-{number}": block for number, block in enumerate(blocks)}
    write_text(path, render_page(content, by_id, title=title))
    if history is not None:
        add_to_tracker(path, history)
    logger.info("%d runs, %.1f MB: %s", len(data.runs), path.stat().st_size / 1e6, path)
    return path


def choose_project(settings: ReportSettings, history: TrainingHistory | None, job: Job) -> Project:
    """Open the project named on the command line, else that of the training.

    The config of a training is data: only a path is taken from it, nothing is built or imported,
    and a synthetic project that no longer exists is not made again.

    Raises:
        DataError: the training's config names no project.
    """
    keys = [override_key(override) for override in job.overrides]
    if history is None or any(key.split(".")[0] == "project" for key in keys):
        return build(settings.project, "project")
    node = history.config.get("project")
    config = node.get("config") if isinstance(node, Mapping) else None
    if isinstance(config, Mapping) and isinstance(config.get("directory"), str):
        config = str(Path(config["directory"]) / CONFIG_NAME)
    configs = config if isinstance(config, list) else [config]
    paths = [path for path in configs if isinstance(path, str)]
    if not paths or len(paths) < len(configs):
        raise DataError(
            f"{CONFIG_FILE} in {history.folder} names no project. Name it with project.config=…"
        )
    return open_project(paths)


def is_report(path: Path) -> bool:
    """Return whether a file is a report of octopi."""
    with path.open("rb") as file:
        return f"{TITLE_END}</title>".encode() in file.read(4096)


def describe_report(path: Path, data: ReportData, settings: ReportSettings) -> list[str]:
    """Describe what would be written, for a dry run."""
    lines = [f"would show  {summarize_runs(data, settings)}"]
    for run in data.runs:
        counts = ", ".join(f"{name} {len(points)}" for name, points in run.candidates.items())
        lines.append(f"run         {run.name}: candidates of {counts}")
    state = "is replaced" if path.exists() else "is new"
    return [*lines, f"written     {path}, which {state}"]


def summarize_runs(data: ReportData, settings: ReportSettings) -> str:
    """Count the runs by their role in the training, and date the page, in one line."""
    roles = collections.Counter(run.role.partition(" (")[0] for run in data.runs)
    counts = ", ".join(f"{number} {role}" for role, number in roles.items())
    start = f"Training {Path(settings.folder).absolute().name}. " if settings.folder else ""
    day = datetime.datetime.now().astimezone()
    return f"{start}Runs: {counts}. {day:%Y-%m-%d}."


def add_to_tracker(path: Path, history: TrainingHistory) -> None:
    """Add the page to the training's MLflow run, where MLflow tracked it."""
    node = history.config.get("logger")
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        return
    address = mlflow.own_address(node)
    if mlflow.is_mlflow(node) and address is None:
        logger.info(
            "The page is not added to MLflow at %s, which only the training's config names. To add "
            "it there, set %s to this address.",
            shorten(mask_passwords(node.get("tracking_uri"))),
            TRACKING_VARIABLE,
        )
        return
    node = {**node, "tracking_uri": address}
    mlflow.add_artifacts(history.folder, node, [path])


main = Command("report", report)

if __name__ == "__main__":
    main()
