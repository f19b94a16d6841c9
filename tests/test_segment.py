"""What `segment` says where a network cannot be run."""

import pytest
import torch
from checkpoints import make_info, save_checkpoint

WORDS = ["predictor=default", "predictor.window_size=null", "predictor.num_sides=1"]


@pytest.fixture
def segment(here, octopi_command):
    """Runs `segment` on a CPU with a checkpoint; returns its exit code."""
    return lambda path: octopi_command("segment", f"checkpoint={path}", "accelerator=cpu", *WORDS)


def test_a_gpu_too_small_for_a_window_is_answered_with_run_and_setting(
    here, segment, monkeypatch, capsys
):
    save_checkpoint(here / "small.pth", make_info(voxel_spacing=20.0))

    def no_memory(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.Conv3d, "forward", no_memory)
    assert segment("small.pth") == 4
    message = capsys.readouterr().err
    assert "do not fit into the GPU's memory: going on with" in message
    assert "Run TS_01: the GPU is too small even for windows of" in message
    assert "accelerator=cpu" in message.split("octopi: ")[-1]
    assert not list((here / "overlay").rglob("*.zarr"))


@pytest.mark.parametrize(
    "content",
    [
        {"model.0.weight": torch.zeros(2)},
        {"state_dict": {"model.0.weight": torch.zeros(2)}, "epoch": 3},
        {"octopi_checkpoint": 99, "net": {"_target_": "x.Y"}, "weights": {}},
    ],
    ids=["weights alone, as octopi 1 saves", "another framework's", "a later octopi's"],
)
def test_checkpoints_of_other_programs_are_refused_by_name(here, segment, capsys, content):
    torch.save(content, here / "other.pth")
    assert segment("other.pth") == 2
    message = capsys.readouterr().err
    assert "other.pth" in message
    assert "mistake in octopi" not in message


def test_objects_that_the_project_lacks_are_named(here, segment, capsys):
    save_checkpoint(here / "other.pth", make_info(voxel_spacing=20.0))  # ribosome and virus
    assert segment("other.pth") == 0
    assert "The checkpoint finds virus, of which" in (said := capsys.readouterr().err)
    assert "ribosome" in said.partition("It has: ")[2]
