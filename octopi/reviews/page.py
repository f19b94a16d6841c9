"""Render the places to look at as one HTML page: three slices of each, and what is decided."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import SettingError
from octopi.geometry import Grid, Points
from octopi.html_report.html import render_page
from octopi.html_report.mosaics import SLAB_RADII, cut_slab, to_grey, to_webp
from octopi.project.digests import digest_points
from octopi.project.objects import PickableObject
from octopi.project.provenance import identify_tomogram
from octopi.project.queries import TomogramQuery
from octopi.project.run import Run
from octopi.reviews.selection import Card

FORMAT, VERSION = "octopi review", 1  # of the file of decisions
PIXELS = 144  # along an edge of a slice
REACH_RADII, MIN_REACH_VOXELS = 3.0, 20  # from a place to the edges of its slices
PLANES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))  # xy, xz, yz: the axis across, then rows and columns
QUALITIES = (75, 60, 45, 30, 20)
SAMPLE_STEP = 8  # one of so many pictures is compressed to estimate the size of all
PAGE_BYTES = 100_000  # of the page without cards
CARD_BYTES = 400  # of a card without its picture
BYTES_IN_BASE64 = 4 / 3  # characters for each byte
PARTS = ("octopi.reviews/page", "octopi.html_report/page")


def describe_objects(
    radii: Mapping[str, float],
    thresholds: Mapping[str, float],
    objects: Mapping[str, PickableObject],
) -> list[dict[str, Any]]:
    """Describe the objects of the page, in the order of the radii, as its script reads them."""
    return [
        {
            "name": name,
            "color": objects[name].color[:3],
            "radius": radius,
            "threshold": thresholds[name],
        }
        for name, radius in radii.items()
    ]


@dataclass(frozen=True)
class PageRun:
    """A run of the page.

    Args:
        run: of the project.
        tomogram: that is shown.
        picks: object name -> the picks that are reviewed; objects without a file are left out.
        expected_mistakes: how many of its picks are expected to be wrong or missed.
    """

    run: Run
    tomogram: TomogramQuery
    picks: Mapping[str, Points]
    expected_mistakes: float


def build_page(
    cards: Sequence[Card],
    runs: Sequence[PageRun],
    objects: Sequence[Mapping[str, Any]],
    *,
    max_bytes: float,
    texts: Mapping[str, Any],
) -> tuple[str, str]:
    """Render the page; return its id and its text.

    Args:
        cards: places to look at, in their order.
        runs: that the cards are of, the one with most to gain first.
        objects: of the page, see `describe_objects`.
        max_bytes: of the page.
        texts: further content: title, picks, annotations, command.

    Raises:
        SettingError: the bytes are too few for this many cards.
    """
    radii = {one["name"]: one["radius"] for one in objects}
    by_number: dict[int, tuple[dict[str, Any], NDArray[np.uint8]]] = {}
    states = {}
    for run in runs:
        numbered = {i: card for i, card in enumerate(cards) if card.run_name == run.run.name}
        if numbered:
            states[run.run.name], rendered = render_run(run, numbered, radii)
            by_number |= rendered
    content = {
        "format": FORMAT,
        "version": VERSION,
        "objects": objects,
        "runs": states,
        "mistakes": [[run.run.name, round(run.expected_mistakes, 1)] for run in runs],
        "pixels": PIXELS,
        "cards": [by_number[i][0] for i in range(len(cards))],
    }
    page_id = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    available = (max_bytes - PAGE_BYTES - CARD_BYTES * len(cards)) / BYTES_IN_BASE64
    pictures = compress_pictures([by_number[i][1] for i in range(len(cards))], available)
    text = render_page(
        {**content, **texts, "id": page_id},
        {"pictures": [base64.b64encode(picture).decode() for picture in pictures]},
        title=f"{texts['title']} · octopi review",
        parts=PARTS,
    )
    return page_id, text


def is_page(path: Path, page_id: str) -> bool:
    """Return whether a file is the page of this id."""
    return f'"id":"{page_id}"'.encode() in path.read_bytes()


def render_run(
    shown: PageRun, cards: Mapping[int, Card], radii: Mapping[str, float]
) -> tuple[dict[str, Any], dict[int, tuple[dict[str, Any], NDArray[np.uint8]]]]:
    """Render the places of a run, by their numbers.

    Returns:
        The state of the run, which tells later whether it has changed, and what the page reads of
        each place, with its picture.
    """
    run, tomogram = shown.run, shown.tomogram
    volume, grid = run.read_tomogram(tomogram), run.tomogram_grid(tomogram)
    state = {
        "tomogram": identify_tomogram(run, tomogram, volume),
        "picks": {name: digest_points(points) for name, points in shown.picks.items()},
    }
    rendered = {}
    for number, card in cards.items():
        radius = radii[card.object_name]
        reach = reach_of(radius, grid)
        content = {**asdict(card), "reach": reach, "nearby": _nearby(card, shown.picks, reach)}
        rendered[number] = content, render_slices(volume, grid, card, radius=radius)
    return state, rendered


def reach_of(radius: float, grid: Grid) -> float:
    """Return how far the slices around an object's place reach, Å."""
    return max(REACH_RADII * radius, MIN_REACH_VOXELS * max(grid.spacing))


def render_slices(
    volume: NDArray[np.float32], grid: Grid, card: Card, *, radius: float
) -> NDArray[np.uint8]:
    """Render the slices of a place: xy, xz and yz beside one another, with a contrast of its own.

    Each averages a slab SLAB_RADII of the object thick.
    """
    (voxel,), reach = grid.to_voxels([card.position]), reach_of(radius, grid)
    slices = [
        cut_slab(
            volume.transpose(plane),
            [grid.spacing[axis] for axis in plane],
            voxel[list(plane)],
            slab=SLAB_RADII * radius,
            reach=reach,
            pixels=PIXELS,
        )
        for plane in PLANES
    ]
    return np.concatenate(list(to_grey(np.stack(slices))), axis=1)


def compress_pictures(strips: Sequence[NDArray[np.uint8]], max_bytes: float) -> list[bytes]:
    """Compress the pictures as little as the bytes for all of them allow."""
    for quality in QUALITIES:
        sample = [len(to_webp(strip, quality)) for strip in strips[::SAMPLE_STEP]]
        if sum(sample) / len(sample) * len(strips) > max_bytes:
            continue
        pictures = [to_webp(strip, quality) for strip in strips]
        if sum(map(len, pictures)) <= max_bytes:
            return pictures
    raise SettingError(
        f"{len(strips)} places do not fit into a page of so few bytes, however their pictures are "
        "compressed. Show fewer with num=…, or allow more with max_megabytes=…"
    )


def _nearby(card: Card, picks: Mapping[str, Points], reach: float) -> list[list[Any]]:
    """Return the picks that lie within the box of a place: object name, and x y z from it, Å."""
    out = []
    for name, points in picks.items():
        offsets = points.positions - card.position
        inside = offsets[np.all(np.abs(offsets) <= reach, axis=1)]
        out += [[name, *np.round(offset, 1).tolist()] for offset in inside]
    return out
