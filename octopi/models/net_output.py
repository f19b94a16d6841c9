"""What the channels of a network mean, and at which grid they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from octopi.system.large_arrays import allocate

Outputs = Literal["exclusive", "independent"]
NUM_OFFSETS = 3  # channels: z, y, x


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

    def channels(self, object_names: Iterable[str]) -> list[str | int]:
        """Return what each channel is: 0 = background, names of objects, 1 to 3 = offsets."""
        background: list[str | int] = [0] if self.is_exclusive else []
        return [*background, *object_names, *range(1, 1 + NUM_OFFSETS * self.offsets)]

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
