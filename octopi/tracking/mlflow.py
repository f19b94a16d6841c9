"""Record trainings and sweeps in MLflow, which may be unreachable at any time."""

import contextlib
import importlib.metadata
import logging
import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from octopi.config.files import CONF_DIR
from octopi.errors import (
    OctopiError,
    ResourceError,
    SettingError,
    is_interruption,
    shorten,
)
from octopi.system.databases import check_database_url, check_sqlite, find_other_schema
from octopi.system.files import absolute_sqlite_url, read_yaml, sqlite_path, to_builtin_types
from octopi.system.locks import wait_for_lock
from octopi.system.passwords import TRACKING_VARIABLE, mask_passwords

ARTIFACT_SUFFIXES = {".pth", ".yaml", ".json", ".png", ".log", ".html"}
TEXT_SUFFIXES = {".yaml", ".json", ".log", ".txt", ".html"}
RUN_ID_FILE = "mlflow_run_id"  # the file in a job's folder that names its run
PARENT_TAG = "mlflow.parentRunId"
MAX_PARAM_LENGTH = 6000  # characters that MLflow takes
# By default MLflow retries for four minutes when a server is absent.
SHORT_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
SERVER_ADDRESS = "The address of a server begins with http:// or https://."
REFUSED_STATUS = {401, 403}  # a wrong user or password, or one who may not write

logger = logging.getLogger(__name__)


def resolve_local_paths(node: Mapping[str, Any]) -> dict[str, Any]:
    """Make the local paths of a logger's config absolute."""
    resolved = dict(node)
    for key in ("tracking_uri", "artifact_location"):
        value = resolved.get(key)
        if isinstance(value, str):
            is_path = "://" not in value
            url = Path(value).absolute().as_uri() if is_path else absolute_sqlite_url(value)
            resolved[key] = url
    return resolved


def own_address(node: Mapping[str, Any]) -> str | None:
    """Return the address of a stored logger if it is the user's own, else None.

    The user's own are that of MLflow's variable, and the store in the working folder that
    `logger=mlflow` has by default. The file may have it without its password.
    """
    stored = resolve_local_paths(node).get("tracking_uri")
    own = resolve_local_paths({"tracking_uri": os.environ.get(TRACKING_VARIABLE)})["tracking_uri"]
    for address in (own, default_address("tracking_uri")):
        if address and stored in (mask_passwords(address), address):
            return address
    return None


def default_address(key: str) -> str:
    """Return the `tracking_uri` or the `artifact_location` that `logger=mlflow` has by default."""
    return resolve_local_paths(read_yaml(CONF_DIR / "logger" / "mlflow.yaml"))[key]


