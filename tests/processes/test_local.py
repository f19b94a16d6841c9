"""How many trainings fit on this machine at once."""

import pytest
import torch
from hydra import compose, initialize_config_dir

from octopi.config.check import check_settings
from octopi.config.files import CONF_DIR
from octopi.config.settings import TrainSettings
from octopi.processes.local import slot_environments


def settings_of(*more):
    words = ["project.config=none.json", *more]
    with initialize_config_dir(str(CONF_DIR)):
        return check_settings(compose("train", overrides=words), TrainSettings, overrides=words)


@pytest.fixture
def on_cpu():
    return settings_of("trainer.accelerator=cpu")


@pytest.fixture
def on_gpus(monkeypatch):
    """Return what makes torch see so many GPUs of those that an environment variable names."""

    def see(number, names):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if names is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        return settings_of("trainer.accelerator=gpu")

    return see


def test_a_quota_of_a_core_leaves_room_for_one_training(control_groups, on_cpu):
    control_groups({"cpu.max": "100000 100000"})
    assert [slot["OMP_NUM_THREADS"] for slot in slot_environments(on_cpu, None, 8)] == ["1"]


@pytest.mark.parametrize(
    ("number", "names", "expected"),
    [
        (3, None, ["0", "1", "2"]),
        (2, "2,5", ["2", "5"]),
        (2, " GPU-8a1f , GPU-77c0", ["GPU-8a1f", "GPU-77c0"]),
        (1, "MIG-41b6", ["MIG-41b6"]),
        (1, "3,-1,4", ["3"]),  # CUDA stops at the first that does not exist
    ],
)
def test_trainings_share_the_gpus_of_the_job_by_their_own_names(on_gpus, number, names, expected):
    settings = on_gpus(number, names)
    slots = [slot["CUDA_VISIBLE_DEVICES"] for slot in slot_environments(settings, None, 8)]
    assert slots == expected
    twice = slot_environments(settings, 2 * number, 8)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in twice] == 2 * expected
