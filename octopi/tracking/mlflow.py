"""What a job writes down so that it can be understood, and repeated, later."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from octopi.errors import is_interruption
from octopi.system.files import absolute_sqlite_url, sqlite_path, to_builtin_types
from octopi.system.passwords import mask_passwords

ARTIFACTS = {".pth", ".yaml", ".json", ".png", ".log", ".html"}
TEXTS = {".yaml", ".json", ".log", ".txt", ".html"}
RUN_ID = "mlflow_run_id"  # the file in a job's folder that names its run
PARENT = "mlflow.parentRunId"
# MLflow asks an absent server for four minutes unless told otherwise.
SHORT_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}

logger = logging.getLogger(__name__)


def resolve_local_paths(node: Mapping[str, Any]) -> dict[str, Any]:
    """A tracker's config whose local paths stay the same wherever the job is run from."""
    out = dict(node)
    for key in ("tracking_uri", "artifact_location"):
        value = out.get(key)
        if isinstance(value, str):
            is_path = "://" not in value
            out[key] = Path(value).absolute().as_uri() if is_path else absolute_sqlite_url(value)
    return out


@contextlib.contextmanager
def lock_tracking_store(node: Mapping[str, Any]) -> Iterator[None]:
    """Nobody else on this machine makes the same local tracking store meanwhile.

    A fresh SQLite store takes MLflow ten seconds of migrations, which two jobs must not share.
    """
    path = sqlite_path(str(node.get("tracking_uri", "")))
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def tracked_run(tracker: Any, folder: Path, settings: Any) -> Iterator[dict[str, str]]:
    """The tracker knows the settings at the start, and at the end what became of the job.

    Yields the tags that the run ends with, such as `state`.

    Args:
        tracker: a Lightning logger, or None.
        folder: the job's folder, whose files are its artifacts.
        settings: the command's dataclass.
    """
    tags: dict[str, str] = {}
    if tracker is not None:
        tracker.log_hyperparams(mask_passwords(to_builtin_types(settings)))
    status = "FAILED"
    try:
        yield tags
        status = "FINISHED"
    except BaseException as error:
        if is_interruption(error):
            status = "KILLED"
        raise
    finally:
        if tracker is not None:
            tracker.end(status, tags, list_artifacts(folder))


def start_sweep_run(
    node: Mapping[str, Any] | None,
    name: str,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    run_id: str | None = None,
) -> str | None:
    """The id of the MLflow run that trials or folds belong to; None without MLflow.

    The store and the experiment exist before any of them starts. A server that does not answer
    is warned of, and leaves the job without a parent run.

    Args:
        node: the settled `logger`.
        name: of the run.
        params: what the sweep was asked; a run that goes on keeps what it was first told.
        tags: to find it by.
        run_id: of a run to go on with.
    """
    if not node or not is_mlflow(node):
        return None
    node = resolve_local_paths(node)
    try:
        with lock_tracking_store(node):
            client = mlflow_client(node)
            known = {}
            if run_id is None:
                run = client.create_run(
                    _experiment(client, node), tags=_as_tags(tags), run_name=name
                )
                run_id = run.info.run_id
            else:
                known = client.get_run(run_id).data.params
                client.update_run(run_id, status="RUNNING")
        for key, value in mask_passwords(to_builtin_types(params)).items():
            if key not in known:
                client.log_param(run_id, key, str(value)[:6000])
    except Exception as error:  # noqa: BLE001  whatever it is, the search matters more
        logger.warning("%s", tracker_unreachable_message(node, error))
    return run_id


def end_sweep_run(
    node: Mapping[str, Any] | None,
    run_id: str | None,
    *,
    status: str,
    metrics: Mapping[str, float | None],
    artifacts: Sequence[Path],
) -> None:
    """The parent run has ended as it did: FINISHED, FAILED or KILLED.

    Args:
        node: the settled `logger`.
        run_id: as `start_parent` gave it.
        status: of the run.
        metrics: what came of it; None = n/a.
        artifacts: files to keep with it; those that do not exist are left out.
    """
    if not node or not is_mlflow(node) or run_id is None:
        return
    node = resolve_local_paths(node)
    try:
        client = mlflow_client(node)
        for key, value in metrics.items():
            if value is not None:
                client.log_metric(run_id, key, value)
        end_run(client, run_id, status=status, artifacts=artifacts)
    except Exception as error:  # noqa: BLE001  the files are in the sweep's folder
        logger.warning("%s", tracker_unreachable_message(node, error))


