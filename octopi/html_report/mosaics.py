"""Volumes as pictures a browser can open: slices side by side, coarser and in eight bits."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from octopi.geometry import Grid, Points

LONGEST = 320  # voxels along the longest side of what is shown
MAX_VOXELS = 12_000_000  # voxels in all: the largest picture that every phone opens
QUALITIES = (80, 70, 60, 50, 40)
SAMPLED = 8  # every so many slices are tried before all of them are compressed
LEVELS = 15  # of a score: its square root in four bits, fine where scores are low
CROP_QUALITY = 50
CROP = 40  # pixels along a side of a particle's picture
REACH = 2.0  # radii from the middle of such a picture to its edge
SLAB = 0.5  # radii, thickness of the slab it shows
CLIPPED_PERCENT = 0.5  # percent of voxels that may be darker than black, and brighter than white


@dataclass(frozen=True)
class Mosaic:
    """Slices of a volume side by side in one picture.

    Args:
        picture: WebP.
        columns: slices in a row.
        shape: of the volume, (z, y, x).
        spacing: Å, (z, y, x).
        origin: Å, (z, y, x), of the first voxel's centre.
        quality: of the compression; 100 is without loss.
    """

    picture: bytes
    columns: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    quality: int

    def to_dict(self) -> dict[str, Any]:
        """The mosaic as the page reads it."""
        return {
            "picture": data_url(self.picture),
            "columns": self.columns,
            "shape": self.shape,
            "spacing": self.spacing,
            "origin": self.origin,
            "quality": self.quality,
        }


def data_url(picture: bytes, kind: str = "webp") -> str:
    """The picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def tomogram_mosaic(volume: NDArray[np.float32], grid: Grid, *, max_bytes: int) -> Mosaic:
    """The tomogram in grey, binned and compressed as little as the bytes allow."""
    factor = _factor(grid.shape)
    while True:
        binned = _binned(volume, factor)
        grey = _grey(binned)
        for quality in QUALITIES:
            sample = len(_webp(_tiled(grey[::SAMPLED])[0], quality))
            if sample * len(grey) / len(grey[::SAMPLED]) > max_bytes:
                continue
            sheet, columns = _tiled(grey)
            picture = _webp(sheet, quality)
            if len(picture) <= max_bytes:
                return Mosaic(picture, columns, *_coarse(grid, factor, grey.shape), quality)
        if max(grey.shape) <= 32:
            raise ValueError(f"{max_bytes} bytes are too few for any picture of a tomogram.")
        factor += 1


