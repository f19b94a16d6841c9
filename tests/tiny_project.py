"""A tiny copick project with tomograms, picks and targets that tests can change."""

import json

import copick
import numpy as np

from octopi.geometry import Grid, Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.targets import paint

SPACING = 10.012
SHAPE = (20, 32, 40)
OBJECTS = {"apo": 30.0, "ribosome": 60.0}
LABELS = {"apo": 1, "ribosome": 2}
TARGET = SegmentationQuery("targets", "octopi", "1", SPACING)


def make_project(folder, *, run_names, tomo_types=("wbp", "denoised")):
    """A project whose runs hold noise of their own for each tomogram type."""
    folder.mkdir(exist_ok=True)
    config = {
        "config_type": "filesystem",
        "name": "tiny",
        "description": "tiny",
        "version": "1.0.0",
        "pickable_objects": [
            {"name": name, "is_particle": True, "label": LABELS[name], "radius": radius}
            for name, radius in OBJECTS.items()
        ],
        "overlay_root": f"local://{folder}/overlay",
        "overlay_fs_args": {"auto_mkdir": True},
        "static_root": f"local://{folder}/static",
        "static_fs_args": {"auto_mkdir": True},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    (folder / "static").mkdir()
    root = copick.from_file(str(path))
    for index, name in enumerate(run_names):
        spacing = root.new_run(name).new_voxel_spacing(SPACING)
        for kind, tomo_type in enumerate(tomo_types):
            rng = np.random.default_rng((index, kind))
            volume = 5 + 3 * rng.standard_normal(SHAPE).astype(np.float32)
            spacing.new_tomogram(tomo_type).from_numpy(volume, levels=1)
    return open_project(path)


def write_target(run, *, objects=tuple(OBJECTS), grid=None, labels=LABELS, attributes=None):
    """Picks of the objects and the target painted from them; returns the picks."""
    grid = grid or Grid.cubic(SHAPE, SPACING)
    rng = np.random.default_rng(sum(map(ord, run.name)))
    truth = {}
    for name in objects:
        truth[name] = Points(rng.random((4, 3)) * (np.array(SHAPE[::-1]) * SPACING))
        run.write_picks(PicksQuery(name, "curation", "0"), truth[name])
    volume = paint(grid, {labels[n]: (p.positions, 0.5 * OBJECTS[n]) for n, p in truth.items()})
    query = SegmentationQuery("targets", "octopi", "1", round(grid.spacing[0], 3))
    attributes = {"labels": dict(labels)} if attributes is None else attributes
    run.write_segmentation(query, volume, grid=grid, attributes=attributes)
    return truth
