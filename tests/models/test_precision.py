"""The precision in which a training computes."""

import pytest
import torch

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
