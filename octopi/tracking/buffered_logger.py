"""A logger that buffers records while the tracking server cannot be reached."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from octopi.config.build import build
from octopi.errors import is_database_error
from octopi.system.files import write_text
from octopi.tracking import mlflow

FIRST_WAIT = 30.0  # seconds before a failed server is tried again; doubled each time
LONGEST_WAIT = 600.0
CLIENT_ERRORS = range(400, 500)
# A timeout, too many requests; and who is refused is refused each record alike.
RETRIED_STATUS = {408, 429} | mlflow.REFUSED_STATUS

logger = logging.getLogger(__name__)


def make_tracker(node: Mapping[str, Any] | None, folder: Path) -> "BufferedLogger | None":
    """Build the logger that the settled `logger` describes; create its store and its run.

    A resumed training continues its run.

    Args:
        node: the settled `logger`.
        folder: of the job.

    Raises:
        SettingError: MLflow's database is damaged, or of another version.
        ResourceError: it is locked, or its server does not answer.
    """
    if not node:
        return None
    node = mlflow.resolve_local_paths(node)
    path = folder / mlflow.RUN_ID_FILE
    if mlflow.is_mlflow(node):
        mlflow.shorten_mlflow_timeouts()
        if run_id := mlflow.read_run_id(folder):
            node = {**node, "run_id": run_id}
    try:
        tracker = build(node, "logger")
    except Exception as error:
        if mlflow.is_mlflow(node) and is_database_error(error):
            raise mlflow.unusable_store(node, error) from error
        raise
    return BufferedLogger(tracker, node, path)


class BufferedLogger(Logger):
    """Passes records on to another logger, whose failures do not stop the training.

    Records that cannot be sent are queued in order and tried again, less and less often, and once
    more at the end. The first failure is warned of.

    Args:
        tracker: the logger that records are passed on to.
        node: its settled config.
        run_file: that the id of its run is written into.
    """

    def __init__(self, tracker: Logger, node: Mapping[str, Any], run_file: Path) -> None:
        super().__init__()
        self.tracker = tracker
        self._node, self._run_file = node, run_file
        self._queue: deque[Callable[[], Any]] = deque()
        self._wait, self._next_try = FIRST_WAIT, 0.0
        self._unreachable, self._is_open = False, False
        self.call_or_queue(self._open_run)

    def call_or_queue(self, call: Callable[[], Any], *, last: bool = False) -> None:
        """Make a call to the tracker, or queue it while the tracker fails.

        Args:
            call: to make.
            last: try now, there is no later chance.
        """
        if rank_zero_only.rank:
            return
        self._queue.append(call)
        if last or time.monotonic() >= self._next_try:
            self._deliver()
        if last and self._queue:
            logger.warning(
                "%d records were not sent to the tracker; the results are in %s.",
                len(self._queue),
                self._run_file.parent,
            )

    def _deliver(self) -> None:
        while self._queue:
            try:
                self._queue[0]()
            except Exception as error:  # noqa: BLE001  loggers, databases, HTTP clients share no base
                status = mlflow.http_status(error)
                if status not in CLIENT_ERRORS or status in RETRIED_STATUS:
                    self._schedule_retry(error)
                    return
                message = mlflow.failure_message(self._node, error, "refused a record")
                logger.warning("%s", message)
            self._queue.popleft()
        if self._unreachable:
            logger.info("The tracker is reachable again; all buffered records were sent.")
        self._unreachable, self._wait, self._next_try = False, FIRST_WAIT, 0.0

    def _schedule_retry(self, error: Exception) -> None:
        if not self._unreachable:
            logger.warning(
                "%s Records are buffered and sent later.",
                mlflow.failure_message(self._node, error),
            )
            self._unreachable = True
        self._next_try = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _open_run(self) -> None:
        with mlflow.lock_tracking_store(self._node):
            client = getattr(self.tracker, "experiment", None)  # created on first access
        self._is_open = True
        if client is None or not mlflow.is_mlflow(self._node):
            return
        if self._node.get("run_id"):
            client.update_run(self.version, status="RUNNING")
        else:
            write_text(self._run_file, f"{self.version}\n")

    def end(self, status: str, tags: Mapping[str, Any], artifacts: list[Path]) -> None:
        """End the run, with these tags and files."""
        if not mlflow.is_mlflow(self._node):
            return
        self.call_or_queue(
            lambda: mlflow.end_run(
                self.experiment, self.version, status=status, tags=tags, artifacts=artifacts
            ),
            last=True,
        )

    @property
    def experiment(self) -> Any:
        """Of the tracker; None until it could be reached."""
        return getattr(self.tracker, "experiment", None) if self._is_open else None

    @property
    def name(self) -> Any:
        """Of the tracker; None until it could be reached."""
        return self.tracker.name if self._is_open else None

    @property
    def version(self) -> Any:
        """Of the tracker, for MLflow the id of the run; None until it could be reached."""
        return self.tracker.version if self._is_open else None

    @property
    def save_dir(self) -> str | None:
        """Of the tracker."""
        return self.tracker.save_dir

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Pass on the parameters, unless a continued run has them already."""
        if not self._node.get("run_id"):
            self.call_or_queue(lambda: self.tracker.log_hyperparams(params, *args, **kwargs))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Pass on the metrics."""
        values = {mlflow.storable_key(name): value for name, value in metrics.items()}
        self.call_or_queue(lambda: self.tracker.log_metrics(values, step))

    def save(self) -> None:
        """Let the tracker save."""
        self.call_or_queue(self.tracker.save)

    def finalize(self, status: str) -> None:
        """Let the tracker finish; the run of MLflow is ended by `end`."""
        if not mlflow.is_mlflow(self._node):
            self.call_or_queue(lambda: self.tracker.finalize(status))