def child_run_settings(
    node: Mapping[str, Any] | None, parent_run: str | None, *, name: str, tags: Mapping[str, Any]
) -> dict[str, Any]:
    """The `logger` of one trial or fold; none, or one other than MLflow's, stays as it is."""
    if not node or not is_mlflow(node):
        return dict(node or {})
    parent_tag = {} if parent_run is None else {PARENT: parent_run}
    return {
        **node,
        "run_name": name,
        "tags": {**(node.get("tags") or {}), **parent_tag, **_as_tags(tags)},
    }


def close_child_run(
    node: Mapping[str, Any] | None, folder: Path, *, status: str, tags: Mapping[str, Any]
) -> None:
    """The run of a job that could not say so itself has ended, such as one killed at once.

    Args:
        node: the settled `logger`.
        folder: the job's.
        status: KILLED or FAILED.
        tags: such as the reason.
    """
    path = folder / RUN_ID
    if not node or not is_mlflow(node) or not path.exists():
        return
    node = resolve_local_paths(node)
    try:
        client, run_id = mlflow_client(node), path.read_text(encoding="utf-8").strip()
        if client.get_run(run_id).info.status == "RUNNING":
            end_run(client, run_id, status=status, tags=tags)
    except Exception as error:  # noqa: BLE001  the reason is in the study too
        logger.warning("%s", tracker_unreachable_message(node, error))


def add_artifacts(folder: Path, node: Mapping[str, Any] | None, paths: Iterable[Path]) -> None:
    """The files are artifacts of the training's run too, where MLflow tracked it.

    Args:
        folder: of the training.
        node: its settled `logger`.
        paths: the files.
    """
    path = folder / RUN_ID
    if not node or not is_mlflow(node) or not path.exists():
        return
    node = resolve_local_paths(node)
    try:
        client, run_id = mlflow_client(node), path.read_text(encoding="utf-8").strip()
        for artifact in paths:
            client.log_artifact(run_id, str(artifact))
    except Exception as error:  # noqa: BLE001  the files are there all the same
        logger.warning("%s", tracker_unreachable_message(node, error))


def is_mlflow(node: Mapping[str, Any]) -> bool:
    """Whether the `logger` is Lightning's for MLflow."""
    return str(node["_target_"]).endswith("MLFlowLogger")


def mlflow_client(node: Mapping[str, Any]) -> Any:
    """MLflow's client of the logger's store; it does not wait long for a server."""
    shorten_mlflow_timeouts()
    from mlflow import MlflowClient  # noqa: PLC0415  seconds

    return MlflowClient(node["tracking_uri"])


def shorten_mlflow_timeouts() -> None:
    """A server that does not answer is given up in seconds, unless the user's environment knows."""
    for name, value in SHORT_TIMEOUTS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries, line by line


def tracker_unreachable_message(node: Mapping[str, Any], error: Exception) -> str:
    """What a person is told when the tracker cannot be reached."""
    why = mask_passwords(str(error) or type(error).__name__).splitlines()[0]
    return (
        f"The tracker {mask_passwords(str(node.get('tracking_uri', node['_target_'])))} does "
        f"not take what it is told: {why[:300]}\nThe work goes on; its folder holds all results."
    )


def list_artifacts(folder: Path) -> list[Path]:
    """The files of a job that go with its run."""
    return [path for path in sorted(folder.iterdir()) if path.suffix in ARTIFACTS]


def end_run(
    client: Any,
    run_id: str,
    *,
    status: str,
    tags: Mapping[str, Any] | None = None,
    artifacts: Iterable[Path] = (),
) -> None:
    """The run has its tags and files, without passwords, and its status."""
    for key, value in _as_tags(tags or {}).items():
        client.set_tag(run_id, key, value)
    for path in artifacts:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8") if path.suffix in TEXTS else ""
        if mask_passwords(text) != text:
            client.log_text(run_id, mask_passwords(text), path.name)
        else:
            client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, status)


def _experiment(client: Any, node: Mapping[str, Any]) -> str:
    experiment = client.get_experiment_by_name(node["experiment_name"])
    if experiment is not None:
        return experiment.experiment_id
    return client.create_experiment(node["experiment_name"], node.get("artifact_location"))


def _as_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): mask_passwords(str(value)) for key, value in tags.items()}
