"""A training step and a prediction on a device that cannot be read from: nobody waits for it."""

import functools
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from pretend_device import DEVICE, CountWaits, PretendAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.utils.data import DataLoader

from octopi.config.build import build
from octopi.config.files import CONF_DIR
from octopi.data.gpu_volumes import DeviceVolumes
from octopi.inference.predictor import Predictor
from octopi.models.unets import SizedDynUNet, SizedUNet
from octopi.training.callbacks import LogProgress
from octopi.training.module import PickingModule
from octopi.training.silence import silence_lightning
from octopi.training.training_loss import TrainingLoss
from octopi.training.unknown import PartialClasses
from octopi.training.weight_averaging import EMAWeightAveraging

NUM_CLASSES, STEPS = 4, 3
ONE_NUMBER = [["_local_scalar_dense"]] * (STEPS - 1)
SIZE = (2, 1, 16, 16, 16)
LOSSES = [path.stem for path in sorted(CONF_DIR.glob("loss/*.yaml"))]


def loss_of(name):
    return build(
        yaml.safe_load((CONF_DIR / f"loss/{name}.yaml").read_text(encoding="utf-8")), "loss"
    )


def batch():
    return {
        "image": torch.zeros(SIZE),
        "target": torch.zeros(SIZE, dtype=torch.uint8),
        "not_annotated": torch.zeros((2, NUM_CLASSES), dtype=torch.bool),
    }


class NoteWaits(pl.Callback):
    """Notes what was waited for from the end of each step to the end of the next."""

    def __init__(self, counter):
        self.counter = counter
        self.ends = []

    def on_train_batch_end(self, *_):
        self.ends.append(len(self.counter.waits))

    def steps(self):
        return [self.counter.waits[a:b] for a, b in pairwise(self.ends)]


def waits_of_steps(net, loss, **more):
    """Train on the pretend device; return what each step but the first waited for."""
    module = PickingModule(
        net,
        validation_steps=None,
        loss=TrainingLoss(loss, radii=[3.0] * (NUM_CLASSES - 1), **more),
        optimizer=torch.optim.AdamW,
        lr_scheduler=functools.partial(
            lambda optimizer, progress: torch.optim.lr_scheduler.ConstantLR(optimizer)
        ),
        labels={"a": 1, "b": 2, "c": 3},
        best_metric="object_fbeta",
        steps_per_epoch=STEPS,
        seed=0,
    )
    silence_lightning()
    note = NoteWaits(CountWaits())
    trainer = pl.Trainer(
        accelerator=PretendAccelerator(),
        strategy=SingleDeviceStrategy(device=DEVICE),
        callbacks=[EMAWeightAveraging(decay=0.9), LogProgress(), note],
        max_epochs=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    with note.counter:
        trainer.fit(module, DataLoader([batch()] * STEPS, batch_size=None))
    assert trainer.global_step == STEPS
    return note.steps()


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*val_dataloader"),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_waits_for_its_loss_alone(loss):
    net = SizedUNet(NUM_CLASSES, base_channels=4, num_layers=2)
    assert waits_of_steps(net, loss_of(loss)) == ONE_NUMBER


def test_partial_picks_rejected_places_and_several_heads_are_not_waited_for():
    net = SizedDynUNet(NUM_CLASSES, strides=[1, 2, 2], base_channels=4)
    partial = PartialClasses((False, True, False, True), reach=1, has_rejected=True)
    assert waits_of_steps(net, loss_of("tversky"), partial=partial) == ONE_NUMBER


def test_a_tomogram_is_waited_for_once_however_many_windows_it_has():
    net = SizedUNet(NUM_CLASSES, base_channels=4, num_layers=2).to(DEVICE).eval()
    predictor = Predictor(window_size=[16, 16, 16], halo=[2, 2, 2], num_sides=8)
    with CountWaits() as counter:
        scores = predictor(net, np.zeros((20, 40, 40), np.float32), divisor=2)
    assert scores.shape == (NUM_CLASSES - 1, 20, 40, 40)
    assert counter.waits == ["copy to the CPU"]


def test_crops_are_cut_on_the_device_without_waiting(tmp_path):
    cache = SimpleNamespace(open=lambda key: np.zeros((20, 20, 20), np.float16))
    variant = SimpleNamespace(volume="v", crop_target="t")
    crops = [SimpleNamespace(variant=variant, start=(i, 1, 2)) for i in range(3)]
    volumes = DeviceVolumes(cache, [variant], DEVICE)
    with CountWaits() as counter:
        image, target = volumes.batch(crops, [8, 8, 8])
    assert image.shape == target.shape == (3, 1, 8, 8, 8)
    assert counter.waits == []
