"""Tiny copick projects of plain files, and memory:// overlays that stand for remote storage."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr

from octopi.project import open_project

OBJECTS = [
    {"name": "ribosome", "is_particle": True, "label": 1, "radius": 150.0},
    {"name": "apo-ferritin", "is_particle": True, "label": 2, "radius": 60.0},
    {"name": "membrane", "is_particle": False, "label": 3},
]


@dataclass
class Files:
    """The files of one copick project."""

    folder: Path
    overlay: str

    def config(self, name="project.json", **changes):
        content = {
            "config_type": "filesystem",
            "pickable_objects": OBJECTS,
            "static_root": f"local://{self.folder}/static",
            "overlay_root": self.overlay,
            **changes,
        }
        path = self.folder / name
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
        return path

    def open(self):
        return open_project(self.config())

    def run(self, name="TS_1"):
        return self.open().select([name])[0]

    def at(self, *parts, run="TS_1"):
        return self.folder.joinpath("static", "ExperimentRuns", run, *parts)

    @staticmethod
    def noise(shape=(8, 8, 8)):
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)

    @staticmethod
    def point(x, y, z, **fields):
        return {"location": {"x": x, "y": y, "z": z}, **fields}

    def add_tomogram(self, volume, *, run="TS_1", name="wbp", folder="10.000", scale=10, **kwargs):
        path = self.at(f"VoxelSpacing{folder}", f"{name}.zarr", run=run)
        write_ome_zarr(path, volume, scale, **kwargs)
        return path

    def add_segmentation(self, volume, *, name="10.000_tool_1_membrane", scale=10.0, **kwargs):
        path = self.at("Segmentations", f"{name}.zarr")
        write_ome_zarr(path, volume, scale, **kwargs)
        return path

    def add_picks(self, points, *, name="curator_1_ribosome", **fields):
        user, session, object_name = name.split("_")
        path = self.at("Picks", f"{name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "pickable_object_name": object_name,
            "user_id": user,
            "session_id": session,
            "points": points,
            **fields,
        }
        path.write_text(json.dumps(content))
        return path


def write_ome_zarr(
    path, volume, scale, *, chunks=(4, 4, 4), write_empty_chunks=True, unit="angstrom"
):
    group = zarr.group(zarr.DirectoryStore(path, dimension_separator="/"))
    group.create_dataset(
        "0",
        data=volume,
        chunks=chunks,
        dimension_separator="/",
        write_empty_chunks=write_empty_chunks,
    )
    steps = [{"type": "scale", "scale": list(np.broadcast_to(float(scale), 3))}]
    axes = [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path, f"local://{tmp_path}/overlay")


@pytest.fixture(params=["local", "memory"])
def anywhere(request, tmp_path):
    """A project whose overlay is a local folder, then one whose overlay knows no rename."""
    memory = f"memory://{uuid.uuid4().hex}"
    return Files(tmp_path, f"local://{tmp_path}/overlay" if request.param == "local" else memory)
