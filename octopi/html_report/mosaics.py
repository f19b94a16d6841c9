"""Render volumes as pictures a browser can open: slices side by side, binned, in eight bits."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.util import montage

from octopi.geometry import Grid, Points

MAX_EDGE = 320  # voxels along the longest edge of a mosaic's volume
MAX_VOXELS = 12_000_000  # of a mosaic's volume: the largest picture that every phone opens
QUALITIES = (80, 70, 60, 50, 40)
SAMPLE_STEP = 8  # one of so many slices is compressed to estimate the size of all
SCORE_LEVELS = 15  # a score is stored as its square root in four bits, fine where it is low
CROP_QUALITY = 50
CROP = 40  # pixels along an edge of a particle's picture
CROP_RADII = 2.0  # radii from the middle of a particle's picture to its edge
SLAB_RADII = 0.5  # radii, thickness of the slab that a particle's picture averages
CLIPPED_PERCENT = 0.5  # of the voxels become black, and as many white


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
        """Convert to what the page's script reads."""
        return {**asdict(self), "picture": data_url(self.picture)}


def data_url(picture: bytes) -> str:
    """Return a WebP as a data URL."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def tomogram_mosaic(volume: NDArray[np.float32], grid: Grid, *, max_bytes: int) -> Mosaic:
    """Render the tomogram in grey, binned and compressed as little as the bytes allow."""
    factor = _factor(grid.shape)
    while True:
        binned = _blocks(volume, factor).mean(axis=(1, 3, 5)) if factor > 1 else volume
        grey = to_grey(binned)
        for quality in QUALITIES:
            sample = len(to_webp(_tile(grey[::SAMPLE_STEP])[0], quality))
            if sample * len(grey) / len(grey[::SAMPLE_STEP]) > max_bytes:
                continue
            sheet, columns = _tile(grey)
            picture = to_webp(sheet, quality)
            if len(picture) <= max_bytes:
                return Mosaic(
                    picture, columns, *_coarse_geometry(grid, factor, grey.shape), quality
                )
        if max(grey.shape) <= 32:
            raise ValueError(f"{max_bytes} bytes are too few for any picture of a tomogram.")
        factor += 1


def score_mosaic(scores: NDArray[np.uint8], grid: Grid, numbers: Sequence[int]) -> Mosaic:
    """Render the highest score of each voxel, in red, and the object that has it, in green.

    Args:
        scores: (c, z, y, x), 0..255 for 0..1.
        grid: of the scores.
        numbers: of the channels' objects, in the order of the page.
    """
    factor = _factor(grid.shape)
    best = np.zeros(tuple(-(-n // factor) for n in grid.shape), dtype=np.uint8)
    best_number = np.zeros_like(best)
    for number, channel in zip(numbers, scores, strict=True):
        highest = _blocks(channel, factor).max(axis=(1, 3, 5))
        best_number[highest > best] = number
        np.maximum(best, highest, out=best)
    level = np.rint(np.sqrt(best / 255) * SCORE_LEVELS).astype(np.uint8)
    best_number[level == 0] = 0
    red, columns = _tile(level * (255 // SCORE_LEVELS))
    green, _ = _tile(best_number)
    sheet = Image.fromarray(np.stack([red, green, np.zeros_like(red)], axis=-1))
    picture = compress(sheet, lossless=True, quality=60)
    return Mosaic(picture, columns, *_coarse_geometry(grid, factor, best.shape), 100)


def particle_gallery(
    volume: NDArray[np.float32], grid: Grid, points: Points, *, radius: float
) -> dict[str, Any]:
    """Render a thin slab around each point at full resolution, all in one picture."""
    slabs = [
        cut_slab(
            volume,
            grid.spacing,
            voxel,
            slab=SLAB_RADII * radius,
            reach=CROP_RADII * radius,
            pixels=CROP,
        )
        for voxel in grid.to_voxels(points.positions)
    ]
    if not slabs:
        return {"picture": None, "columns": 1, "size": CROP, "num": 0}
    sheet, columns = _tile(to_grey(np.stack(slabs)))
    picture = to_webp(sheet, CROP_QUALITY)
    return {"picture": data_url(picture), "columns": columns, "size": CROP, "num": len(slabs)}


def to_grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert to eight bits, with CLIPPED_PERCENT of the voxels black and as many white."""
    dark, bright = np.percentile(
        values[:: max(1, len(values) // 64)], [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT]
    )
    scaled = (values - dark) / max(float(bright - dark), 1e-12)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def to_webp(sheet: NDArray[np.uint8], quality: int) -> bytes:
    """Compress a picture (y, x) in grey as WebP."""
    return compress(Image.fromarray(sheet).convert("RGB"), quality=quality)


def compress(image: Image.Image, **options: Any) -> bytes:
    """Compress a picture as WebP, by options of Pillow's writer."""
    out = io.BytesIO()
    image.save(out, "WEBP", method=3, **options)
    return out.getvalue()


def cut_slab(
    volume: NDArray[np.float32],
    spacing: Sequence[float],
    voxel: Sequence[float] | NDArray[np.float64],
    *,
    slab: float,
    reach: float,
    pixels: int,
) -> NDArray[np.float32]:
    """Average a slab across the first axis around a point; pad with grey outside of the volume.

    Args:
        volume: its axes in any order.
        spacing: Å, of its axes.
        voxel: of the point, along its axes.
        slab: Å, thickness.
        reach: Å, from the point to the edges of the picture.
        pixels: along an edge of the picture.
    """
    half = [slab / 2 / spacing[0], *(reach / s for s in spacing[1:])]
    ends = [(math.floor(v - h), math.ceil(v + h) + 1) for v, h in zip(voxel, half, strict=True)]
    inside = [
        slice(min(max(a, 0), n - 1), max(min(b, n), 1))
        for (a, b), n in zip(ends, volume.shape, strict=True)
    ]
    crop = volume[tuple(inside)].mean(axis=0)
    _, (top, bottom), (start, end) = ends
    padding = [
        (max(inside[1].start - top, 0), max(bottom - inside[1].stop, 0)),
        (max(inside[2].start - start, 0), max(end - inside[2].stop, 0)),
    ]
    padded = np.pad(crop, padding, constant_values=float(crop.mean()))
    x, y = voxel[2] - half[2] - start + 0.5, voxel[1] - half[1] - top + 0.5
    box = (x, y, min(x + 2 * half[2], padded.shape[1]), min(y + 2 * half[1], padded.shape[0]))
    image = Image.fromarray(np.ascontiguousarray(padded, dtype=np.float32))
    return np.asarray(image.resize((pixels, pixels), Image.Resampling.BICUBIC, box=box))


def _factor(shape: Sequence[int]) -> int:
    """Return how many voxels along each edge are binned to one."""
    factor = math.ceil(max(shape) / MAX_EDGE)
    while math.prod(-(-n // factor) for n in shape) > MAX_VOXELS:
        factor += 1
    return factor


def _blocks(volume: NDArray, factor: int) -> NDArray:
    """Split the volume into cubes; fill cubes cut off at the far faces with the face's values."""
    missing = [(0, -n % factor) for n in volume.shape]
    full = np.pad(volume, missing, mode="edge") if np.any(missing) else volume
    z, y, x = (n // factor for n in full.shape)
    return full.reshape(z, factor, y, factor, x, factor)


def _coarse_geometry(
    grid: Grid, factor: int, shape: Sequence[int]
) -> tuple[tuple[int, int, int], tuple[float, float, float], tuple[float, float, float]]:
    z, y, x = grid.spacing
    shift = (factor - 1) / 2
    return (
        (int(shape[0]), int(shape[1]), int(shape[2])),
        (z * factor, y * factor, x * factor),
        (z * shift, y * shift, x * shift),
    )


def _tile(slices: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Arrange the slices in rows, about as wide as high; return the sheet and slices in a row."""
    num, height, width = slices.shape
    columns = max(1, min(num, round(math.sqrt(num * height / width))))
    return montage(slices, fill=0, grid_shape=(-(-num // columns), columns)), columns
