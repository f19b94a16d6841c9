"""Octopi's own jobs, put together from its config as the commands do."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parts.side_by_side import Sizes
from parts.synthetic import SESSION, USER, config_of

NET = {"channels": [32, 64, 96, 96], "strides": [2, 2, 1], "num_res_units": 1, "dropout": 0.1}
PEER_MAIN = "from octopi.main import routines; routines()"


def octopi(verb: str, folder: Path, *words: str) -> list[str]:
    """Return the command line of an octopi command on our project, for the Python of this side."""
    import sys

    project = f"project.config={config_of(folder, 'ours')}"
    job = f"hydra.run.dir={folder / 'jobs' / verb}"
    return [sys.executable, "-m", f"octopi.{verb}", project, job, *words]


def peer_octopi(verb: str, folder: Path, *words: str) -> list[str]:
    """Return the same of the peer, when this is its Python."""
    import sys

    return [sys.executable, "-c", PEER_MAIN, verb, "-c", str(config_of(folder, "peer")), *words]


def net_words() -> list[str]:
    """Return the settings of the network that both sides train: 1.1 M parameters."""
    return [f"model.{key}={value}".replace(" ", "") for key, value in NET.items()]


def picks_words() -> list[str]:
    """Return the setting that names the true picks."""
    return [f"targets.picks={USER}/{SESSION}"]


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning and MONAI say nothing."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def train_settings(folder: Path, words: Sequence[str]) -> Any:
    """Compose the settings of a training on our side's project."""
    from octopi.cli.python_api import compose

    project = f"project.config={config_of(folder, 'ours')}"
    return compose("train", [project, f"data.cache_dir={folder / 'cache'}", *words])[0]


def fit(folder: Path, words: Sequence[str], callbacks: Sequence[Any]) -> None:
    """Train to the end, without writing checkpoints, as `octopi train` does."""
    from octopi.training.run import build_training

    settings = train_settings(folder, words)
    training = build_training(settings, folder)
    named = settings.callbacks.keys()  # between the best model and what is written at the end
    training.trainer.callbacks = [*training.trainer.callbacks[1 : 1 + len(named)], *callbacks]
    with quiet():
        training.trainer.fit(training.module, datamodule=training.data)


def watched(folder: Path, sizes: Sizes, *, steps: int, words: Sequence[str] = ()) -> Any:
    """Train in this process under a `Stopwatch`; its cache is full before the first step.

    Args:
        folder: of the project.
        sizes: threads, crop (voxels an edge) and crops (of a step).
        steps: that are made.
        words: further settings.
    """
    import torch

    from parts.stopwatch import Stopwatch

    torch.set_num_threads(sizes["threads"])
    crop = [sizes["crop"]] * 3
    watch = Stopwatch()
    own = [
        *net_words(),
        "loss=tversky",
        f"data.crop_size={crop}".replace(" ", ""),
        f"data.crops_per_step={sizes['crops']}",
        f"data.steps_per_epoch={steps}",
        "data.num_workers=0",
        "data.ratios=[1,0,0]",
        "callbacks=default",
        "~callbacks.early_stopping",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "trainer.accelerator=cpu",
    ]
    fit(folder, [*own, *words], [watch])
    return watch


def write_checkpoint(
    path: Path, *, radii: Mapping[str, float], seed: int, words: Sequence[str] | None = None
) -> None:
    """Write a network with random weights, and the checkpoint info that a training would write.

    Args:
        path: of the checkpoint.
        radii: object name -> Å.
        seed: of the weights.
        words: settings of the network; None = that which both sides train.
    """
    import torch

    from octopi.cli.python_api import compose
    from octopi.config.settings import TrainSettings
    from octopi.models import checkpoint
    from octopi.models.checkpoint_info import CheckpointInfo
    from octopi.models.properties import size_divisor
    from parts.synthetic import TOMO_TYPE, VOXEL_SPACING

    composed: Any = compose("train", ["project.config=none", *(words or net_words())])[0]
    settings: TrainSettings = composed
    node = {**settings.model, "out_channels": len(radii) + 1}
    torch.manual_seed(seed)
    net = checkpoint.build_net(node)
    info = CheckpointInfo(
        net=node,
        labels={name: label for label, name in enumerate(radii, start=1)},
        radii=dict(radii),
        weights=dict.fromkeys(radii, 1.0),
        voxel_spacing=VOXEL_SPACING,
        working_spacing=None,
        tomo_types=[TOMO_TYPE],
        size_divisor=size_divisor(net),
        predictor=settings.predictor,
        localizer=settings.localizer,
        thresholds={f"{settings.threshold_beta:g}": dict.fromkeys(radii, 0.5)},
        beta=settings.threshold_beta,
        metrics={},
        provenance={},
    )
    checkpoint.save(path, net.state_dict(), info)
