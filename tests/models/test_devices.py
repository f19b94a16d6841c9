"""What a log says of the device, and why a GPU that is there is not used."""

import logging
import sys

import pytest
import torch

from octopi.errors import ResourceError
from octopi.models import devices, precision


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
    message = devices.explain_missing_gpu()
    assert f"NVIDIA A100-SXM4-80GB is here with NVIDIA's driver {version}" in message
    assert advice in message
    assert ("'torch" in message) == ("whl" in advice)
    with pytest.raises(ResourceError, match="A100") as error:
        precision.choose_device_type("gpu")
    assert len(str(error.value)) <= 600


@pytest.mark.parametrize(("answer", "code"), [("No devices were found", 0), ("", 0), ("", 9)])
def test_a_driver_without_a_gpu_says_nothing(driver, answer, code):
    driver(answer, code)
    assert devices.explain_missing_gpu() is None


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_the_user_has_hidden_are_not_missed(driver, monkeypatch, hidden):
    driver("595.58.03, NVIDIA H200")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert devices.explain_missing_gpu() is None


@pytest.mark.parametrize(("accelerator", "warns"), [("auto", True), ("cpu", False)])
def test_the_log_warns_of_a_gpu_unless_the_cpu_was_chosen(driver, caplog, accelerator, warns):
    driver("595.58.03, NVIDIA H200")
    with caplog.at_level(logging.INFO):
        devices.log_device(accelerator, "cpu", "32-true")
    assert "Device: 1 × CPU" in caplog.text
    assert f"{torch.get_num_threads()} threads" in caplog.text
    assert "32-true" in caplog.text
    assert ("H200" in caplog.text) == warns
