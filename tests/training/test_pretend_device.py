"""A training step and a prediction on a device that cannot be read from: nobody waits for it."""

import threading
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
from octopi.data.datasets import ValidationVolume
from octopi.data.gpu_volumes import DeviceVolumes
from octopi.errors import ResourceError
from octopi.evaluation.calibration import Calibration
from octopi.geometry import Grid, Points
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


def make_module(net, loss, validation=None, **more):
    lr_scheduler = {"_target_": "torch.optim.lr_scheduler.ConstantLR"}
    settings = SimpleNamespace(
        optim={"optimizer": {"_target_": "torch.optim.AdamW"}, "lr_scheduler": lr_scheduler},
        data={"steps_per_epoch": STEPS},
        best_metric="object_fbeta",
        seed=0,
    )
    return PickingModule(
        net,
        settings,
        validation=validation,
        loss=TrainingLoss(loss, radii=[3.0] * (NUM_CLASSES - 1), **more),
        labels={"a": 1, "b": 2, "c": 3},
    )


def waits_of_steps(net, loss, **more):
    """Train on the pretend device; return what each step but the first waited for."""
    module = make_module(net, loss, **more)
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


GRID = Grid.cubic((8, 12, 12), 10.0)
MIDDLE = np.array([[60.0, 60.0, 40.0]])  # Å
SCORES = [0, 90, 250, 40]  # of each tomogram, everywhere


def validation_volume(number):
    """Return a tomogram whose voxels are its number, with a particle in its middle."""
    return ValidationVolume(
        f"TS_{number}",
        image=np.full(GRID.shape, number, np.float16),
        target=np.ones(GRID.shape, np.uint8),
        grid=GRID,
        truth={"a": Points(MIDDLE)},
        not_annotated=(),
    )


def predict_scores(_net, volume):
    return np.full((NUM_CLASSES - 1, *volume.shape), SCORES[int(volume.flat[0])], np.uint8)


def localize_middle(scores, _grid):
    return {"a": Points(MIDDLE, np.array([scores.mean() / 255]))}


class StaysOnCpu(torch.nn.Linear):
    """A network whose weights can be read, wherever the module is moved."""

    def _apply(self, fn, *_recurse):
        return self


def validate(accelerator, device, predict=predict_scores, localize=localize_middle):
    """Validate four tomograms; return the module."""

    def score_candidates(candidates, truth, calibration):
        picks = calibration.pick(candidates, 2.0)
        return {"object_fbeta": sum(len(points["a"]) for points in picks.values()) / 4}

    validation = SimpleNamespace(
        predict=predict,
        segment=lambda scores: (scores[0] > 100).astype(np.uint8),
        localize=localize,
        calibrate=lambda candidates, truth: Calibration({"2": {"a": 0.3}}, {}, {}),
        score_candidates=score_candidates,
    )
    module = make_module(StaysOnCpu(1, 1), loss_of("tversky"), validation)
    silence_lightning()
    trainer = pl.Trainer(
        accelerator=accelerator,
        strategy=SingleDeviceStrategy(device=device),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    volumes = [validation_volume(number) for number in range(len(SCORES))]
    with CountWaits():  # also answers
        trainer.validate(module, DataLoader(volumes, batch_size=None), verbose=False)
    return module


def test_a_tomogram_is_examined_while_the_next_is_predicted():
    predicted = [threading.Event() for _ in SCORES]

    def predict(net, volume):
        predicted[int(volume.flat[0])].set()
        return predict_scores(net, volume)

    def localize(scores, grid):
        number = SCORES.index(scores.flat[0])
        assert predicted[min(number + 1, 3)].wait(60)
        return localize_middle(scores, grid)

    module = validate(PretendAccelerator(), DEVICE, predict, localize)
    on_cpu = validate("cpu", torch.device("cpu"))
    assert module.metrics == on_cpu.metrics
    assert module.metrics["object_fbeta"] == 0.5
    assert module.metrics["f1_a"] > 0
    assert list(module.candidates) == list(on_cpu.candidates) == [f"TS_{i}" for i in range(4)]
    for name, candidates in on_cpu.candidates.items():
        assert candidates["a"].scores == module.candidates[name]["a"].scores


@pytest.mark.parametrize("last", [1, len(SCORES) - 1])
def test_an_error_in_a_tomogram_ends_the_validation(last):
    def localize(scores, grid):
        if scores.flat[0] == SCORES[last]:
            raise ResourceError("no room")
        return localize_middle(scores, grid)

    with pytest.raises(ResourceError, match="no room"):
        validate(PretendAccelerator(), DEVICE, localize=localize)
