"""Datasets of training crops and of whole validation volumes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from octopi.data.cache import VolumeCache
from octopi.data.crops import CropSampler
from octopi.data.sources import RunVolumes
from octopi.geometry import Grid, Points


class ValidationVolume:
    """A whole run to validate on, memory-mapped: nothing is copied until it is used.

    Not a dataclass: Lightning takes those apart in search of tensors to move, and fails at frozen
    ones such as Grid. So the volume stays on the CPU; its windows move one by one.

    Args:
        image: (z, y, x) float16, normalised, on the working grid.
        target: (z, y, x) uint8, on the same grid.
        grid: the working grid.
        truth: object name -> where its particles are.
        not_annotated: names of the objects that nobody annotated in the run.
    """

    def __init__(
        self,
        run_name: str,
        *,
        image: NDArray[np.float16],
        target: NDArray[np.uint8],
        grid: Grid,
        truth: Mapping[str, Points],
        not_annotated: Collection[str],
    ) -> None:
        self.run_name = run_name
        self.image = image
        self.target = target
        self.grid = grid
        self.truth = truth
        self.not_annotated = not_annotated


@dataclass(eq=False)
class StepSampler(Sampler[int]):
    """Yields epoch * steps_per_epoch + step: all a worker needs to draw that step's crops.

    Args:
        steps_per_epoch: number of steps in a pass.
        epoch: the epoch of the first pass.
        first_step: where the first pass begins; later ones begin at 0.
    """

    steps_per_epoch: int
    epoch: int
    first_step: int

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass. Lightning calls this; after a resume too late."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.steps_per_epoch
        steps = range(first + self.first_step, first + self.steps_per_epoch)
        self.first_step = 0
        return iter(steps)

    def __len__(self) -> int:
        return self.steps_per_epoch


@dataclass(eq=False, kw_only=True)
class CropDataset(Dataset[dict[str, Any]]):
    """The batches of a training: image float16 and target uint8, both (b, 1, z, y, x).

    And not_annotated (b, c), which classes are not annotated in the run of a crop.

    Args:
        sampler: draws and cuts the crops.
        steps_per_epoch: number of steps in a pass.
        rank: of this process.
        num_ranks: processes that share a draw.
        cut_crops: cut the crops here; else a batch holds their locations only.
    """

    sampler: CropSampler
    steps_per_epoch: int
    rank: int
    num_ranks: int
    cut_crops: bool

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        epoch, step = divmod(index, self.steps_per_epoch)
        crops = self.sampler.draw_crops(
            epoch=epoch, step=step, rank=self.rank, num_ranks=self.num_ranks
        )
        batch = {
            "draw": (epoch, step, self.rank),
            "not_annotated": torch.from_numpy(self.sampler.not_annotated(crops)),
        }
        if not self.cut_crops:
            return {"crops": crops, **batch}
        image, target = self.sampler.read(crops)
        return {"image": torch.from_numpy(image), "target": torch.from_numpy(target), **batch}


@dataclass(eq=False)
class VolumeDataset(Dataset[ValidationVolume]):
    """The first tomogram of each run, whole, with its target and true particles."""

    cache: VolumeCache
    volumes: Sequence[RunVolumes]
    truths: Mapping[str, Mapping[str, Points]]

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> ValidationVolume:
        volumes = self.volumes[index]
        first = volumes.variants[0]
        return ValidationVolume(
            volumes.run_name,
            image=self.cache.open(first.volume),
            target=self.cache.open(first.target),
            grid=first.grid,
            truth=self.truths[volumes.run_name],
            not_annotated=volumes.not_annotated,
        )
