"""Callbacks of a training."""

import re

from tiny import TINY

from octopi.training.callbacks import LogProgress


def test_a_long_training_says_in_its_log_how_far_it_is(here, octopi_command, monkeypatch):
    monkeypatch.setattr(LogProgress, "interval", 0.0)
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    assert octopi_command("train", *TINY, "hydra.run.dir=job") == 0
    said = (here / "job/train.log").read_text(encoding="utf-8")
    parts = [float(part) for part in re.findall(r"loss \d+\.\d+; (\d+) % of the training", said)]
    assert parts
    assert parts == sorted(parts)
    assert parts[-1] == 100
    assert "about 0 min left" in said
