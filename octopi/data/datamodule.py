"""Data module: the runs of a project as training batches and whole validation volumes.

Use `Trainer(use_distributed_sampler=False)`: `CropDataset` gives each rank its own crops, and
every rank validates every run, so that no volume is counted twice or left out.
"""

import copy
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from octopi.data.augment import Augmentation
from octopi.data.cache import DryRunCache, VolumeCache
from octopi.data.crops import CachedTomogram, CropChooser, CropSampler, CropSettings
from octopi.data.datasets import CropDataset, StepSampler, ValidationVolume, VolumeDataset
from octopi.data.folds import Split, SplitSettings
from octopi.data.gpu_volumes import DeviceVolumes, fits_on_gpu, log_location
from octopi.data.particles import split_codes
from octopi.data.preparation import DataPreparation
from octopi.data.sources import RunVolumes, SourceReader
from octopi.geometry import Grid, Points
from octopi.project.digests import digest_points
from octopi.project.queries import SegmentationQuery, TomogramQuery
from octopi.project.run import Run
from octopi.ranges import (
    Count,
    CountOrZero,
    CropsPerStep,
    Edges,
    NumFolds,
    Ratios,
    Seed,
    Share,
    Spacing,
    Text,
    WorkersOrZero,
)
from octopi.signals import leave_signals_to_parent

WORKER_TIMEOUT = 600.0  # seconds without a batch after which a worker counts as stuck


@dataclass(frozen=True)
class DryRunSummary:
    """What a data module would do.

    Args:
        split: the runs of each part.
        grids: working grid of each run that trains or validates.
        keys: of the cached volumes that are needed.
        missing: key -> bytes of those that are not cached yet.
    """

    split: Split
    grids: Sequence[Grid]
    keys: set[str]
    missing: Mapping[str, int]


def build_data_module(  # noqa: PLR0913  the keys of conf/data are flat: users type them
    *,
    runs: Sequence[Run],
    target: SegmentationQuery,
    tomograms: Sequence[TomogramQuery],
    labels: Mapping[str, int],
    augment: Augmentation | None,
    sampler: CropChooser | None,
    particles_of: Callable[[Run], Mapping[str, Points]],
    numbers_particles: bool,
    working_spacing: Spacing | None,
    crop_size: Edges,
    crops_per_step: CropsPerStep,
    steps_per_epoch: Count,
    background_fraction: Share,
    center_jitter: Share,
    num_workers: WorkersOrZero,
    cache_dir: Text,
    train_runs: Sequence[str] | None,
    validation_runs: Sequence[str] | None,
    test_runs: Sequence[str] | None,
    ratios: Ratios | None,
    fold: CountOrZero | None,
    num_folds: NumFolds | None,
    tilt_series_pattern: str | None,
    seed: Seed,
) -> "TomogramDataModule":
    """Build the data module that `conf/data` describes; read nothing yet.

    Args:
        runs: the runs to choose from; each needs the target and the tomograms.
        target: the label volumes to train on.
        tomograms: that a crop may be cut from; validation uses the first.
        labels: object name -> label, as stored with the target.
        augment: changes a training batch on its device; None for nothing.
        sampler: chooses the crops; None for equal shares of the objects.
        particles_of: gives the annotated particles of a run, by object.
        numbers_particles: whether a batch says of which particle each voxel is.
        working_spacing: Å, tomograms are Fourier-cropped to it; None keeps their own.
        crop_size: voxels, z y x.
        crops_per_step: crops in a batch of each process.
        steps_per_epoch: batches in an epoch.
        background_fraction: 0..1, see `crops.CropSettings`.
        center_jitter: 0..1, see `crops.CropSettings`.
        num_workers: processes that cut crops, and threads that fill the cache.
        cache_dir: folder of the cache, made when needed; best on a local disk or /dev/shm.
        train_runs: names; which of these settings decides, see `folds.SplitSettings`.
        validation_runs: names.
        test_runs: names, of runs that neither train nor validate.
        ratios: parts for train, validation and test.
        fold: which of num_folds parts validates, from 0.
        num_folds: number of parts, 2 or more.
        tilt_series_pattern: see `preparation.DataPreparation`.
        seed: seed of split, crops and augmentation.
    """
    split = SplitSettings(
        train_runs=train_runs, validation_runs=validation_runs, test_runs=test_runs,
        ratios=ratios, fold=fold, num_folds=num_folds, seed=seed,
    )  # fmt: skip
    crops = CropSettings(
        crop_size=tuple(crop_size), crops_per_step=crops_per_step,
        background_fraction=background_fraction, center_jitter=center_jitter, seed=seed,
    )  # fmt: skip
    cache = VolumeCache(cache_dir)
    particles = particles_of if numbers_particles else None
    threads = max(1, num_workers)
    reader = SourceReader(cache, target, tomograms, labels, working_spacing, threads, particles)
    return TomogramDataModule(
        DataPreparation(runs, split, reader, tilt_series_pattern=tilt_series_pattern),
        crops,
        steps_per_epoch=steps_per_epoch,
        num_workers=num_workers,
        augment=augment,
        sampler=sampler,
        particles_of=particles_of,
    )


