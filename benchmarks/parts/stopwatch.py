"""Lightning callbacks that read the clock: between steps, or up to the first of them."""

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from parts.side_by_side import Clock


class Stopwatch(pl.Callback):
    """Knows what each step's computing took, and what lay between steps: the data.

    With num_workers=0 all of both happens in this process. It has to be the last callback.
    """

    def __init__(self) -> None:
        self.compute: list[tuple[float, float]] = []
        self.data: list[tuple[float, float]] = []
        self._clock = Clock()

    def on_train_start(self, *_: Any) -> None:
        """Note that the first batch is about to be fetched."""
        self._clock = Clock()

    def on_train_batch_start(self, *_: Any) -> None:
        """Note that the batch is on its device and augmented."""
        self.data.append(self._clock.read())
        self._clock = Clock()

    def on_train_batch_end(self, *_: Any) -> None:
        """Note that the optimizer has made its step."""
        self.compute.append(self._clock.read())
        self._clock = Clock()


class FirstBatch(pl.Callback):
    """Ends the job when its first batch is there, leaving a note of the CPU seconds before data.

    It is built when everything is imported and the network made, before a voxel is read.

    Args:
        path: of the note.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.cpu_before_data = time.process_time()

    def on_train_batch_start(self, *_: Any) -> None:
        """Note the time of the first batch."""
        end_at_first_batch(Path(self.path), self.cpu_before_data)


class AfterSteps(pl.Callback):
    """Ends the job when so many steps are made.

    Args:
        steps: how many.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Note the time of a step."""
        if trainer.global_step >= self.steps:
            end()


def end_at_first_batch(path: Path, cpu_before_data: float) -> None:
    """Write the note and end this process."""
    path.write_text(json.dumps({"cpu_before_data": cpu_before_data}), encoding="utf-8")
    end()


def end() -> None:
    """End this process and its workers, whose time counts as its own."""
    for worker in multiprocessing.active_children():
        worker.terminate()
        worker.join()
    os._exit(0)
