"""Callbacks of a training."""

import re
import signal
from types import SimpleNamespace

import pytest
from tiny import TINY

from octopi.training.best_model import SaveBestModel
from octopi.training.callbacks import LogProgress, StopOnSignal


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


@pytest.mark.parametrize(("saved_in_epoch", "is_lost"), [(None, False), (3, True)])
def test_a_best_model_is_lost_only_if_one_was_saved(tmp_path, caplog, saved_in_epoch, is_lost):
    callback = SaveBestModel(tmp_path, *[None] * 5)
    state = callback.state_dict()
    callback.load_state_dict(state | {"best": 0.5, "best_epoch": saved_in_epoch})
    assert ("The best model so far is lost" in caplog.text) == is_lost


@pytest.mark.parametrize(
    ("number", "in_job", "reaches"),
    [
        (signal.SIGUSR1, True, False),  # SLURM starts the job again, and ends it so
        (signal.SIGUSR1, False, True),
        (signal.SIGHUP, True, True),
    ],
)
def test_the_end_of_a_job_that_slurm_starts_again_is_not_broken_off(
    monkeypatch, number, in_job, reaches
):
    if in_job:
        monkeypatch.setenv("SLURM_JOB_ID", "12")
    got = []
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, number)}
    signal.signal(signal.SIGTERM, lambda *_: got.append("SIGTERM"))
    try:
        stop = StopOnSignal(LookupError)
        stop.on_train_start(SimpleNamespace(current_epoch=1), None)
        signal.raise_signal(number)
        with pytest.raises(LookupError) as error:
            stop.on_train_batch_end(SimpleNamespace(world_size=1, current_epoch=2))
        assert error.value.args == (number, 2, 1)
        stop.on_exception()
        signal.raise_signal(signal.SIGTERM)
        assert bool(got) is reaches
        assert signal.getsignal(number) is kept[number]
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