class TomogramDataModule(pl.LightningDataModule):
    """Crops to train on and volumes to validate on, read from a project once per machine.

    Args:
        preparation: splits the runs and caches their volumes.
        crops: how crops are drawn.
        steps_per_epoch: batches in an epoch.
        num_workers: processes that cut crops.
        augment: changes a training batch on its device; None for nothing.
        sampler: chooses the crops; None for equal shares of the objects.
        particles_of: gives the annotated particles of a run, by object.
    """

    def __init__(
        self,
        preparation: DataPreparation,
        crops: CropSettings,
        *,
        steps_per_epoch: int,
        num_workers: int,
        augment: Augmentation | None,
        sampler: CropChooser | None,
        particles_of: Callable[[Run], Mapping[str, Points]],
    ) -> None:
        super().__init__()
        self.preparation = preparation
        self.crops = crops
        self.cache = preparation.reader.cache
        self.augment = augment
        self.choose_crops = sampler
        self.particles_of = particles_of
        self.steps_per_epoch = steps_per_epoch
        self.num_workers = num_workers
        self.split: Split | None = None
        self._gpu_volumes: DeviceVolumes | None = None
        self._volumes: dict[str, RunVolumes] = {}
        self._variants: dict[str, Sequence[CachedTomogram]] = {}  # validation uses the first only
        self._truths: dict[str, Mapping[str, Points]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Split the runs and cache their volumes, where that is not done yet."""
        if self.split is not None:
            return
        split, volumes = self.preparation.read_and_split()
        self._volumes = {name: volumes[name] for name in (*split.train, *split.validation)}
        self._truths = self._read_truths(split.validation)
        self._variants = {
            name: of_run.variants if name in split.train else of_run.variants[:1]
            for name, of_run in self._volumes.items()
        }
        self.preparation.reader.cache_tomograms(
            [(volumes[name], v) for name, variants in self._variants.items() for v in variants]
        )
        self.split = split

    def describe(self) -> DryRunSummary:
        """Do in a copy what `setup` does, with its errors, but write nothing; return a summary."""
        dry = copy.copy(self)
        dry.cache = DryRunCache(self.cache.directory)
        dry.preparation = copy.copy(self.preparation)
        dry.preparation.reader = dataclasses.replace(self.preparation.reader, cache=dry.cache)
        dry.setup()
        assert dry.split is not None
        if dry.choose_crops is not None:
            dry._make_sampler([dry._variants[name] for name in dry.split.train])
        sizes: dict[str, int] = {}
        for variant in itertools.chain(*dry._variants.values()):
            sizes |= variant.num_bytes()
        grids = [variants[0].grid for variants in dry._variants.values()]
        missing = {key: size for key, size in sizes.items() if key not in self.cache}
        return DryRunSummary(dry.split, grids, set(sizes), missing)

    def train_dataloader(self) -> DataLoader:
        """Make the loader of crops; they are the same for any number of workers, and any device."""
        runs = [volumes.variants for volumes in self._volumes_of("train")]
        sampler = self._make_sampler(runs)
        rank, num_ranks, device = 0, 1, torch.device("cpu")
        if self.trainer:
            rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
            device = self.trainer.strategy.root_device
        epoch, step = self._resume_position()
        variants = [variant for run in runs for variant in run]
        on_gpu = fits_on_gpu(variants, self.crops.crop_size, device=device)
        self._gpu_volumes = DeviceVolumes(self.cache, variants, device) if on_gpu else None
        num_workers = 0 if on_gpu else self.num_workers
        log_location(variants, self.cache, on_gpu=on_gpu)
        return DataLoader(
            CropDataset(
                sampler=sampler,
                steps_per_epoch=self.steps_per_epoch,
                rank=rank,
                num_ranks=num_ranks,
                cut_crops=not on_gpu,
            ),
            batch_size=None,
            sampler=StepSampler(self.steps_per_epoch, epoch, step),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            timeout=WORKER_TIMEOUT if num_workers else 0,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=torch.cuda.is_available() and not on_gpu,
        )

    def _make_sampler(self, runs: Sequence[Sequence[CachedTomogram]]) -> CropSampler:
        """Make the sampler of crops; one of the user draws a step here, where its errors are told.

        Args:
            runs: for each training run, its tomograms.
        """
        labels = list(self.preparation.reader.labels.values())
        sampler = CropSampler(
            self.cache, runs, labels=labels, settings=self.crops, choose=self.choose_crops
        )
        if self.choose_crops is not None:
            sampler.draw_crops(epoch=0, step=0)
        return sampler

    def val_dataloader(self) -> DataLoader | list:
        """Make the loader of the validation volumes; an empty list where no run validates."""
        volumes = self._volumes_of("validation")
        return self._make_loader(volumes, self._truths) if volumes else []

    def training_volumes(self) -> DataLoader:
        """Make a loader of the whole training runs, to calibrate on where no run validates."""
        volumes = self._volumes_of("train")
        return self._make_loader(volumes, self._read_truths(v.run_name for v in volumes))

    def validation_truth(self) -> Mapping[str, Mapping[str, Points]]:
        """Return the particles that validation compares with: run name -> object name -> them."""
        assert self.split is not None
        return self._truths if self.split.validation else self._read_truths(self.split.train)

    def _read_truths(self, run_names: Iterable[str]) -> dict[str, Mapping[str, Points]]:
        return {name: self.particles_of(self.preparation.runs[name]) for name in run_names}

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move training tensors, or cut crops there from the volumes of the device."""
        if isinstance(batch, dict) and "crops" in batch:
            assert self._gpu_volumes is not None
            batch = dict(batch)
            crops = batch.pop("crops")
            batch["image"], batch["target"] = self._gpu_volumes.batch(crops, self.crops.crop_size)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make a training batch float32 and augment it, the same way at the same epoch and step."""
        if isinstance(batch, ValidationVolume):
            return batch
        image, target = batch["image"].float(), batch["target"]
        if self.augment is not None:
            key = np.random.SeedSequence((self.crops.seed, *batch["draw"]), spawn_key=(1,))
            rng = torch.Generator().manual_seed(int(key.generate_state(1)[0]))
            image, target = self.augment(image, target, rng)
        numbers = {}
        if self.preparation.reader.particles is not None:
            labels, numbers["particles"] = split_codes(target)
            target = labels.to(torch.uint8)
        not_annotated = batch["not_annotated"]
        return {"image": image, "target": target, "not_annotated": not_annotated, **numbers}

    def content(self) -> dict[str, dict[str, str]]:
        """Return hashes (hex) of the data that trains and validates, by run and what it is.

        They are of voxels and positions, so that a copy of a project has the same.
        """
        content: dict[str, dict[str, str]] = {}
        for run_name, volumes in self._volumes.items():
            hashes = {f"{name} not annotated": "" for name in sorted(volumes.not_annotated)}
            for variant in self._variants[run_name]:
                hashes[f"tomogram {variant.name}"] = self.cache.digest(variant.volume)
                hashes[f"target on {variant.name}"] = self.cache.digest(variant.target)
            for name, points in self._truths.get(run_name, {}).items():
                hashes[f"picks of {name}"] = digest_points(points)
            content[run_name] = hashes
        return content

    def fingerprint(self) -> str:
        """Return a hash (hex) that changes with the data that trains and validates."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()

    def _resume_position(self) -> tuple[int, int]:
        """Return the epoch and step whose crops come first: 0, 0 unless the training was resumed.

        Lightning makes its first iterator before it calls set_epoch, and begins an interrupted
        epoch's data anew: a resumed training would see other crops than an uninterrupted one.
        """
        if not self.trainer:
            return 0, 0
        loop: Any = self.trainer.fit_loop  # its counters are declared as a base class without them
        epochs, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
        interrupted = epochs.started > epochs.processed
        done = batches.processed if interrupted else 0
        return epochs.processed + done // self.steps_per_epoch, done % self.steps_per_epoch

    def _make_loader(
        self, volumes: Sequence[RunVolumes], truths: Mapping[str, Mapping[str, Points]]
    ) -> DataLoader:
        return DataLoader(VolumeDataset(self.cache, volumes, truths), batch_size=None)

    def _volumes_of(self, part: str) -> list[RunVolumes]:
        assert self.split is not None, "Call setup() before asking for batches."
        return [self._volumes[name] for name in self.split.parts()[part]]
