"""Hashes of content: the same voxels or points have the same, wherever they are stored."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.geometry import Points


def digest_points(points: Points) -> str:
    """Return a hash (sha256, hex) of the positions."""
    return digest_array(np.asarray(points.positions, np.float64))


def digest_array(values: NDArray[Any]) -> str:
    """Return a hash (sha256, hex) of an array's type, shape and values."""
    digest = hashlib.sha256(f"{values.dtype} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def digest_picks(content: Mapping[str, Any]) -> str:
    """Return a hash (sha256, hex) of all that a file of picks says of its points."""
    fields = [content.get("unit"), content.get("trust_orientation"), content.get("points")]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
