"""A tracker that a training does not depend on."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from octopi.config.build import build
from octopi.system.files import write_text
from octopi.tracking import mlflow

FIRST_WAIT = 30.0  # seconds before a tracker that failed is asked again; doubled each time
LONGEST_WAIT = 600.0
REFUSED = range(400, 500)
RETRIED_STATUS = {408, 429}  # a timeout, too many requests

logger = logging.getLogger(__name__)


def make_tracker(node: Mapping[str, Any] | None, folder: Path) -> "BufferedLogger | None":
    """The tracker that the settled `logger` describes, its store and its run made.

    A training that is resumed goes on with its run.

    Args:
        node: the settled `logger`.
        folder: the job's.
    """
    if not node:
        return None
    node = mlflow.resolve_local_paths(node)
    path = folder / mlflow.RUN_ID
    if mlflow.is_mlflow(node):
        mlflow.shorten_mlflow_timeouts()
        if path.exists():
            node["run_id"] = path.read_text(encoding="utf-8").strip()
    return BufferedLogger(build(node, "logger"), node, path)


class BufferedLogger(Logger):
    """Another tracker, whose failures are warned of once and cost the training nothing.

    What cannot be delivered is kept in order and tried again, less and less often, and once
    more at the end.

    Args:
        tracker: the one to pass on to.
        node: what it was made from.
        run_file: is told the id of its run.
    """

    def __init__(self, tracker: Logger, node: Mapping[str, Any], run_file: Path) -> None:
        super().__init__()
        self.tracker = tracker
        self._node, self._run_file = node, run_file
        self._queue: deque[Callable[[], Any]] = deque()
        self._wait, self._next_try = FIRST_WAIT, 0.0
        self._unreachable, self._is_open = False, False
        self.call_or_queue(self._open)

    def call_or_queue(self, call: Callable[[], Any], *, last: bool = False) -> None:
        """The call is made, now or later.

        Args:
            call: to the tracker.
            last: there will be no later.
        """
        if rank_zero_only.rank:
            return
        self._queue.append(call)
        if last or time.monotonic() >= self._next_try:
            self._deliver()
        if last and self._queue:
            logger.warning(
                "%d records never reached the tracker; they are in %s.",
                len(self._queue),
                self._run_file.parent,
            )

    def _deliver(self) -> None:
        while self._queue:
            try:
                self._queue[0]()
            except Exception as error:  # noqa: BLE001  trackers fail in any way they like
                status = getattr(error, "get_http_status_code", lambda: 500)()
                if status not in REFUSED or status in RETRIED_STATUS:
                    self._schedule_retry(error)
                    return
                logger.warning("%s", mlflow.tracker_unreachable_message(self._node, error))
            self._queue.popleft()
        if self._unreachable:
            logger.info("The tracker answers again and has been told everything.")
        self._unreachable, self._wait, self._next_try = False, FIRST_WAIT, 0.0

    def _schedule_retry(self, error: Exception) -> None:
        if not self._unreachable:
            logger.warning(
                "%s It is tried again from time to time.",
                mlflow.tracker_unreachable_message(self._node, error),
            )
            self._unreachable = True
        self._next_try = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _open(self) -> None:
        with mlflow.lock_tracking_store(self._node):
            client = getattr(self.tracker, "experiment", None)  # made when first asked for
        self._is_open = True
        if client is None or not mlflow.is_mlflow(self._node):
            return
        if self._node.get("run_id"):
            client.update_run(self.version, status="RUNNING")
        else:
            write_text(self._run_file, f"{self.version}\n")

    def end(self, status: str, tags: Mapping[str, Any], artifacts: list[Path]) -> None:
        """The run has ended, with these tags and files."""
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
        """The tracker's own; None until it has answered."""
        return getattr(self.tracker, "experiment", None) if self._is_open else None

    @property
    def name(self) -> Any:
        """The tracker's; None until it has answered."""
        return self.tracker.name if self._is_open else None

    @property
    def version(self) -> Any:
        """The tracker's: of MLflow the id of the run; None until it has answered."""
        return self.tracker.version if self._is_open else None

    @property
    def save_dir(self) -> str | None:
        """The tracker's."""
        return self.tracker.save_dir

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The parameters are passed on; a run that goes on knows them already."""
        if not self._node.get("run_id"):
            self.call_or_queue(lambda: self.tracker.log_hyperparams(params, *args, **kwargs))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """The metrics are passed on."""
        values = dict(metrics)
        self.call_or_queue(lambda: self.tracker.log_metrics(values, step))

    def log_graph(self, model: nn.Module, input_array: Any = None) -> None:
        """The net is passed on."""
        self.call_or_queue(lambda: self.tracker.log_graph(model, input_array))

    def save(self) -> None:
        """The tracker saves."""
        self.call_or_queue(self.tracker.save)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """The tracker may take it."""
        self.call_or_queue(lambda: self.tracker.after_save_checkpoint(checkpoint_callback))

    def finalize(self, status: str) -> None:
        """The tracker is told; a run's end is `end`'s."""
        if not mlflow.is_mlflow(self._node):
            self.call_or_queue(lambda: self.tracker.finalize(status))
