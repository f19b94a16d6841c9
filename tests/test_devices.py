"""What a training computes in."""

import pytest
import torch

from octopi import devices


@pytest.fixture
def able(monkeypatch):
    monkeypatch.setattr(devices, "computes_bf16", lambda _: True)


def test_a_cpu_that_can_computes_in_bf16_but_not_on_two_planes(able):
    assert devices.training_precision("cpu", 3) == "bf16-mixed"
    assert devices.training_precision("cpu", 2) == "32-true"


def test_a_gpu_is_not_concerned(able, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.training_precision("auto", 2) == "bf16-mixed"


def test_a_machine_without_bf16_computes_in_float32(monkeypatch):
    monkeypatch.setattr(devices, "computes_bf16", lambda _: False)
    assert devices.training_precision("cpu", 8) == "32-true"