def lock_tracking_store(node: Mapping[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """Lock a local tracking store while it is created.

    A new SQLite store takes MLflow ten seconds of migrations, which two jobs must not share.
    """
    path = sqlite_path(str(node.get("tracking_uri", "")))
    if path is None:
        return contextlib.nullcontext()
    return wait_for_lock(path.with_name(f".{path.name}.lock"))


@contextlib.contextmanager
def ended_run(end: Callable[[str], None]) -> Iterator[None]:
    """Call `end` after the block, with the status that MLflow has for how it ended."""
    try:
        yield
    except BaseException as error:  # however the work ends, its run ends
        end("KILLED" if is_interruption(error) else "FAILED")
        raise
    end("FINISHED")


def start_sweep_run(
    node: Mapping[str, Any] | None,
    name: str,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    run_id: str | None = None,
) -> str | None:
    """Start or continue the MLflow run that trials or folds belong to; return its id.

    This creates the store and the experiment before any of them starts. Without MLflow, or where
    it cannot be reached, which is warned of, there is no parent run: None.

    Args:
        node: the settled `logger`.
        name: of the run.
        params: of the sweep; a run that is continued keeps those it has.
        tags: to find it by.
        run_id: of a run to continue.
    """
    if not is_mlflow(node):
        return None
    node = resolve_local_paths(node)
    if mask_passwords(node["tracking_uri"]) != node["tracking_uri"]:
        os.environ[TRACKING_VARIABLE] = node["tracking_uri"]  # for trainings that are resumed
    with unreachable_as_warning(node):
        known_params: Mapping[str, str] = {}
        with lock_tracking_store(node):
            client = mlflow_client(node)
            if run_id is None:
                experiment = _find_or_create_experiment(client, node)
                run = client.create_run(experiment, tags=_format_tags(tags), run_name=name)
                run_id = run.info.run_id
            else:
                known_params = client.get_run(run_id).data.params
                client.update_run(run_id, status="RUNNING")
        for key, value in mask_passwords(to_builtin_types(params)).items():
            if key not in known_params:
                client.log_param(run_id, storable_key(key), str(value)[:MAX_PARAM_LENGTH])
    return run_id


def end_sweep_run(
    node: Mapping[str, Any] | None,
    run_id: str | None,
    *,
    status: str,
    metrics: Mapping[str, float | None],
    artifacts: Sequence[Path],
) -> None:
    """End the run of a sweep.

    Args:
        node: the settled `logger`.
        run_id: from `start_sweep_run`.
        status: FINISHED, FAILED or KILLED.
        metrics: of the sweep; None = n/a.
        artifacts: files to store with the run; those that do not exist are skipped.
    """
    with _client_of_run(node, run_id) as client:
        if client is not None:
            for key, value in metrics.items():
                if value is not None:
                    client.log_metric(run_id, storable_key(key), value)
            end_run(client, run_id, status=status, artifacts=artifacts)


def child_run_settings(
    node: Mapping[str, Any], parent_run: str | None, *, name: str, tags: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of MLflow's logger that are those of one trial: name and tags."""
    parent_tag = {} if parent_run is None else {PARENT_TAG: parent_run}
    return {
        "run_name": name,
        "tags": {**(node.get("tags") or {}), **parent_tag, **_format_tags(tags)},
    }


def close_child_run(
    node: Mapping[str, Any] | None, folder: Path, *, status: str, tags: Mapping[str, Any]
) -> None:
    """End the MLflow run of a job that could not do so itself, such as one that was killed.

    Args:
        node: the settled `logger`.
        folder: of the job.
        status: KILLED or FAILED.
        tags: such as the reason.
    """
    run_id = read_run_id(folder)
    with _client_of_run(node, run_id) as client:
        if client is not None and client.get_run(run_id).info.status == "RUNNING":
            end_run(client, run_id, status=status, tags=tags)


def add_artifacts(folder: Path, node: Mapping[str, Any] | None, paths: Iterable[Path]) -> None:
    """Store files with the MLflow run of a training, if it has one.

    Args:
        folder: of the training.
        node: its settled `logger`.
        paths: the files.
    """
    run_id = read_run_id(folder)
    with _client_of_run(node, run_id) as client:
        if client is not None:
            for artifact in paths:
                client.log_artifact(run_id, str(artifact))


def read_run_id(folder: Path) -> str | None:
    """Read the id of the MLflow run of a job; return None where it has none."""
    path = folder / RUN_ID_FILE
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


@contextlib.contextmanager
def _client_of_run(node: Mapping[str, Any] | None, run_id: str | None) -> Iterator[Any]:
    """Yield MLflow's client, or None where there is no run of MLflow."""
    if not is_mlflow(node) or run_id is None:
        yield None
        return
    node = resolve_local_paths(node)
    with unreachable_as_warning(node):
        yield mlflow_client(node)


@contextlib.contextmanager
def unreachable_as_warning(node: Mapping[str, Any]) -> Iterator[None]:
    """Turn an error of MLflow inside the block into a warning: all results are on disk too."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  MLflow, databases and HTTP clients share no base
        logger.warning("%s", failure_message(node, error))


def storable_key(name: str) -> str:
    """Return the name of a metric or parameter as MLflow takes it.

    MLflow refuses signs such as those in the object `10%`, and with them all that is logged beside
    them. Each becomes its code, so that two names stay two.
    """
    return re.sub(r"[^\w .:/-]", lambda sign: f"x{ord(sign[0]):02x}", name, flags=re.ASCII)


def storable_keys(params: Any) -> Any:
    """Return parameters with keys as MLflow takes them, also those inside."""
    if not isinstance(params, Mapping):
        return params
    return {storable_key(str(key)): storable_keys(value) for key, value in params.items()}


def is_mlflow(node: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Return whether the `logger` is Lightning's for MLflow."""
    return bool(node) and str(node["_target_"]).endswith("MLFlowLogger")


def check_store(node: Mapping[str, Any] | None) -> None:
    """Raise SettingError for a store that MLflow cannot use; write nothing, ask no server."""
    if not is_mlflow(node):
        return
    address = str(resolve_local_paths(node).get("tracking_uri") or "")
    is_allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    if address.startswith("file:") and not is_allowed:
        raise SettingError(
            f"logger.tracking_uri={shorten(address, 200)} is a folder, and MLflow keeps records in "
            "databases only. Type logger.tracking_uri=sqlite:///FOLDER/mlflow.db; mlflow "
            f"migrate-filestore takes over what the folder holds. {SERVER_ADDRESS}"
        )
    if address.partition("://")[0] not in _known_schemes():
        try:
            check_database_url("logger.tracking_uri", address)
        except SettingError as error:
            raise SettingError(f"{error} {SERVER_ADDRESS}") from error
    if path := sqlite_path(address):
        try:
            check_sqlite(path)
        except sqlite3.DatabaseError as error:
            raise unusable_store(node, error) from error
        if schema := find_other_schema(path, "mlflow", "store/db_migrations/versions"):
            _check_schema(path, schema[0], is_older=schema[1])


def _known_schemes() -> set[str]:
    """List the schemes of addresses that are no databases and that MLflow knows."""
    plugins = importlib.metadata.entry_points(group="mlflow.tracking_store")
    return {"", "file", "http", "https", "databricks", *(plugin.name for plugin in plugins)}


def _check_schema(path: Path, revision: str, *, is_older: bool) -> None:
    """Raise SettingError for a database that the installed MLflow neither takes nor migrates.

    Args:
        path: of the SQLite file.
        revision: of its schema, which is not that of the installed MLflow.
        is_older: whether MLflow knows it.
    """
    cure = "Install the MLflow that wrote it"
    if is_older:
        import sqlalchemy  # noqa: PLC0415  both take seconds
        from mlflow.store.db.utils import _all_tables_exist  # noqa: PLC0415

        read_only = f"{path.as_uri()}?mode=ro"
        engine = sqlalchemy.create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(read_only, uri=True)
        )
        is_complete = _all_tables_exist(engine)
        engine.dispose()
        if not is_complete:
            return  # MLflow migrates it itself, as it makes the tables that are missing
        cure = f"Copy it, then run: mlflow db upgrade {shlex.quote(f'sqlite:///{path}')}"
    raise SettingError(
        f"MLflow cannot use its store {shorten(path, 160)}: its schema {shorten(revision)} is that "
        f"of {'an older' if is_older else 'another'} MLflow. {cure}; or name another store with "
        "logger.tracking_uri=…, or train without it: logger=null."
    )


def unusable_store(node: Mapping[str, Any], error: Exception) -> OctopiError:
    """Return the error of a store that MLflow cannot open: a damaged one, or one without answer."""
    reason = shorten(mask_passwords(str(error) or type(error).__name__).splitlines()[0], 200)
    address = shorten(mask_passwords(str(node.get("tracking_uri"))), 200)
    no_answer = type(error).__name__ == "OperationalError"  # in sqlite3 and SQLAlchemy alike
    cure = "See that it answers and can be written" if no_answer else "Move it away"
    make_error = ResourceError if no_answer else SettingError
    return make_error(
        f"MLflow cannot use its store {address}: {reason.rstrip('.')}. {cure}, name another with "
        "logger.tracking_uri=…, or train without it: logger=null."
    )


def mlflow_client(node: Mapping[str, Any]) -> Any:
    """Connect to the logger's store; give up on an absent server in seconds."""
    shorten_mlflow_timeouts()
    from mlflow import MlflowClient  # noqa: PLC0415  takes seconds, which trainings without MLflow need not wait

    return MlflowClient(node["tracking_uri"])


def shorten_mlflow_timeouts() -> None:
    """Shorten MLflow's timeouts unless the user set them."""
    for name, value in SHORT_TIMEOUTS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries, line by line


def http_status(error: Exception) -> int:
    """Return the status by which a server answered; 500 for an error that names none."""
    status: int = getattr(error, "get_http_status_code", lambda: 500)()
    return status


def failure_message(
    node: Mapping[str, Any], error: Exception, failure: str = "cannot be reached"
) -> str:
    """Write the warning for an error of the tracking server, without passwords."""
    cure = ""
    if http_status(error) in REFUSED_STATUS:
        failure = "refuses this user"
        cure = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to who may write there. "
    uri = node.get("tracking_uri")
    server = f"MLflow at {mask_passwords(str(uri))}" if uri else f"The logger {node['_target_']}"
    reason = mask_passwords(str(error) or type(error).__name__).splitlines()[0][:300].rstrip(".")
    return f"{server} {failure}: {reason}. {cure}Training continues; results are in the job folder."


def list_artifacts(folder: Path) -> list[Path]:
    """List the files of a job that are stored with its run."""
    return [path for path in sorted(folder.iterdir()) if path.suffix in ARTIFACT_SUFFIXES]


def end_run(
    client: Any,
    run_id: str | None,
    *,
    status: str,
    tags: Mapping[str, Any] | None = None,
    artifacts: Iterable[Path] = (),
) -> None:
    """End a run: store its tags and files, without passwords, and set its status."""
    for key, value in _format_tags(tags or {}).items():
        client.set_tag(run_id, key, value)
    for path in artifacts:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8") if path.suffix in TEXT_SUFFIXES else ""
        if mask_passwords(text) != text:
            client.log_text(run_id, mask_passwords(text), path.name)
        else:
            client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, status)


def _find_or_create_experiment(client: Any, node: Mapping[str, Any]) -> str:
    experiment = client.get_experiment_by_name(node["experiment_name"])
    if experiment is not None:
        return experiment.experiment_id
    return client.create_experiment(node["experiment_name"], node.get("artifact_location"))


def _format_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): mask_passwords(str(value)) for key, value in tags.items()}
