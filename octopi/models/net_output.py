"""What the channels of a network mean, and at which grid they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from octopi.system.large_arrays import allocate

Outputs = Literal["exclusive", "independent"]
NUM_OFFSETS = 3  # channels: z, y, x
MIN_SHARE = 1e-12  # scores below have no logarithm


@dataclass(frozen=True)
class NetOutput:
    """The meaning of a network's logits (b, c, z, y, x).

    Args:
        outputs: exclusive = a softmax over background and the objects, of which a voxel is one;
            independent = a sigmoid for each object, without background, so that objects overlap.
        stride: voxels of the input along an edge of a voxel of the output.
        offsets: whether the last three channels are the way to the particle's centre, z y x, in
            voxels of the output; scores gather there.
    """

    outputs: Outputs = "exclusive"
    stride: Annotated[int, Field(ge=1, le=64)] = 1
    offsets: bool = False

    @property
    def is_exclusive(self) -> bool:
        """Whether a voxel is one object at most."""
        return self.outputs == "exclusive"

    def num_channels(self, num_objects: int) -> int:
        """Return how many channels a network has for so many objects."""
        return num_objects + self.is_exclusive + NUM_OFFSETS * self.offsets

    def channels(self, object_names: Sequence[str]) -> list[str | int]:
        """Return what each channel is: 0 = background, names of objects, 1 to 3 = offsets."""
        background: list[str | int] = [0] if self.is_exclusive else []
        return [*background, *object_names, *range(1, 1 + NUM_OFFSETS * self.offsets)]

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the classes, and the offsets; without any these have no channel."""
        last = logits.shape[1] - NUM_OFFSETS * self.offsets
        return logits[:, :last], logits[:, last:]

    def scores(self, logits: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the scores (b, object, z, y, x), 0..1, on the grid of the input.

        Args:
            logits: float32, (b, c, z, y, x).
            shape: of the input, voxels z y x.
        """
        logits, offsets = self.split(logits)
        scores = logits.softmax(dim=1)[:, 1:] if self.is_exclusive else logits.sigmoid()
        if self.offsets:
            scores = gather_scores(scores, offsets)
        if self.stride == 1:
            return scores
        return functional.interpolate(scores, tuple(shape), mode="trilinear", align_corners=False)

    def mean_logits(self, all_logits: Sequence[Tensor]) -> Tensor:
        """Return logits whose scores are the mean of several networks' scores; and mean offsets."""
        classes, offsets = zip(*map(self.split, all_logits), strict=True)
        if self.is_exclusive:
            total = torch.as_tensor(sum(torch.softmax(out, dim=1) for out in classes))
            mean_logits = torch.log((total / len(classes)).clamp_min(MIN_SHARE))
        else:
            mean = torch.as_tensor(sum(out.double().sigmoid() for out in classes)) / len(classes)
            mean_logits = torch.logit(mean, eps=MIN_SHARE).to(classes[0].dtype)
        if not self.offsets:
            return mean_logits
        return torch.cat([mean_logits, torch.stack(offsets).mean(dim=0)], dim=1)

    def segmentation(self, scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the label volume (z, y, x) of a score map (c, z, y, x).

        Of exclusive outputs a voxel takes the best class, background 0 included; of independent
        ones the best object with a score of at least one half.
        """
        out = allocate(scores.shape[1:], np.uint8, purpose="A segmentation")
        for z in range(scores.shape[1]):
            plane = scores[:, z]
            best = plane.argmax(axis=0)
            if self.is_exclusive:
                background = 255 - np.minimum(plane.sum(axis=0, dtype=np.int32), 255)
                is_object = plane.max(axis=0) > background
            else:
                is_object = plane.max(axis=0) >= 128
            out[z] = np.where(is_object, best + 1, 0)
        return out


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
