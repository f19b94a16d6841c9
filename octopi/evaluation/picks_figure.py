"""Picks on a slice of their tomogram, as a PNG that can be looked at anywhere."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from octopi.geometry import Grid, Points

SLAB = 60.0  # Å, thickness of the slab that is averaged and whose picks are drawn


def draw_picks(
    path: Path,
    tomogram: NDArray[np.float32],
    grid: Grid,
    *,
    picks: Mapping[str, Points],
    truth: Mapping[str, Points],
    radii: Mapping[str, float],
    colors: Mapping[str, tuple[int, ...]],
) -> None:
    """The PNG shows the slab with the most particles: picks as circles, truth as dots.

    Args:
        path: of the PNG.
        tomogram: (z, y, x).
        grid: of the tomogram.
        picks: object name -> picks.
        truth: object name -> particles; may be empty.
        radii: object name -> Å, the size of its circles.
        colors: object name -> red, green, blue in 0..255.
    """
    shown = truth if any(map(len, truth.values())) else picks
    heights = np.concatenate([p.positions[:, 2] for p in shown.values()] or [np.zeros(0)])
    middle = _densest_height(heights, grid)
    figure = Figure(figsize=(8.5, 7), layout="constrained")
    axes = figure.subplots()
    low, high = (round((middle + d * SLAB / 2) / grid.spacing[0]) for d in (-1, 1))
    slab = tomogram[max(0, low) : high + 1].mean(axis=0)
    extent = (0, grid.shape[2] * grid.spacing[2], grid.shape[1] * grid.spacing[1], 0)
    dark, bright = np.percentile(slab, [0.5, 99.5])
    axes.imshow(slab, cmap="gray", extent=extent, vmin=dark, vmax=bright)
    for name, radius in radii.items():
        red, green, blue = (channel / 255 for channel in colors[name][:3])
        color = (red, green, blue)
        found = _near(picks.get(name, Points.empty()), middle, radius)
        axes.scatter([], [], s=60, facecolors="none", edgecolors=[color], label=name)
        for x, y, _ in found:
            axes.add_patch(Circle((x, y), radius, fill=False, edgecolor=color, linewidth=1.3))
        there = _near(truth.get(name, Points.empty()), middle, radius)
        axes.scatter(there[:, 0], there[:, 1], s=14, color=[color], edgecolors="white", lw=0.5)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.set(
        xlabel="x (Å)", ylabel="y (Å)", title=f"z = {middle:.0f} Å; circles: picks, dots: truth"
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def _densest_height(heights: NDArray, grid: Grid) -> float:
    """The height (Å) whose slab holds the most particles; the middle where there are none."""
    levels = np.arange(grid.shape[0]) * grid.spacing[0]
    if not len(heights):
        return float(levels[len(levels) // 2])
    counts = [(np.abs(heights - level) <= SLAB).sum() for level in levels]
    return float(levels[int(np.argmax(counts))])


def _near(points: Points, height: float, radius: float) -> NDArray:
    """Positions whose sphere reaches into the slab."""
    reach = max(SLAB / 2, 0.7 * radius)
    return points.positions[np.abs(points.positions[:, 2] - height) <= reach]
