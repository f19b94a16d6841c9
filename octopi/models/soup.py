"""Average the weights of networks that began alike into one network (Wortsman et al. 2022)."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from octopi.errors import SettingError
from octopi.models.checkpoint import ENSEMBLE, Weights, ensemble_members
from octopi.models.checkpoint_info import CheckpointInfo

logger = logging.getLogger(__name__)

INITIAL_WEIGHTS_KEY = "initial_weights"  # in the provenance: a sample of what a net began with
NUM_SAMPLED = 16


def average_weights(
    loaded: Sequence[tuple[Weights, CheckpointInfo]],
) -> tuple[dict[str, torch.Tensor], CheckpointInfo]:
    """Average the weights of all networks; return those and the info of one network.

    Only networks of one architecture that began with the same weights lie near enough for that.
    Running statistics of normalisation are averaged too; what is not a floating-point number,
    such as a counter or an index, is the first network's.

    Args:
        loaded: weights and info of each checkpoint; ensembles count with all their networks.

    Raises:
        SettingError: the networks differ in architecture or in what they began with.
    """
    nets = [member for weights, info in loaded for member in split_ensemble(weights, info)]
    first, info = nets[0]
    for weights, other in nets[1:]:
        _check_can_be_averaged(info, other)
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in first.items()}:
            raise SettingError("The networks' weights differ in name or shape: no soup of them.")
    averaged = {
        name: torch.stack([w[name].double() for w, _ in nets]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }
    return averaged, info


def split_ensemble(weights: Weights, info: CheckpointInfo) -> list[tuple[Weights, CheckpointInfo]]:
    """Split an ensemble into checkpoints of one network each; return another one as it is."""
    if info.net.get("_target_") != ENSEMBLE:
        return [(weights, info)]
    provenances = info.provenance.get("folds", [])
    members = []
    for i, node in enumerate(ensemble_members(info.net)):
        prefix = f"nets.{i}."
        member_weights = {
            k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)
        }
        provenance = provenances[i] if i < len(provenances) else {}
        member_info = dataclasses.replace(info, net=dict(node), provenance=provenance)
        members.append((member_weights, member_info))
    return members


def _check_can_be_averaged(first: CheckpointInfo, other: CheckpointInfo) -> None:
    """Raise SettingError unless the mean of both networks' weights can be a network."""
    advice = "Average their scores instead: ensemble=scores."
    differences = ", ".join(
        f"{key} {first.net.get(key)} and {other.net.get(key)}"
        for key in dict.fromkeys([*first.net, *other.net])
        if first.net.get(key) != other.net.get(key)
    )
    if differences:
        raise SettingError(
            f"A soup needs networks of one architecture, not {differences}. {advice}"
        )
    first_sample, other_sample = (
        info.provenance.get(INITIAL_WEIGHTS_KEY) for info in (first, other)
    )
    if first_sample is None or other_sample is None:
        logger.warning(
            "A checkpoint of the soup does not say with which weights it began. "
            "Networks that began differently make a useless soup: compare with ensemble=scores."
        )
    elif not np.allclose(first_sample, other_sample, rtol=1e-3, atol=1e-6):
        raise SettingError(
            "A soup needs networks that began with the same weights (the same seed or "
            f"init_from); these did not. {advice}"
        )


def sample_weights(net: nn.Module) -> list[float]:
    """Sample weights at fixed positions, to compare what networks began with.

    Numbers and not a hash: initialisation may round differently on another processor.
    """
    flat_weights = torch.cat([p.detach().flatten().cpu() for p in net.parameters()])
    positions = torch.linspace(0, len(flat_weights) - 1, NUM_SAMPLED, dtype=torch.float64).long()
    return [round(value, 8) for value in flat_weights[positions].tolist()]
