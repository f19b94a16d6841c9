"""Learning-rate schedulers, ours and torch's."""

import json

import pytest
import torch
from tiny import TINY

from octopi.training.schedule import WarmupCosine


def test_warmup_cosine_rises_then_falls_to_its_smallest_factor():
    schedule = WarmupCosine(warmup_steps=4, min_lr_factor=0.1)
    assert [schedule(step=s, progress=0.0) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert schedule(step=9, progress=0.5) == pytest.approx(0.55)
    assert schedule(step=9, progress=1.0) == pytest.approx(0.1)
    assert schedule(step=9, progress=2.0) == pytest.approx(0.1)


def test_the_rate_stays_after_its_rise_if_its_smallest_factor_is_one():
    schedule = WarmupCosine(warmup_steps=2, min_lr_factor=1)
    assert [schedule(step=s, progress=s / 4) for s in range(5)] == [0.5, 1, 1, 1, 1]


def test_a_factor_above_one_is_refused():
    with pytest.raises(ValueError, match="min_lr_factor"):
        WarmupCosine(warmup_steps=1, min_lr_factor=1.5)


def lr_scheduler(name, **arguments):
    """Return the overrides that choose a scheduler of torch."""
    section = "optim.lr_scheduler"
    return [f"{section}._target_=torch.optim.lr_scheduler.{name}"] + [
        f"+{section}.{key}={value}" for key, value in arguments.items()
    ]


def one_cycle(steps):
    """Return the learning rate of torch's OneCycleLR after so many steps of eight."""
    optimizer = torch.optim.AdamW([torch.zeros(1)])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=8)
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
    return scheduler.get_last_lr()[0]


@pytest.mark.parametrize(
    ("overrides", "rates"),
    [
        (lr_scheduler("StepLR", step_size=3, gamma=0.1), [1e-3, 1e-4]),
        (lr_scheduler("OneCycleLR", max_lr=0.01, total_steps=8), [one_cycle(2), one_cycle(4)]),
        (
            lr_scheduler("ReduceLROnPlateau", mode="max", patience=0, threshold=9),
            [1e-3, 1e-3, 1e-4],  # the first validation is the best, the second worse
        ),
    ],
    ids=["StepLR", "OneCycleLR", "ReduceLROnPlateau"],
)
def test_a_scheduler_of_torch_sets_the_learning_rate(here, octopi_command, overrides, rates):
    assert octopi_command("create_targets") == 0
    job = [f"trainer.max_epochs={len(rates)}", "hydra.run.dir=job", "data.ratios=[0.6,0.4,0]"]
    assert octopi_command("train", *TINY, *job, *overrides) == 0
    history = json.loads((here / "job" / "results.json").read_text(encoding="utf-8"))["history"]
    assert history["learning_rate"]["value"] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (lr_scheduler("OneCycleLR"), "needs the parameter max_lr"),
        (lr_scheduler("OneCycleLR", max_lr=0.01, total_steps=1), "total_steps=2"),
        (lr_scheduler("ReduceLROnPlateau"), "mode=max"),
        (lr_scheduler("StepLR", step_size=3, sie=1), "has no parameter sie"),
        (["optim.lr_scheduler._target_=torch.optim.SGD"], "is refused"),
    ],
)
def test_a_wrong_scheduler_is_refused_before_data_is_read(
    here, octopi_command, capsys, overrides, message
):
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, *overrides, "hydra.run.dir=job") == 2
    assert message in capsys.readouterr().err
    assert not (here / "outputs" / "cache").exists()


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (lr_scheduler("StepLR", step_size=0), "optim.lr_scheduler"),
        (lr_scheduler("CosineAnnealingLR", T_max=0), "optim.lr_scheduler"),
        (
            ["~optim.optimizer", "+optim.optimizer={_target_: torch.optim.SparseAdam, lr: 0.1}"],
            "optim.optimizer",
        ),
    ],
    ids=["StepLR", "CosineAnnealingLR", "SparseAdam"],
)
def test_what_fails_in_its_first_step_is_refused_by_the_dry_run(
    here, octopi_command, capfd, overrides, part
):
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, *overrides, "dry_run=true") == 2
    assert f"{part} takes no step: " in capfd.readouterr().err