def score_mosaic(scores: NDArray[np.uint8], grid: Grid, numbers: Sequence[int]) -> Mosaic:
    """Of each voxel the object with the highest score, in green, and that score, in red.

    Args:
        scores: (c, z, y, x), 0..255 for 0..1.
        grid: of the scores.
        numbers: of the channels' objects.
    """
    factor = _factor(grid.shape)
    best = np.zeros(tuple(-(-n // factor) for n in grid.shape), dtype=np.uint8)
    which = np.zeros_like(best)
    for number, channel in zip(numbers, scores, strict=True):
        highest = _blocks(channel, factor).max(axis=(1, 3, 5))
        which[highest > best] = number
        np.maximum(best, highest, out=best)
    level = np.rint(np.sqrt(best / 255) * LEVELS).astype(np.uint8)
    which[level == 0] = 0
    red, columns = _tiled(level * (255 // LEVELS))
    green, _ = _tiled(which)
    picture = _lossless(np.stack([red, green, np.zeros_like(red)], axis=-1))
    return Mosaic(picture, columns, *_coarse(grid, factor, best.shape), 100)


def particle_gallery(
    volume: NDArray[np.float32], grid: Grid, points: Points, *, radius: float
) -> dict[str, Any]:
    """Each point's neighbourhood in a thin slab at full resolution, all in one picture."""
    cut = [
        _neighbourhood(volume, grid, voxel, radius) for voxel in grid.to_voxels(points.positions)
    ]
    if not cut:
        return {"picture": None, "columns": 1, "size": CROP, "num": 0}
    sheet, columns = _tiled(_grey(np.stack(cut)))
    picture = _webp(sheet, CROP_QUALITY)
    return {"picture": data_url(picture), "columns": columns, "size": CROP, "num": len(cut)}


def _neighbourhood(
    volume: NDArray[np.float32], grid: Grid, voxel: NDArray[np.float64], radius: float
) -> NDArray[np.float32]:
    """The slab around a point, on CROP by CROP pixels; what is outside the volume is grey."""
    half = [SLAB / 2 * radius / grid.spacing[0], *(REACH * radius / s for s in grid.spacing[1:])]
    ends = [(math.floor(v - h), math.ceil(v + h) + 1) for v, h in zip(voxel, half, strict=True)]
    inside = [
        slice(min(max(a, 0), n - 1), max(min(b, n), 1))
        for (a, b), n in zip(ends, grid.shape, strict=True)
    ]
    held = volume[tuple(inside)].mean(axis=0)
    (_, _), (top, bottom), (left, right) = ends
    around = [
        (max(inside[1].start - top, 0), max(bottom - inside[1].stop, 0)),
        (max(inside[2].start - left, 0), max(right - inside[2].stop, 0)),
    ]
    slab = np.pad(held, around, constant_values=float(held.mean()))
    x, y = voxel[2] - half[2] - left + 0.5, voxel[1] - half[1] - top + 0.5
    box = (x, y, min(x + 2 * half[2], slab.shape[1]), min(y + 2 * half[1], slab.shape[0]))
    image = Image.fromarray(np.ascontiguousarray(slab, dtype=np.float32))
    return np.asarray(image.resize((CROP, CROP), Image.Resampling.BICUBIC, box=box))


def _factor(shape: Sequence[int]) -> int:
    """How many voxels along each side become one."""
    factor = math.ceil(max(shape) / LONGEST)
    while math.prod(-(-n // factor) for n in shape) > MAX_VOXELS:
        factor += 1
    return factor


def _blocks(volume: NDArray, factor: int) -> NDArray:
    """The volume in cubes of that side; cubes cut off at the far faces are filled with the face."""
    missing = [(0, -n % factor) for n in volume.shape]
    full = np.pad(volume, missing, mode="edge") if np.any(missing) else volume
    z, y, x = (n // factor for n in full.shape)
    return full.reshape(z, factor, y, factor, x, factor)


def _binned(volume: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    return volume if factor == 1 else _blocks(volume, factor).mean(axis=(1, 3, 5))


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    dark, bright = np.percentile(
        values[:: max(1, len(values) // 64)], [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT]
    )
    scaled = (values - dark) / max(float(bright - dark), 1e-12)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _coarse(
    grid: Grid, factor: int, shape: Sequence[int]
) -> tuple[tuple[int, int, int], tuple[float, float, float], tuple[float, float, float]]:
    z, y, x = grid.spacing
    shift = (factor - 1) / 2
    return (
        (int(shape[0]), int(shape[1]), int(shape[2])),
        (z * factor, y * factor, x * factor),
        (z * shift, y * shift, x * shift),
    )


def _tiled(slices: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """The slices in rows, about as wide as high, and how many are in a row."""
    num, height, width = slices.shape
    columns = max(1, min(num, round(math.sqrt(num * height / width))))
    rows = -(-num // columns)
    sheet = np.zeros((rows * columns, height, width), dtype=np.uint8)
    sheet[:num] = slices
    sheet = sheet.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return sheet.reshape(rows * height, columns * width), columns


def _webp(sheet: NDArray[np.uint8], quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(sheet).convert("RGB").save(out, "WEBP", quality=quality, method=3)
    return out.getvalue()


def _lossless(sheet: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "WEBP", lossless=True, quality=60, method=3)
    return out.getvalue()
