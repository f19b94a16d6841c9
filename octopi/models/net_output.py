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
MIN_SHARE = 1e-12  # scores below have no logarithm


@dataclass(frozen=True)
class NetOutput:
    """The meaning of a network's logits (b, c, z, y, x).

    Args:
        outputs: exclusive = a softmax over background and the objects, of which a voxel is one;
            independent = a sigmoid for each object, without background, so that objects overlap.
        stride: voxels of the input along an edge of a voxel of the output.
    """

    outputs: Outputs = "exclusive"
    stride: Annotated[int, Field(ge=1, le=64)] = 1

    @property
    def is_exclusive(self) -> bool:
        """Whether a voxel is one object at most."""
        return self.outputs == "exclusive"

    def num_channels(self, num_objects: int) -> int:
        """Return how many channels a network has for so many objects."""
        return num_objects + self.is_exclusive

    def scores(self, logits: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the scores (b, object, z, y, x), 0..1, on the grid of the input.

        Args:
            logits: float32, (b, c, z, y, x).
            shape: of the input, voxels z y x.
        """
        scores = logits.softmax(dim=1)[:, 1:] if self.is_exclusive else logits.sigmoid()
        if self.stride == 1:
            return scores
        return functional.interpolate(scores, tuple(shape), mode="trilinear", align_corners=False)

    def mean_logits(self, all_logits: Sequence[Tensor]) -> Tensor:
        """Return logits whose scores are the mean of several networks' scores."""
        if self.is_exclusive:
            total = torch.as_tensor(sum(torch.softmax(out, dim=1) for out in all_logits))
            return torch.log((total / len(all_logits)).clamp_min(MIN_SHARE))
        mean = torch.as_tensor(sum(out.double().sigmoid() for out in all_logits)) / len(all_logits)
        return torch.logit(mean, eps=MIN_SHARE).to(all_logits[0].dtype)

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
