"""Build the network of a training, and the weights that it begins with."""

import logging
from collections.abc import Sequence

import torch
from torch import nn

from octopi.config.build import build
from octopi.config.settings import TrainSettings
from octopi.errors import shorten_list
from octopi.models import checkpoint
from octopi.models.net_output import NetOutput
from octopi.picking import sort_by_label
from octopi.training.dataset_info import DatasetInfo
from octopi.training.painters import Offsets, Painter, Spheres

logger = logging.getLogger(__name__)


def build_net(settings: TrainSettings, info: DatasetInfo, painter: Painter | Spheres) -> nn.Module:
    """Build the network, with another training's weights where `init_from` names one."""
    output = NetOutput(settings.outputs, offsets=isinstance(painter, Offsets))
    channels = output.channels(sort_by_label(info.labels))
    net: nn.Module = build(settings.model, "model", out_channels=len(channels))
    if settings.init_from:
        with torch.random.fork_rng(devices=[]):
            wider = build(settings.model, "model", out_channels=len(channels) + 1)
        load_initial_weights(net, wider, channels, settings.init_from)
    return net


def load_initial_weights(
    net: nn.Module, wider: nn.Module, channels: Sequence[str | int], path: str
) -> None:
    """Load the weights of a checkpoint, in the head those of the channels that both have.

    Args:
        net: is changed.
        wider: the same network with one more channel.
        channels: of the network, see `NetOutput.channels`.
        path: of the checkpoint.
    """
    weights, info = checkpoint.read(path)
    old_channels = info.net_output.channels(info.object_names)
    kept = [channel for channel in channels if channel in old_channels]
    new_objects = [name for name in channels if name not in kept and isinstance(name, str)]
    new_weights = checkpoint.load_matching_weights(
        net,
        weights,
        checkpoint.find_channel_axes(net, wider),
        [(channels.index(channel), old_channels.index(channel)) for channel in kept],
    )
    logger.info(
        "init_from %s, which knows %s: in the last layers %s are kept, %s are new. New in whole or "
        "part: %s; all other weights are loaded.",
        path,
        shorten_list(info.object_names),
        shorten_list(name for name in kept if isinstance(name, str)) or "no objects",
        shorten_list(new_objects) or "none",
        shorten_list(new_weights) or "none",
    )
