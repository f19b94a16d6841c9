"""Volumes and configs as other programs and people leave them in a project."""

import json
from pathlib import Path

import copick
import zarr


def add_segmentation(here, volume, *, run="TS_01", name="sheet", multilabel=True):
    """Write a label volume as someone/0 with copick, voxels as they are; return its store."""
    root = copick.from_file(str(here / "project.json"))
    item = root.get_run(run).new_segmentation(20.0, name, "0", multilabel, user_id="someone")
    item.from_numpy((volume != 0).astype("u1"))
    array = Path(item.path) / "0"
    zarr.open_array(
        zarr.DirectoryStore(array, dimension_separator="/"),
        mode="w", shape=volume.shape, chunks=(24, 24, 24), dtype=volume.dtype,
    )[:] = volume  # fmt: skip
    return array.parent


def change_object(here, object_name, **fields):
    """Change fields of an object in the copick config."""
    path = here / "project.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    next(obj for obj in config["pickable_objects"] if obj["name"] == object_name).update(fields)
    path.write_text(json.dumps(config), encoding="utf-8")
