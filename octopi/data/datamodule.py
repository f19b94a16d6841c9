"""Data module: the runs of a project as training batches and whole validation volumes.

Use `Trainer(use_distributed_sampler=False)`: `Steps` already gives each rank crops of its own, and
every rank validates every run, so that no volume is counted twice or left out.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from octopi.data.augment import Augmentation
from octopi.data.cache import DryRunCache
from octopi.data.crops import CropSampler, CropSettings
from octopi.data.datasets import CropDataset, StepSampler, ValidationVolume, VolumeDataset, identity
from octopi.data.folds import Split
from octopi.data.gpu_volumes import DeviceVolumes, fits_on_gpu
from octopi.data.preparation import DataPreparation
from octopi.data.sources import RunVolumes
from octopi.geometry import Grid, Points
from octopi.project import Run, SegmentationQuery, TomogramQuery

WORKER_TIMEOUT = 600.0  # seconds without a batch after which a worker is taken for stuck


@dataclass(frozen=True)
class DryRunSummary:
    """What a data module would do.

    Args:
        split: which runs train, validate and are left out.
        grids: what their tomograms are worked on.
        keys: of the cached volumes that are needed.
        missing: key -> bytes of those that would have to be made.
    """

    split: Split
    grids: Sequence[Grid]
    keys: set[str]
    missing: Mapping[str, int]

    def parts(self) -> list[tuple[str, tuple[str, ...]]]:
        """The runs of each part of the split, by name."""
        return [(part, getattr(self.split, part)) for part in ("train", "validation", "test")]


class TomogramDataModule(pl.LightningDataModule):
    """Crops to train on and volumes to validate on, read from a project once per machine.

    Args:
        runs: the runs to choose from; each needs the target and the tomograms.
        target: the label volumes to train on.
        tomograms: what a crop may be cut from; the first is what validation uses.
        labels: object name -> label, as stored with the target.
        augment: what happens to a training batch on its device; None for nothing.
        truth: gives the particles of a validation run, by object.
        working_spacing: Å, tomograms are Fourier-cropped to it; None keeps their own.
        crop_size: voxels of the working grid, z y x.
        crops_per_step: crops in a batch of each process, from as many different runs as there are.
        steps_per_epoch: batches in an epoch.
        background_fraction: part of the crops centred on background.
        center_jitter: part of the crop within which the voxel it is drawn for may lie.
        blend: whether a crop is a random mixture of two tomograms of its run.
        num_workers: processes that cut crops, and threads that fill the cache.
        cache_dir: folder of the cache, made when needed; best on a local disk or /dev/shm.
        train_runs: see `folds.Splitting`, as for the next five.
        tilt_series_pattern: regular expression whose match in a run's name is its tilt series; runs
            of one tilt series stay together. None: the name, which several projects may share.
        seed: seed of split, crops and augmentation.
    """

    def __init__(  # noqa: PLR0913  every key of conf/data is a parameter here, next to four facts
        self,
        *,
        runs: Sequence[Run],
        target: SegmentationQuery,
        tomograms: Sequence[TomogramQuery],
        labels: Mapping[str, int],
        augment: Augmentation | None,
        truth: Callable[[Run], Mapping[str, Points]],
        working_spacing: float | None,
        crop_size: Sequence[int],
        crops_per_step: int,
        steps_per_epoch: int,
        background_fraction: float,
        center_jitter: float,
        blend: bool,
        num_workers: int,
        cache_dir: str,
        train_runs: Sequence[str] | None,
        validation_runs: Sequence[str] | None,
        test_runs: Sequence[str] | None,
        ratios: Sequence[float] | None,
        fold: int | None,
        num_folds: int | None,
        tilt_series_pattern: str | None,
        seed: int,
    ) -> None:
        super().__init__()
        if working_spacing is not None and not working_spacing > 0:
            raise ValueError(f"working_spacing must be positive or null, not {working_spacing}.")
        if steps_per_epoch < 1 or num_workers < 0:
            raise ValueError(
                f"Need steps_per_epoch of 1 or more and num_workers of 0 or more, not "
                f"{steps_per_epoch} and {num_workers}."
            )
        z, y, x = crop_size
        self.settings = CropSettings(
            (z, y, x), crops_per_step, background_fraction, center_jitter, blend, seed
        )
        self.intake = DataPreparation.from_settings(
            runs=runs,
            target=target,
            tomograms=tomograms,
            labels=labels,
            working_spacing=working_spacing,
            num_workers=num_workers,
            cache_dir=cache_dir,
            train_runs=train_runs,
            validation_runs=validation_runs,
            test_runs=test_runs,
            ratios=ratios,
            fold=fold,
            num_folds=num_folds,
            tilt_series_pattern=tilt_series_pattern,
            seed=seed,
        )
        self.cache = self.intake.reader.cache
        self.labels = dict(labels)
        self.augment = augment
        self.truth = truth
        self.steps_per_epoch = steps_per_epoch
        self.num_workers = num_workers
        self.split: Split | None = None
        self._on_device: DeviceVolumes | None = None
        self._sources: dict[str, RunVolumes] = {}
        self._truths: dict[str, Mapping[str, Points]] = {}

    def prepare_data(self) -> None:
        """The cache is filled, by one process of each machine."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Runs are split, their volumes cached, the positions of every class known."""
        self._load()

    def describe(self) -> "DryRunSummary":
        """What `setup` would do, with its errors, and without a byte written."""
        cache = self.cache
        self.cache = DryRunCache(cache.directory)
        reader = dataclasses.replace(self.intake.reader, cache=self.cache)
        self.intake = dataclasses.replace(self.intake, reader=reader)
        self._load()
        assert self.split is not None
        sizes: dict[str, int] = {}
        for name, source in self._sources.items():
            used = source.variants[: None if name in self.split.train else 1]
            for variant in used:
                sizes |= variant.sizes()
        grids = [source.variants[0].grid for source in self._sources.values()]
        missing = {key: size for key, size in sizes.items() if key not in cache}
        return DryRunSummary(self.split, grids, set(sizes), missing)

    def train_dataloader(self) -> DataLoader:
        """Batches of crops; the same whatever the number of workers, or the device."""
        runs = [source.variants for source in self._of("train")]
        sampler = CropSampler(
            self.cache, runs, labels=list(self.labels.values()), settings=self.settings
        )
        rank, num_ranks, device = 0, 1, torch.device("cpu")
        if self.trainer:
            rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
            device = self.trainer.strategy.root_device
        epoch, step = self._next_step()
        variants = [variant for run in runs for variant in run]
        size, blend = self.settings.crop_size, self.settings.blend
        on_gpu = fits_on_gpu(variants, size, blend=blend, device=device)
        self._on_device = DeviceVolumes(self.cache, variants, device) if on_gpu else None
        num_workers = 0 if on_gpu else self.num_workers
        return DataLoader(
            CropDataset(
                sampler, self.steps_per_epoch, rank=rank, num_ranks=num_ranks, cut_crops=not on_gpu
            ),
            batch_size=None,
            sampler=StepSampler(self.steps_per_epoch, epoch=epoch, first_step=step),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            timeout=WORKER_TIMEOUT if num_workers else 0,
            pin_memory=torch.cuda.is_available() and not on_gpu,
        )

    def val_dataloader(self) -> DataLoader | list:
        """One ValidationVolume after the other; an empty list where no run validates."""
        sources = self._of("validation")
        return self._volumes(sources, self._truths) if sources else []

    def training_volumes(self) -> DataLoader:
        """The training runs, whole: to calibrate on where no run validates."""
        sources = self._of("train")
        truths = {
            source.run_name: self.truth(self.intake.runs[source.run_name]) for source in sources
        }
        return self._volumes(sources, truths)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Training tensors move, or are cut there from volumes that the device holds.

        A validation volume stays, for its windows move one by one.
        """
        if isinstance(batch, ValidationVolume):
            return batch
        if "crops" in batch:
            assert self._on_device is not None
            image, target = self._on_device.batch(batch["crops"], self.settings.crop_size)
            return {"image": image, "target": target, "draw": batch["draw"]}
        return {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """A training batch is float32 and augmented, the same way at the same epoch and step."""
        if isinstance(batch, ValidationVolume):
            return batch
        image, target = batch["image"].float(), batch["target"]
        if self.augment is not None:
            key = np.random.SeedSequence((self.settings.seed, *batch["draw"]), spawn_key=(1,))
            rng = torch.Generator().manual_seed(int(key.generate_state(1)[0]))
            image, target = self.augment(image, target, rng)
        return {"image": image, "target": target}

    def fingerprint(self) -> str:
        """A key (hex) of all that is trained and validated on: other data, other key."""
        keys = sorted(
            f"{variant.volume} {variant.target}"
            for source in self._sources.values()
            for variant in source.variants
        )
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()

    def _next_step(self) -> tuple[int, int]:
        """The epoch and step that training goes on with: 0, 0 unless it was resumed.

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

    def _volumes(
        self, sources: Sequence[RunVolumes], truths: Mapping[str, Mapping[str, Points]]
    ) -> DataLoader:
        dataset = VolumeDataset(self.cache, sources, truths)
        return DataLoader(dataset, batch_size=None, collate_fn=identity)

    def _of(self, part: str) -> list[RunVolumes]:
        if self.split is None:
            raise RuntimeError("Call setup() before asking for batches.")
        return [self._sources[name] for name in getattr(self.split, part)]

    def _load(self) -> None:
        if self.split is not None:
            return
        split, sources = self.intake.read()
        self._sources = {name: sources[name] for name in (*split.train, *split.validation)}
        self._truths = {name: self.truth(self.intake.runs[name]) for name in split.validation}
        self.intake.fill(split, sources)
        self.split = split
