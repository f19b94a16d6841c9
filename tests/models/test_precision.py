"""The devices a command works on, and the precision of a training."""

import pytest
import torch

from octopi.errors import ResourceError, SettingError
from octopi.models import precision


@pytest.fixture
def able(monkeypatch):
    monkeypatch.setattr(precision, "half_precision", lambda _: torch.bfloat16)


def test_a_cpu_that_can_computes_in_bf16_but_not_on_two_planes(able):
    assert precision.training_precision("cpu", 3) == "bf16-mixed"
    assert precision.training_precision("cpu", 2) == "32-true"


def test_a_gpu_computes_two_planes_in_bf16_too(able, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert precision.training_precision("auto", 2) == "bf16-mixed"


@pytest.fixture
def nothing_known():
    """What devices can is asked of them afresh, in the test and after it."""
    precision.half_precision.cache_clear()
    yield
    precision.half_precision.cache_clear()


@pytest.mark.parametrize(
    ("capability", "name"),
    [((6, 1), "32-true"), ((7, 0), "16-mixed"), ((7, 5), "16-mixed"), ((8, 0), "bf16-mixed")],
)
def test_a_gpu_computes_in_the_16_bits_in_which_it_is_fast(
    monkeypatch, nothing_known, capability, name
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: capability >= (8, 0)
    )
    assert precision.training_precision("gpu", 2) == name


def test_a_machine_without_bf16_computes_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "half_precision", lambda _: None)
    assert precision.training_precision("cpu", 8) == "32-true"


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_is_a_gpu_where_there_is_one(two_gpus):
    assert precision.choose_device_type("auto") == "cuda"
    assert precision.choose_device_type("gpu") == "cuda"
    assert precision.choose_device_type("cpu") == "cpu"


def test_a_missing_gpu_is_reported_with_the_setting(no_gpu):
    assert precision.choose_device_type("auto") == "cpu"
    with pytest.raises(ResourceError, match=r"x\.accelerator=gpu, but torch sees no GPU"):
        precision.choose_device_type("gpu", "x.accelerator")


@pytest.mark.parametrize("name", ["tpu", "banana", "", None, 1, "GPU"])
def test_an_unknown_accelerator_is_refused(two_gpus, name):
    with pytest.raises(SettingError, match="is auto, cpu or gpu, not"):
        precision.choose_device_type(name)


@pytest.mark.parametrize(
    ("devices", "count"),
    [(1, 1), (2, 2), ("2", 2), ("auto", 2), (-1, 2), ("-1", 2), ([1], 1), ([0, 1], 2), ("0,1", 2)],
)
def test_gpus_are_counted_as_lightning_counts_them(two_gpus, devices, count):
    assert precision.count_devices("gpu", devices) == count


@pytest.mark.parametrize("devices", [0, 3, -2, "3", [], [2], [0, 0.5], "1,2", "all", None, True])
def test_more_gpus_than_there_are_and_none_at_all_are_refused(two_gpus, devices):
    with pytest.raises(SettingError, match=r"^devices must be 1 to 2, the GPUs that torch sees"):
        precision.count_devices("auto", devices)


def test_cores_are_counted_as_lightning_counts_them(no_gpu, control_groups):
    control_groups({"cpu.max": "100000 100000"})
    assert precision.count_devices("cpu", 1) == precision.count_devices("cpu", "auto") == 1
    for devices in (0, 2, 99, -1, "-1", "2", [0], "0,1", "banana", None):
        with pytest.raises(SettingError, match=r"^trainer\.devices must be 1 to 1, the cores"):
            precision.count_devices("auto", devices, "trainer.")


@pytest.mark.parametrize("more", [[], ["dry_run=true"]])
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["trainer.accelerator=cpu", "trainer.devices=2"], 2, "trainer.devices must be 1 to 1"),
        (["trainer.devices=0"], 2, "trainer.devices must be int of 1 … 1000000"),
        (["trainer.devices=[0,1]"], 2, "trainer.devices must be 1 to 1"),
        (["trainer.accelerator=gpu"], 4, "trainer.accelerator=gpu, but torch sees no GPU"),
        (["trainer.accelerator=tpu"], 2, "trainer.accelerator is auto, cpu or gpu, not tpu"),
    ],
)
def test_a_training_on_devices_that_are_not_there_is_refused_before_it_reads(
    here, octopi_command, capfd, no_gpu, control_groups, words, code, message, more
):
    control_groups({"cpu.max": "100000 100000"})
    assert octopi_command("train", "target=none:octopi/1", *words, *more) == code
    assert message in capfd.readouterr().err


def test_a_sweep_on_a_gpu_that_is_not_there_starts_no_training(here, octopi_command, capfd, no_gpu):
    words = ["tomo_types=[denoised]", "trainer.accelerator=gpu", "hydra.sweep.dir=sweep"]
    assert octopi_command("create_targets", words[0]) == 0
    assert octopi_command("train", "-m", "seed=1,2", *words) == 4
    assert "trainer.accelerator=gpu, but torch sees no GPU" in capfd.readouterr().err
    assert not list((here / "sweep").glob("*/output.txt"))


def test_a_plan_for_a_gpu_that_is_not_there_is_refused(here, octopi_command, capfd, no_gpu):
    assert octopi_command("plan", "trainer.accelerator=gpu") == 4
    assert "trainer.accelerator=gpu, but torch sees no GPU" in capfd.readouterr().err


@pytest.mark.parametrize("more", [[], ["dry_run=true"]])
def test_more_devices_than_there_are_do_not_segment(
    here, octopi_command, capfd, no_gpu, control_groups, more
):
    control_groups({"cpu.max": "100000 100000"})
    assert octopi_command("segment", "checkpoint=none.pth", "devices=2", *more) == 2
    assert "devices must be 1 to 1, the cores of this process; not 2" in capfd.readouterr().err
