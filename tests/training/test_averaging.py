"""The even average over the end of a training."""

import pytest
import torch
from tiny import TINY

from octopi.training.averaging import StochasticWeightAveraging


class Recording(StochasticWeightAveraging):
    """Keeps the weights of each step, and what the average was when the training ended."""

    steps: list[torch.Tensor] = []  # noqa: RUF012  cleared by each test

    def on_train_batch_end(self, trainer, pl_module, *args, **kwargs):
        super().on_train_batch_end(trainer, pl_module, *args, **kwargs)
        self.steps.append(first_weights(pl_module))

    def on_train_end(self, trainer, pl_module):
        super().on_train_end(trainer, pl_module)
        self.steps.append(first_weights(pl_module))


def first_weights(module):
    return next(module.net.parameters()).detach().clone()


@pytest.mark.parametrize("start", [0.5, 0.75])
def test_the_model_is_the_mean_of_the_last_steps(here, octopi_command, start):
    Recording.steps.clear()
    assert octopi_command("create_targets") == 0
    swa = ["callbacks=swa", f"callbacks.weight_averaging.start={start}"]
    own = f"callbacks.weight_averaging._target_={__name__}.Recording"
    decay = "callbacks.weight_averaging.decay=0.9"
    words = [word for word in TINY if "max_epochs" not in word]
    job = ["trainer.max_epochs=4", "hydra.run.dir=job"]
    assert octopi_command("train", *words, *swa, own, decay, *job) == 0
    *steps, average = Recording.steps
    assert len(steps) == 8
    tail = torch.stack(steps[int(start * 8) - 1 :])
    assert torch.allclose(average, tail.mean(dim=0), atol=1e-6)
    assert not torch.allclose(average, steps[-1], atol=1e-6)
