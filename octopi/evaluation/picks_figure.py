"""Draw picks on a slice of their tomogram."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from octopi.geometry import Grid, Points
from octopi.system.files import write_figure

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
    """Draw the slab with the most particles as a PNG: picks as circles, truth as dots.

    Args:
        path: of the PNG.
        tomogram: (z, y, x).
        grid: of the tomogram.
        picks: object name -> picks.
        truth: object name -> particles; may be empty.
        radii: object name -> Å, the size of its circles.
        colors: object name -> red, green, blue in 0..255.
    """
    particles = truth if any(map(len, truth.values())) else picks
    heights = np.concatenate([p.positions[:, 2] for p in particles.values()] or [np.zeros(0)])
    middle = _densest_height(heights, grid)
    figure = Figure(figsize=(8.5, 7), layout="constrained")
    axes = figure.subplots()
    _draw_slab(axes, tomogram, grid, middle)
    for name, radius in radii.items():
        red, green, blue = (channel / 255 for channel in colors[name][:3])
        color = (red, green, blue)
        axes.scatter([], [], s=60, facecolors="none", edgecolors=[color], label=name)
        for x, y, _ in _near(picks.get(name, Points.empty()), middle, radius):
            axes.add_patch(Circle((x, y), radius, fill=False, edgecolor=color, linewidth=1.3))
        x, y, _ = _near(truth.get(name, Points.empty()), middle, radius).T
        axes.scatter(x, y, s=14, color=[color], edgecolors="white", lw=0.5)
    title = f"z = {middle:.0f} Å; circles: picks, dots: truth"
    axes.set(xlabel="x (Å)", ylabel="y (Å)", title=title)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    write_figure(path, figure)


def _draw_slab(axes: Axes, tomogram: NDArray[np.float32], grid: Grid, middle: float) -> None:
    """Draw the mean of the slab around a height (Å), and limit the axes to it."""
    low, high = (round((middle + d * SLAB / 2) / grid.spacing[0]) for d in (-1, 1))
    slab = tomogram[max(0, low) : high + 1].mean(axis=0)
    extent = (0, grid.shape[2] * grid.spacing[2], grid.shape[1] * grid.spacing[1], 0)
    dark, bright = np.percentile(slab, [0.5, 99.5])
    axes.imshow(slab, cmap="gray", extent=extent, vmin=dark, vmax=bright)
    axes.set(xlim=extent[:2], ylim=extent[2:])


def _densest_height(heights: NDArray, grid: Grid) -> float:
    """Return the height in Å whose slab has the most particles, else the middle."""
    levels = np.arange(grid.shape[0]) * grid.spacing[0]
    if not len(heights):
        return float(levels[len(levels) // 2])
    counts = [(np.abs(heights - level) <= SLAB).sum() for level in levels]
    return float(levels[int(np.argmax(counts))])


def _near(points: Points, height: float, radius: float) -> NDArray:
    """Return the positions (n, 3) whose sphere reaches into the slab around a height, all in Å."""
    reach = max(SLAB / 2, 0.7 * radius)
    return points.positions[np.abs(points.positions[:, 2] - height) <= reach]
