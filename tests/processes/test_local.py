"""How many trainings fit on this machine at once."""

import pytest
from hydra import compose, initialize_config_dir

from octopi.config.check import check_settings
from octopi.config.files import CONF_DIR
from octopi.config.settings import TrainSettings
from octopi.processes.local import slot_environments


@pytest.fixture
def on_cpu():
    words = ["project.config=none.json", "trainer.accelerator=cpu"]
    with initialize_config_dir(str(CONF_DIR)):
        return check_settings(compose("train", overrides=words), TrainSettings, overrides=words)


def test_a_quota_of_a_core_leaves_room_for_one_training(control_groups, on_cpu):
    control_groups({"cpu.max": "100000 100000"})
    assert [slot["OMP_NUM_THREADS"] for slot in slot_environments(on_cpu, None, 8)] == ["1"]
