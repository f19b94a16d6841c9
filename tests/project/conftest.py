"""Tiny copick projects of plain files, with overlays on a disk, in memory, on S3 and over ssh.

The S3 and ssh servers are real, and on this machine.
"""

import asyncio
import gc
import json
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import fsspec
import numpy as np
import pytest
import zarr
from moto.server import ThreadedMotoServer

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
    access: dict = field(default_factory=dict)  # options to reach the overlay

    def config(self, name="project.json", **changes):
        content = {
            "config_type": "filesystem",
            "pickable_objects": OBJECTS,
            "static_root": f"local://{self.folder}/static",
            "overlay_root": self.overlay,
            "overlay_fs_args": self.access,
            **changes,
        }
        path = self.folder / name
        path.write_text(
            json.dumps({k: v for k, v in content.items() if v is not None}), encoding="utf-8"
        )
        return path

    def open(self):
        return open_project(self.config())

    def run(self, name="TS_1"):
        return self.open().select([name])[0]

    def at(self, *parts, run="TS_1"):
        return self.folder.joinpath("static", "ExperimentRuns", run, *parts)

    def remove(self, path, run="TS_1"):
        """Remove a file of the run from the overlay, on any backend."""
        fs, root = self.overlay_files()
        fs.rm_file(f"{root}/ExperimentRuns/{run}/{path}")

    def overlay_files(self):
        """Return the filesystem of the overlay and its folder there."""
        return fsspec.url_to_fs(self.overlay, **self.access)

    def files_of_run(self, run="TS_1"):
        """List the files of a run in the overlay."""
        fs, root = self.overlay_files()
        fs.invalidate_cache()
        return sorted(fs.find(f"{root}/ExperimentRuns/{run}"))

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
        path.write_text(json.dumps(content), encoding="utf-8")
        return path


def write_ome_zarr(
    path,
    volume,
    scale,
    *,
    chunks=(4, 4, 4),
    write_empty_chunks=True,
    unit="angstrom",
    compressor="default",
):
    group = zarr.group(zarr.DirectoryStore(path, dimension_separator="/"))
    group.create_dataset(
        "0",
        data=volume,
        chunks=chunks,
        dimension_separator="/",
        write_empty_chunks=write_empty_chunks,
        compressor=compressor,
    )
    steps = [{"type": "scale", "scale": list(np.broadcast_to(float(scale), 3))}]
    axes = [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path, f"local://{tmp_path}/overlay")


@pytest.fixture
def run(files):
    """A run with a tomogram."""
    files.add_tomogram(files.noise())
    return files.run()


@pytest.fixture(scope="session")
def s3():
    """The URL of an S3 bucket, and the options to reach it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {"key": "a", "secret": "b", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    fsspec.filesystem("s3", **access).mkdir("bucket")
    yield "s3://bucket", access
    close_connections("s3")
    server.stop()


def close_connections(protocol):
    """Close the connections of a protocol: fsspec keeps every filesystem that was ever opened."""
    fsspec.get_filesystem_class(protocol).clear_instance_cache()
    gc.collect()


class OpenServer(asyncssh.SSHServer):
    """An ssh server without a password.

    Args:
        connections: open connections are added.
    """

    def __init__(self, connections):
        self.connections = connections

    def connection_made(self, conn):
        self.connections.append(conn)

    def begin_auth(self, _username):
        return False


@pytest.fixture(scope="session")
def ssh(tmp_path_factory):
    """The URL of a folder on an ssh server, and the options to reach it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    connections = []

    async def serve():
        keys = [asyncssh.generate_private_key("ssh-ed25519")]
        return await asyncssh.create_server(
            lambda: OpenServer(connections),
            "127.0.0.1",
            0,
            server_host_keys=keys,
            sftp_factory=True,
        )

    async def stop():
        server.close()
        for connection in connections:
            connection.abort()
            await connection.wait_closed()

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(30)
    port = server.sockets[0].getsockname()[1]
    access = {"host": "127.0.0.1", "port": port, "username": "anyone", "known_hosts": None}
    yield f"ssh://{tmp_path_factory.mktemp('ssh')}", access
    close_connections("ssh")
    asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(params=["memory", "s3", "ssh"])
def remote(request, tmp_path):
    """A project with an overlay on each backend that cannot rename folders."""
    if request.param == "memory":
        return Files(tmp_path, f"memory://{uuid.uuid4().hex}")
    root, access = request.getfixturevalue(request.param)
    return Files(tmp_path, f"{root}/{uuid.uuid4().hex}", access)


@pytest.fixture(params=["local", "memory", "s3", "ssh"])
def anywhere(request, tmp_path):
    """A project with an overlay on each backend; only the local disk can rename folders."""
    if request.param == "local":
        return Files(tmp_path, f"local://{tmp_path}/overlay")
    if request.param == "memory":
        return Files(tmp_path, f"memory://{uuid.uuid4().hex}")
    root, access = request.getfixturevalue(request.param)
    return Files(tmp_path, f"{root}/{uuid.uuid4().hex}", access)
