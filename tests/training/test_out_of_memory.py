"""A step that does not fit is answered with one that does."""

from pathlib import Path

import pytest
import torch
from monai.networks.nets.unet import UNet
from tiny import TINY

from octopi.config.files import CONF_DIR
from octopi.training.out_of_memory import smaller_batches

PAINTERS = [path.stem for path in sorted(CONF_DIR.glob("painter/*.yaml"))]


class Hungry(UNet):
    """A network that finds no memory for more voxels than `limit`."""

    limit = 0

    def forward(self, x):
        if self.training and x.numel() > self.limit and x.device.type != "meta":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x)


@pytest.mark.parametrize(
    ("limit", "choice", "advice"),
    [
        *((2 * 16 * 32 * 32, f"painter={painter}",
           "data.crops_per_step=2; trainer.accumulate_grad_batches=2") for painter in PAINTERS),
        (16 * 16 * 32, "painter=spheres", "data.crops_per_step=1 and data.crop_size=[16,16,32]; "
                                          "trainer.accumulate_grad_batches=4"),
        (16 * 32 * 32, "mix=mixup", "data.crops_per_step=2 and data.crop_size=[16,16,32]; "
                                    "trainer.accumulate_grad_batches=2"),
        (7, "painter=spheres", "choose a smaller network"),
    ],
)  # fmt: skip
def test_a_training_that_runs_out_of_memory_names_the_step_that_fits(
    here, octopi_command, capfd, monkeypatch, limit, choice, advice
):
    monkeypatch.setattr(Hungry, "limit", limit)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    words = [*TINY, f"model._target_={Hungry.__module__}.Hungry", "data.crops_per_step=4"]
    words += ["model.spatial_dims=3", "model.in_channels=1", choice]
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    assert octopi_command("train", *words, "fold=0", "num_folds=3", "hydra.run.dir=job") == 4
    error = capfd.readouterr().err.split("octopi: ")[-1]
    assert "a step of 4 crops of [16, 32, 32] voxels (CUDA out of memory)" in error
    assert advice in error
    assert len(error) <= 600


def test_steps_become_smaller_until_a_crop_is_two_divisors_wide():
    steps = list(smaller_batches(5, [16, 32, 64], 8))
    assert steps == [
        (2, [16, 32, 64]), (1, [16, 32, 64]),
        (1, [16, 32, 32]), (1, [16, 16, 32]), (1, [16, 16, 16]),
    ]  # fmt: skip


def test_steps_of_crops_that_are_mixed_keep_two():
    assert list(smaller_batches(3, [16, 32, 32], 8, fewest=2)) == [
        (2, [16, 32, 32]), (2, [16, 16, 32]), (2, [16, 16, 16]),
    ]  # fmt: skip
