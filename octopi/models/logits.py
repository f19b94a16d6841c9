"""Scores and offsets from the logits of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from octopi.models.net_output import NUM_OFFSETS, NetOutput

MIN_SHARE = 1e-12  # scores below have no logarithm


def split_logits(logits: Tensor, net_output: NetOutput) -> tuple[Tensor, Tensor]:
    """Return the logits of the classes, and the offsets; without any these have no channel."""
    last = logits.shape[1] - NUM_OFFSETS * net_output.offsets
    return logits[:, :last], logits[:, last:]


def to_scores(logits: Tensor, net_output: NetOutput, shape: Sequence[int]) -> Tensor:
    """Return the scores (b, object, z, y, x), 0..1, on the grid of the input.

    Args:
        logits: float32, (b, c, z, y, x).
        net_output: what they mean.
        shape: of the input, voxels z y x.
    """
    logits, offsets = split_logits(logits, net_output)
    scores = logits.softmax(dim=1)[:, 1:] if net_output.is_exclusive else logits.sigmoid()
    if net_output.offsets:
        scores = gather_scores(scores, offsets)
    if net_output.stride == 1:
        return scores
    return functional.interpolate(scores, tuple(shape), mode="trilinear", align_corners=False)


def mean_logits(all_logits: Sequence[Tensor], net_output: NetOutput) -> Tensor:
    """Return logits whose scores are the mean of several networks' scores; and mean offsets."""
    pairs = (split_logits(logits, net_output) for logits in all_logits)
    classes, offsets = zip(*pairs, strict=True)
    if net_output.is_exclusive:
        total = torch.as_tensor(sum(torch.softmax(out, dim=1) for out in classes))
        mean_logits = torch.log((total / len(classes)).clamp_min(MIN_SHARE))
    else:
        mean = torch.as_tensor(sum(out.double().sigmoid() for out in classes)) / len(classes)
        mean_logits = torch.logit(mean, eps=MIN_SHARE).to(classes[0].dtype)
    if not net_output.offsets:
        return mean_logits
    return torch.cat([mean_logits, torch.stack(offsets).mean(dim=0)], dim=1)


def gather_scores(scores: Tensor, offsets: Tensor) -> Tensor:
    """Move the score of each voxel to where its offset points; the greatest that arrives counts.

    Args:
        scores: (b, c, z, y, x).
        offsets: (b, 3, z, y, x), z y x, in voxels; what points outside is left out.
    """
    shape = torch.tensor(scores.shape[2:], device=scores.device).view(1, 3, 1, 1, 1)
    axes = [torch.arange(n, device=scores.device) for n in scores.shape[2:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + offsets.round().nan_to_num()
    is_inside = ((places >= 0) & (places < shape)).all(dim=1, keepdim=True)
    z, y, x = torch.where(is_inside, places, 0).long().unbind(1)
    flat = ((z * scores.shape[3] + y) * scores.shape[4] + x)[:, None].expand_as(scores)
    values = torch.where(is_inside, scores, 0)
    out = torch.zeros_like(scores).flatten(2)
    return out.scatter_reduce(2, flat.flatten(2), values.flatten(2), "amax").view_as(scores)
