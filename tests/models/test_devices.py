"""The devices a command works on; what a log says of them, and why a GPU is not used."""

import logging
import sys

import pytest
import torch

from octopi.errors import ResourceError, SettingError
from octopi.models.devices import (
    choose_device_type,
    count_devices,
    explain_missing_gpu,
    log_device,
)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Return what puts a program nvidia-smi with this answer first on the PATH."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(answer, code=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(
            f"#!{sys.executable}\nprint({answer!r})\nraise SystemExit({code})\n", encoding="utf-8"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


@pytest.mark.parametrize(
    ("version", "built_for", "advice"),
    [
        ("595.58.03", None, "whl/cu130"),
        ("550.54.15", None, "whl/cu126"),
        ("550.54.15", "13.0", "whl/cu126"),
        ("470.42", None, "Update the driver to 580"),
        ("470.42", "12.6", "Update the driver to 580"),
        ("595.58.03", "12.6", "torch.cuda.init()"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_named_with_the_wheel_that_fits(
    driver, monkeypatch, version, built_for, advice
):
    driver(f"{version}, NVIDIA A100-SXM4-80GB\n{version}, NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr(torch.version, "cuda", built_for)
    message = explain_missing_gpu()
    assert f"NVIDIA A100-SXM4-80GB is here with NVIDIA's driver {version}" in message
    assert advice in message
    assert ("'torch" in message) == ("whl" in advice)
    with pytest.raises(ResourceError, match="A100") as error:
        choose_device_type("gpu")
    assert len(str(error.value)) <= 600


@pytest.mark.parametrize(("answer", "code"), [("No devices were found", 0), ("", 0), ("", 9)])
def test_a_driver_without_a_gpu_says_nothing(driver, answer, code):
    driver(answer, code)
    assert explain_missing_gpu() is None


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_the_user_has_hidden_are_not_missed(driver, monkeypatch, hidden):
    driver("595.58.03, NVIDIA H200")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert explain_missing_gpu() is None


@pytest.mark.parametrize(("accelerator", "warns"), [("auto", True), ("cpu", False)])
def test_the_log_warns_of_a_gpu_unless_the_cpu_was_chosen(driver, caplog, accelerator, warns):
    driver("595.58.03, NVIDIA H200")
    with caplog.at_level(logging.INFO):
        log_device(accelerator, "cpu", "32-true")
    assert "Device: 1 × CPU" in caplog.text
    assert f"{torch.get_num_threads()} threads" in caplog.text
    assert "32-true" in caplog.text
    assert ("H200" in caplog.text) == warns


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_is_a_gpu_where_there_is_one(two_gpus):
    assert choose_device_type("auto") == "cuda"
    assert choose_device_type("gpu") == "cuda"
    assert choose_device_type("cpu") == "cpu"


def test_a_missing_gpu_is_reported_with_the_setting(no_gpu):
    assert choose_device_type("auto") == "cpu"
    with pytest.raises(ResourceError, match=r"x\.accelerator=gpu, but torch sees no GPU"):
        choose_device_type("gpu", "x.accelerator")


@pytest.mark.parametrize("name", ["tpu", "banana", "", None, 1, "GPU"])
def test_an_unknown_accelerator_is_refused(two_gpus, name):
    with pytest.raises(SettingError, match="is auto, cpu or gpu, not"):
        choose_device_type(name)


@pytest.mark.parametrize(
    ("devices", "count"),
    [(1, 1), (2, 2), ("2", 2), ("auto", 2), (-1, 2), ("-1", 2), ([1], 1), ([0, 1], 2), ("0,1", 2)],
)
def test_gpus_are_counted_as_lightning_counts_them(two_gpus, devices, count):
    assert count_devices("gpu", devices) == count


@pytest.mark.parametrize("devices", [0, 3, -2, "3", [], [2], [0, 0.5], "1,2", "all", None, True])
def test_more_gpus_than_there_are_and_none_at_all_are_refused(two_gpus, devices):
    with pytest.raises(SettingError, match=r"^devices must be 1 to 2, the GPUs that torch sees"):
        count_devices("auto", devices)


def test_cores_are_counted_as_lightning_counts_them(no_gpu, control_groups):
    control_groups({"cpu.max": "100000 100000"})
    assert count_devices("cpu", 1) == count_devices("cpu", "auto") == 1
    for devices in (0, 2, 99, -1, "-1", "2", [0], "0,1", "banana", None):
        with pytest.raises(SettingError, match=r"^trainer\.devices must be 1 to 1, the cores"):
            count_devices("auto", devices, "trainer.")


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
