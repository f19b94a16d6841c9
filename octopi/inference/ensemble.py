"""The networks of one or more checkpoints as one, ready to predict score maps."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import nn

from octopi.config.build import build_part
from octopi.errors import DataError
from octopi.inference.predictor import Predictor
from octopi.models import checkpoint
from octopi.models.checkpoint_info import (
    CheckpointInfo,
    combine_infos,
    digest,
    trained_runs,
)
from octopi.models.properties import EnsembleNet
from octopi.models.soup import average_weights
from octopi.stored_parts import Kind, names_of

logger = logging.getLogger(__name__)

PREDICTOR = Kind("predictor", Predictor, names_of(Predictor))


@dataclass(frozen=True)
class Ensemble:
    """Networks that share their objects, as one network, and how it predicts.

    Args:
        net: in evaluation mode.
        info: of their checkpoints together.
        predictor: of validation, or the one that the user chose.
        attributes: to store with what it predicts.
    """

    net: nn.Module
    info: CheckpointInfo
    predictor: Predictor
    attributes: dict[str, Any]

    def on_device(self, device: torch.device) -> Self:
        """Move the network to a device."""
        return dataclasses.replace(self, net=self.net.to(device))

    def predict(self, volume: NDArray) -> NDArray:
        """Return the score map (c, z, y, x), uint8, of a prepared tomogram (z, y, x)."""
        scores = self.predictor(
            self.net, volume, divisor=self.info.size_divisor, net_output=self.info.net_output
        )
        if len(scores) != len(self.info.labels):
            raise DataError(
                f"The network scores {len(scores)} objects, not {len(self.info.labels)}."
            )
        return scores


def load_ensemble(
    paths: Sequence[str],
    *,
    method: str,
    predictor: Mapping[str, Any],
    trust: Collection[str],
) -> Ensemble:
    """Read checkpoints and build their networks, on the CPU.

    Args:
        paths: of the checkpoints.
        method: "scores" or "soup": average the networks' scores, or their weights.
        predictor: the node of the config; without a `_target_` it changes the checkpoints' own.
        trust: full names of network and predictor classes, beside ours and MONAI's, to build.

    Raises:
        SettingError: the checkpoints do not share their objects, or the predictor does not suit
            their networks.
    """
    loaded = [checkpoint.read(path) for path in paths]
    infos = [info for _, info in loaded]
    info = combine_infos(paths, infos)
    for path, other in zip(paths, infos, strict=True):
        if other.predictor != info.predictor:
            logger.info("%s was validated with another predictor than %s.", path, paths[0])
    node, built = build_part(predictor, info.predictor, PREDICTOR, where=paths[0], trust=trust)
    if changed := [key for key, value in node.items() if value != info.predictor.get(key)]:
        logger.info("predictor.%s differs from validation.", ", predictor.".join(changed))
    built.check(info.size_divisor)
    attributes = {
        **dataclasses.asdict(info.picking),
        "predictor": node,
        "checkpoints": {path: digest(path) for path in paths},
        "ensemble": method,
        "train_runs": sorted({name for other in infos for name in trained_runs(other)}),
    }
    return Ensemble(_build_net(paths, loaded, method, trust), info, built, attributes)


def _build_net(
    paths: Sequence[str],
    loaded: Sequence[tuple[checkpoint.Weights, CheckpointInfo]],
    method: str,
    trust: Collection[str],
) -> nn.Module:
    """Build a network with the mean scores of all checkpoints or, of a soup, their mean weights."""
    if method == "soup":
        logger.info(
            "One network with the mean weights predicts; its thresholds are those of the "
            "averaged scores (ensemble=scores)."
        )
        paths, loaded = ["The soup"], [average_weights(loaded)]
    nets = [
        checkpoint.build_trained_net(weights, info, where=path, trust=trust)
        for path, (weights, info) in zip(paths, loaded, strict=True)
    ]
    return nets[0] if len(nets) == 1 else EnsembleNet(nets, loaded[0][1].net_output).eval()
