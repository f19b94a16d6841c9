"""A small network and its checkpoint."""

from pathlib import Path

from octopi.models import checkpoint
from octopi.models.checkpoint_info import CheckpointInfo

NET = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}


def make_info(**changes):
    values = {
        "net": NET,
        "labels": {"ribosome": 1, "virus": 2},
        "radii": {"ribosome": 150.0, "virus": 135.0},
        "weights": {"ribosome": 1.0, "virus": 2.0},
        "voxel_spacing": 10.012,
        "working_spacing": None,
        "tomo_types": ["denoised"],
        "size_divisor": 2,
        "predictor": {},
        "localizer": {},
        "thresholds": {"4": {"ribosome": 0.25, "virus": 0.5}},
        "beta": 4.0,
    }
    return CheckpointInfo(**(values | changes))


def save_checkpoint(path: Path, info: CheckpointInfo) -> None:
    """Save the network that an info describes, untrained."""
    checkpoint.save(path, checkpoint.build_net(info.net).state_dict(), info)
