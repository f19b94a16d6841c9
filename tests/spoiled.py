"""Ways to spoil a tiny project, as disks, other programs and people do."""

import codecs
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from foreign_volumes import add_segmentation, change_object

Spoil = Callable[[Path], object]


def store(here, run="TS_01", tomo_type="denoised"):
    """Return the folder of a tomogram."""
    (found,) = here.glob(f"static/**/{run}/**/{tomo_type}.zarr")
    return found


def target_store(here, run="TS_01"):
    (found,) = here.glob(f"overlay/**/{run}/Segmentations/*targets*.zarr")
    return found


def picks(here, object_name="ribosome", run="TS_01"):
    """Return the file of picks."""
    (found,) = here.glob(f"static/**/{run}/Picks/curation_0_{object_name}.json")
    return found


def all_picks(here):
    return sorted(here.glob("static/**/Picks/curation_*.json"))


def edit(path, change):
    """Change the content of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_config(here, **fields):
    edit(here / "project.json", lambda config: config.update(fields))


def edit_picks(here, change, **which):
    edit(picks(here, **which), lambda content: change(content["points"]))


def edit_metadata(folder, **fields):
    edit(folder / ".zattrs", lambda attributes: attributes["multiscales"][0].update(fields))


def rescale(folder, spacing):
    def change(attributes):
        level = attributes["multiscales"][0]["datasets"][0]
        level["coordinateTransformations"][0]["scale"] = [spacing] * 3

    edit(folder / ".zattrs", change)


def move(points, **location):
    for point in points:
        point["location"].update(location)


def replace(folder, change, **options):
    """Write the voxels of a store again, changed; None keeps an array changed in place."""
    volume = zarr.open_array(str(folder / "0"), mode="r")[:]
    changed = change(volume)
    volume = volume if changed is None else changed
    shutil.rmtree(folder / "0")
    array = zarr.open_array(
        zarr.DirectoryStore(folder / "0", dimension_separator="/"), mode="w",
        **{"shape": volume.shape, "chunks": (24, 24, 24)[-volume.ndim :] if volume.ndim < 4
           else (1,) * (volume.ndim - 3) + (24, 24, 24), "dtype": volume.dtype,
           "write_empty_chunks": True, **options},
    )  # fmt: skip
    array[:] = volume


def chunk_file(folder):
    return next(path for path in sorted((folder / "0").rglob("0")) if path.is_file())


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def add_mask(here, volume, **which):
    for run in ("TS_01", "TS_02", "TS_03"):
        add_segmentation(here, volume, run=run, **which)


def sheet(value=1, dtype="u1"):
    volume = np.zeros((24, 48, 48), dtype)
    volume[10:13] = value
    return volume


def all_runs(change):
    """Return a function that changes the file or folder of every run."""

    def spoil(here):
        for run in ("TS_01", "TS_02", "TS_03"):
            change(here, run)

    return spoil


def at_two_spacings(here, run):
    folder = store(here, run)
    other = folder.parent.parent / "VoxelSpacing40.000"
    shutil.copytree(folder, other / folder.name)
    replace(other / folder.name, lambda v: v[::2, ::2, ::2].copy())
    rescale(other / folder.name, 40.0)


def rename_picks(here, name, **which):
    path = picks(here, **which)
    path.rename(path.with_name(name))


TOMOGRAMS: dict[str, Spoil] = {
    "run without tomograms": lambda here: shutil.rmtree(store(here).parent),
    "run without the type": lambda here: shutil.rmtree(store(here)),
    "no run has the type": all_runs(lambda here, run: shutil.rmtree(store(here, run))),
    "two spacings in one run": lambda here: at_two_spacings(here, "TS_01"),
    "two spacings in all runs": all_runs(at_two_spacings),
    "another spacing in one run": lambda here: (
        rescale(store(here, "TS_02"), 25.0),
        store(here, "TS_02").parent.rename(
            store(here, "TS_02").parent.with_name("VoxelSpacing25.000")
        ),
    ),
    "spacing in nanometres": all_runs(
        lambda here, run: store(here, run).parent.rename(
            store(here, run).parent.with_name("VoxelSpacing0.200")
        )
    ),
    "spacing that the metadata contradict": lambda here: rescale(store(here), 10.0),
    "scale of zero": lambda here: rescale(store(here), 0.0),
    "scale of NaN": lambda here: rescale(store(here), float("nan")),
    "chunk missing": lambda here: chunk_file(store(here)).unlink(),
    "chunk cut off": lambda here: chunk_file(store(here)).write_bytes(
        chunk_file(store(here)).read_bytes()[:40]
    ),
    "chunk empty": lambda here: chunk_file(store(here)).write_bytes(b""),
    "chunk of text": lambda here: chunk_file(store(here)).write_bytes(b"404: Not Found" * 9),
    "chunk is a pipe": lambda here: pipe(chunk_file(store(here))),
    ".zattrs is a pipe": lambda here: pipe(store(here) / ".zattrs"),
    "no .zattrs": lambda here: (store(here) / ".zattrs").unlink(),
    ".zattrs cut off": lambda here: (store(here) / ".zattrs").write_bytes(b'{"multiscales": [{'),
    ".zattrs without multiscales": lambda here: (store(here) / ".zattrs").write_bytes(b"{}"),
    ".zattrs is a list": lambda here: (store(here) / ".zattrs").write_bytes(b"[1]"),
    "no .zarray": lambda here: (store(here) / "0" / ".zarray").unlink(),
    ".zarray cut off": lambda here: (store(here) / "0" / ".zarray").write_bytes(b'{"chunks": ['),
    ".zarray with another shape": lambda here: edit(
        store(here) / "0" / ".zarray", lambda a: a.update(shape=[30, 600, 600])
    ),
    ".zarray without compressor": lambda here: edit(
        store(here) / "0" / ".zarray", lambda a: a.update(compressor=None)
    ),
    ".zarray with unknown compressor": lambda here: edit(
        store(here) / "0" / ".zarray", lambda a: a.update(compressor={"id": "own"})
    ),
    "zarr 3": lambda here: (store(here) / ".zattrs").rename(store(here) / "zarr.json"),
    "array missing": lambda here: shutil.rmtree(store(here) / "0"),
    "NaN voxels": lambda here: replace(store(here), lambda v: v.__setitem__((0, 0, 0), np.nan)),
    "infinite voxel": lambda here: replace(store(here), lambda v: v.__setitem__((1, 1), np.inf)),
    "constant": lambda here: replace(store(here), lambda v: v.fill(3)),
    "all zero": all_runs(lambda here, run: replace(store(here, run), lambda v: v.fill(0))),
    "empty axis": lambda here: replace(store(here), lambda v: v[:0], chunks=(24, 24, 24)),
    "one slice": lambda here: replace(store(here), lambda v: v[:1].copy()),
    "two axes": lambda here: replace(store(here), lambda v: v[0].copy()),
    "several channels": lambda here: replace(store(here), lambda v: np.stack([v, v])),
    "axes x y z": lambda here: edit_metadata(store(here), axes=["x", "y", "z"]),
    "complex": lambda here: replace(store(here), lambda v: v.astype("c8")),
    "float64": lambda here: replace(store(here), lambda v: v.astype("f8")),
    "float64 beyond float32": lambda here: replace(
        store(here), lambda v: np.where(v > v.mean(), 1e60, v.astype("f8"))
    ),
    "float16": lambda here: replace(store(here), lambda v: v.astype("f2")),
    "big-endian": lambda here: replace(store(here), lambda v: v.astype(">f4")),
    "signed bytes": lambda here: replace(store(here), lambda v: (20 * v).astype("i1")),
    "true and false": lambda here: replace(store(here), lambda v: v > 0),
    "other shape than its target": lambda here: replace(store(here), lambda v: v[:, :40].copy()),
    "same tomogram in two runs": lambda here: (
        shutil.rmtree(store(here, "TS_02")),
        shutil.copytree(store(here), store(here, "TS_03").with_name("x")),
        store(here, "TS_03")
        .with_name("x")
        .rename(
            store(here, "TS_03", "wbp").parent.parent.parent
            / "TS_02/VoxelSpacing20.000/denoised.zarr"
        ),
    ),
    "link that leads nowhere": lambda here: (
        shutil.rmtree(store(here)),
        (store(here, tomo_type="wbp").parent / "denoised.zarr").symlink_to(here / "gone"),
    ),
    "chunk is a folder": lambda here: (
        path := chunk_file(store(here)),
        path.unlink(),
        path.mkdir(),
    ),
    "hot voxels": lambda here: replace(store(here), lambda v: v.__setitem__((3, 5, 7), 1e6)),
    "folder that names no spacing": lambda here: (
        store(here).parent.with_name("VoxelSpacingX").mkdir()
    ),
    "foreign files": lambda here: (store(here).parent / "._denoised.zarr").write_bytes(b"\0\5"),
}

PICKS: dict[str, Spoil] = {
    "no picks at all": lambda here: [
        p.unlink() for p in here.glob("static/**/Picks/curation_*.json")
    ],
    "no picks in one run": lambda here: [
        p.unlink() for p in here.glob("static/**/TS_01/Picks/curation_*.json")
    ],
    "object without picks": lambda here: [
        p.unlink() for p in here.glob("static/**/Picks/curation_0_ribosome.json")
    ],
    "picks without points": all_runs(
        lambda here, run: edit_picks(here, lambda points: points.clear(), run=run)
    ),
    "points are null": lambda here: edit(picks(here), lambda c: c.update(points=None)),
    "empty file": lambda here: picks(here).write_bytes(b""),
    "cut off": lambda here: picks(here).write_bytes(picks(here).read_bytes()[:-20]),
    "a list": lambda here: picks(here).write_bytes(b"[]"),
    "NaN": lambda here: edit_picks(here, lambda p: move(p, x=float("nan"))),
    "infinite": lambda here: edit_picks(here, lambda p: move(p[:1], y=float("inf"))),
    "null coordinate": lambda here: edit_picks(here, lambda p: move(p[:1], z=None)),
    "text coordinate": lambda here: edit_picks(here, lambda p: move(p[:1], z="12,5")),
    "no location": lambda here: edit_picks(here, lambda p: p[0].pop("location")),
    "score of NaN": lambda here: edit_picks(here, lambda p: p[0].update(score=float("nan"))),
    "another unit": lambda here: edit(picks(here), lambda c: c.update(unit="nanometer")),
    "all outside": lambda here: [
        edit(p, lambda c: move(c["points"], x=1e5))
        for p in here.glob("static/**/Picks/curation_*.json")
    ],
    "one object outside": all_runs(
        lambda here, run: edit_picks(here, lambda p: move(p, x=-1e5), run=run)
    ),
    "in voxels": lambda here: edit_picks(here, lambda p: move(p, x=5, y=6, z=7)),
    "transformation of NaN": lambda here: edit_picks(
        here, lambda p: p[0].update(transformation_=np.full((4, 4), np.nan).tolist())
    ),
    "transformation 3 x 3": lambda here: edit_picks(
        here, lambda p: p[0].update(transformation_=np.eye(3).tolist())
    ),
    "byte order mark": lambda here: picks(here).write_bytes(
        codecs.BOM_UTF8 + picks(here).read_bytes()
    ),
    "UTF-16": lambda here: picks(here).write_text(
        picks(here).read_text(encoding="utf-8"), encoding="utf-16"
    ),
    "file is a folder": lambda here: (path := picks(here), path.unlink(), path.mkdir()),
    "name without user": lambda here: rename_picks(here, "ribosome.json"),
    "name with one underscore": lambda here: rename_picks(here, "curation_ribosome.json"),
    "name with three underscores": lambda here: rename_picks(here, "user_1_0_ribosome.json"),
    "second user": lambda here: shutil.copy(
        picks(here), picks(here).with_name("somebody_2_ribosome.json")
    ),
    "unknown object": lambda here: shutil.copy(
        picks(here), picks(here).with_name("curation_0_unknown.json")
    ),
    "only unknown objects": lambda here: [
        p.rename(p.with_name(f"curation_0_un{number}.json"))
        for number, p in enumerate(all_picks(here))
    ],
    "another session": lambda here: rename_picks(here, "curation_1_ribosome.json"),
    "foreign files": lambda here: [
        (picks(here).parent / name).write_bytes(b"\0") for name in (".DS_Store", "._a_b_c.json")
    ],
    "of another run": lambda here: edit(picks(here), lambda c: c.update(run_name="TS_02")),
    "of a run that was renamed": lambda here: edit(
        picks(here), lambda c: c.update(run_name="lam_8")
    ),
    "of another object": lambda here: edit(
        picks(here), lambda c: c.update(pickable_object_name="apo-ferritin")
    ),
    "backup file": lambda here: shutil.copy(picks(here), picks(here).with_suffix(".json~")),
}

OBJECTS: dict[str, Spoil] = {
    "no objects": lambda here: edit_config(here, pickable_objects=[]),
    "object missing": lambda here: edit(
        here / "project.json", lambda c: c["pickable_objects"].pop(0)
    ),
    "no radius": lambda here: change_object(here, "ribosome", radius=None),
    "radius of zero": lambda here: change_object(here, "ribosome", radius=0),
    "negative radius": lambda here: change_object(here, "ribosome", radius=-60),
    "radius of NaN": lambda here: change_object(here, "ribosome", radius=float("nan")),
    "infinite radius": lambda here: change_object(here, "ribosome", radius=float("inf")),
    "radius as text": lambda here: change_object(here, "ribosome", radius="sixty"),
    "radius in nanometres": lambda here: change_object(here, "ribosome", radius=6),
    "radius above the volume": lambda here: change_object(here, "ribosome", radius=1e5),
    "shared label": lambda here: change_object(here, "ribosome", label=1),
    "label zero": lambda here: change_object(here, "ribosome", label=0),
    "negative label": lambda here: change_object(here, "ribosome", label=-4),
    "no label": lambda here: change_object(here, "ribosome", label=None),
    "label as text": lambda here: change_object(here, "ribosome", label="one"),
    "shared name": lambda here: change_object(here, "ribosome", name="apo-ferritin"),
    "name with underscore": lambda here: change_object(here, "ribosome", name="ribo_some"),
    "name is a number": lambda here: change_object(here, "ribosome", name="70"),
    "no name": lambda here: edit(
        here / "project.json", lambda c: c["pickable_objects"][0].pop("name")
    ),
    "no particle": lambda here: change_object(here, "ribosome", is_particle=False),
    "weight of NaN": lambda here: change_object(
        here, "ribosome", metadata={"score_weight": float("nan")}
    ),
    "weight as text": lambda here: change_object(here, "ribosome", metadata={"weight": "two"}),
    "colour of two numbers": lambda here: change_object(here, "ribosome", color=[1, 2]),
    "object is a text": lambda here: edit_config(here, pickable_objects=["ribosome"]),
}

PROJECTS: dict[str, Spoil] = {
    "no config": lambda here: (here / "project.json").unlink(),
    "config is a folder": lambda here: (
        (here / "project.json").unlink(),
        (here / "project.json").mkdir(),
    ),
    "config cut off": lambda here: (here / "project.json").write_bytes(b'{"name": '),
    "config is a list": lambda here: (here / "project.json").write_bytes(b"[]"),
    "config of latin-1": lambda here: (here / "project.json").write_bytes(b'{"name": "Gr\xf6"}'),
    "no overlay_root": lambda here: edit(here / "project.json", lambda c: c.pop("overlay_root")),
    "overlay_root of no text": lambda here: edit_config(here, overlay_root=5),
    "unknown config_type": lambda here: edit_config(here, config_type="tape"),
    "unknown protocol": lambda here: edit_config(here, static_root="tape://a/b"),
    "static_root that is not there": lambda here: edit_config(
        here, static_root=f"local://{here}/gone"
    ),
    "no runs": lambda here: shutil.rmtree(here / "static/ExperimentRuns"),
    "run of a single file": lambda here: shutil.copy(
        here / "project.json", here / "static/ExperimentRuns/notes.txt"
    ),
    "run with a blank": lambda here: shutil.copytree(
        here / "static/ExperimentRuns/TS_01",
        here / "static/ExperimentRuns/TS 04",
        ignore=shutil.ignore_patterns("Picks"),  # which name their run
    ),
    "empty run": lambda here: (here / "static/ExperimentRuns/TS_04").mkdir(),
    "folder of the overlay not there": lambda here: edit_config(
        here, overlay_root=f"local://{here}/new/folder"
    ),
    "overlay is a file": lambda here: (
        shutil.rmtree(here / "overlay"),
        (here / "overlay").write_bytes(b"a"),
    ),
}

MASKS: dict[str, Spoil] = {
    "sound": lambda here: add_mask(here, sheet()),
    "0 and 255": lambda here: add_mask(here, sheet(255)),
    "true and false": lambda here: add_mask(here, sheet(dtype="?")),
    "floats 0 and 1": lambda here: add_mask(here, sheet(dtype="f4")),
    "big-endian": lambda here: add_mask(here, sheet(dtype=">i4")),
    "scores": lambda here: add_mask(here, sheet(0.7, "f4")),
    "scores everywhere": lambda here: add_mask(
        here, np.random.default_rng(0).normal(size=(24, 48, 48)).astype("f4")
    ),
    "NaN": lambda here: add_mask(here, sheet(np.nan, "f4")),
    "signed bytes": lambda here: add_mask(here, sheet(-1, "i1") - np.int8(127)),
    "negative inside": lambda here: add_mask(here, sheet(-1, "i2")),
    "no background": lambda here: add_mask(here, sheet() + 1),
    "several labels": lambda here: add_mask(here, sheet() + 2 * np.roll(sheet(), 5, 0)),
    "unknown label": lambda here: add_mask(here, sheet(77)),
    "thousands of labels": lambda here: add_mask(
        here, np.arange(24 * 48 * 48, dtype="u4").reshape(24, 48, 48)
    ),
    "another label in one run": lambda here: (
        add_mask(here, sheet()),
        replace(mask_store(here), lambda v: 2 * v),
    ),
    "empty": lambda here: add_mask(here, sheet(0)),
    "in one run alone": lambda here: add_segmentation(here, sheet()),
    "of another shape": lambda here: add_mask(here, sheet()[:, :30].copy()),
    "complex": lambda here: add_mask(here, sheet(1j, "c8")),
    "chunk cut off": lambda here: (
        add_mask(here, sheet()),
        chunk_file(mask_store(here)).write_bytes(b"123"),
    ),
    "chunk is a folder": lambda here: (
        add_mask(here, sheet()),
        (path := chunk_file(mask_store(here))).unlink(),
        path.mkdir(),
    ),
    "chunk was not fetched": lambda here: (
        add_mask(here, sheet()),
        (path := chunk_file(mask_store(here))).unlink(),
        path.symlink_to(here / ".git/annex/objects/it"),
    ),
    "metadata are a pipe": lambda here: (
        add_mask(here, sheet()),
        pipe(mask_store(here) / "0" / ".zarray"),
    ),
    "no .zattrs": lambda here: (add_mask(here, sheet()), (mask_store(here) / ".zattrs").unlink()),
    "no .zattrs in all runs": lambda here: (
        add_mask(here, sheet()),
        [(mask_store(here, run) / ".zattrs").unlink() for run in ("TS_01", "TS_02", "TS_03")],
    ),
    "no .zarray": lambda here: (
        add_mask(here, sheet()),
        (mask_store(here) / "0" / ".zarray").unlink(),
    ),
    "two axes": lambda here: (
        add_mask(here, sheet()),
        replace(mask_store(here), lambda v: v[0].copy()),
    ),
    "axes x y z": lambda here: (
        add_mask(here, sheet()),
        edit_metadata(mask_store(here), axes=["x", "y", "z"]),
    ),
    "two spacings": lambda here: (
        add_mask(here, sheet()),
        shutil.copytree(
            mask_store(here), mask_store(here).with_name("40.000_someone_0_sheet-multilabel.zarr")
        ),
    ),
    "binary": lambda here: add_mask(here, sheet(), name="ribosome", multilabel=False),
    "binary of several labels": lambda here: add_mask(
        here, sheet() + 2 * np.roll(sheet(), 5, 0), name="ribosome", multilabel=False
    ),
    "name of other form": lambda here: (
        add_mask(here, sheet()),
        mask_store(here).rename(mask_store(here).with_name("sheet.zarr")),
    ),
}


def mask_store(here, run="TS_01"):
    (found,) = here.glob(f"**/{run}/Segmentations/20.000_someone_0_*.zarr")
    return found


def edit_target(here, change, run="TS_01"):
    edit(target_store(here, run) / ".zattrs", lambda a: change(a["octopi"]))


TARGETS: dict[str, Spoil] = {
    "target missing in one run": lambda here: shutil.rmtree(target_store(here)),
    "unknown label": lambda here: replace(
        target_store(here), lambda v: v.__setitem__((0, 0, 0), 77)
    ),
    "of floats": lambda here: replace(target_store(here), lambda v: v.astype("f4")),
    "of scores": lambda here: replace(target_store(here), lambda v: v.astype("f4") * 0.7),
    "negative": lambda here: replace(target_store(here), lambda v: -v.astype("i2")),
    "NaN": lambda here: replace(
        target_store(here), lambda v: np.where(v > 0, np.nan, v).astype("f4")
    ),
    "of int64": lambda here: replace(target_store(here), lambda v: v.astype(">i8")),
    "chunk missing": lambda here: chunk_file(target_store(here)).unlink(),
    "chunk cut off": lambda here: chunk_file(target_store(here)).write_bytes(b"12"),
    "no .zattrs": lambda here: (target_store(here) / ".zattrs").unlink(),
    "no .zarray": lambda here: (target_store(here) / "0" / ".zarray").unlink(),
    "another shape": lambda here: replace(target_store(here), lambda v: v[:, :30].copy()),
    "another scale": lambda here: rescale(target_store(here), 10.0),
    "no labels stored": lambda here: edit_target(here, lambda a: a.pop("labels")),
    "other labels stored": lambda here: edit_target(here, lambda a: a["labels"].update(virus=9)),
    "other radii stored": lambda here: edit_target(
        here, lambda a: a["sphere_radii"].update(ribosome=7.0)
    ),
    "empty in one run": lambda here: replace(target_store(here), lambda v: v.fill(0)),
    "empty in all runs": all_runs(
        lambda here, run: replace(target_store(here, run), lambda v: v.fill(0))
    ),
    "object in no run": all_runs(
        lambda here, run: replace(target_store(here, run), lambda v: np.where(v == 1, 0, v))
    ),
    "picks deleted since": lambda here: picks(here).unlink(),
    "picks damaged since": lambda here: picks(here).write_bytes(b"{"),
    "picks moved since": lambda here: edit_picks(here, lambda p: move(p, x=100.0)),
    "object renamed since": lambda here: change_object(here, "ribosome", name="ribo"),
    "objects reordered since": lambda here: edit(
        here / "project.json", lambda c: c["pickable_objects"].reverse()
    ),
    "at two spacings": lambda here: shutil.copytree(
        target_store(here),
        target_store(here).with_name(target_store(here).name.replace("20.000", "40.000")),
    ),
    "in one run alone": lambda here: [
        shutil.rmtree(target_store(here, run)) for run in ("TS_02", "TS_03")
    ],
    "written by another program": lambda here: edit(
        target_store(here) / ".zattrs", lambda a: [a.pop(k) for k in list(a) if "octopi" in k]
    ),
    "not finished": lambda here: edit(
        target_store(here) / ".zattrs", lambda a: a.update(octopi_complete=False)
    ),
}


def second_set(here, change=None, *, user="somebody", session="2", runs=("TS_01", "TS_02")):
    """Write the picks of ribosomes as those of another user; change the points of TS_01."""
    for run in runs:
        path = picks(here, run=run)
        copy = path.with_name(f"{user}_{session}_ribosome.json")
        shutil.copy(path, copy)
        if change and run == "TS_01":
            edit(copy, lambda content: change(content["points"]))


BOTH, REJECTED = "[curation/0,somebody/2]", "somebody/2"
# How to spoil the sets, and the overrides picks and rejected.
SETS: dict[str, tuple[Spoil, str, str]] = {
    "two sets": (second_set, BOTH, "null"),
    "two of one object": (second_set, "[ribosome:curation/0,ribosome:somebody/2]", "null"),
    "rejected places": (second_set, "curation/0", REJECTED),
    "session of letters": (
        lambda here: second_set(here, session="manual-1"),
        "[curation/0,somebody/manual-1]",
        "null",
    ),
    "odd name": (
        lambda here: second_set(here, user="no", session="1e3"),
        "[curation/0,'no/1e3']",
        "null",
    ),
    "a set that no run has": (second_set, "[curation/0,nobody/2]", "null"),
    "rejected places that no run has": (second_set, "curation/0", "nobody/2"),
    "a set named twice": (second_set, "[curation/0,curation/0]", "null"),
    "a set named twice in other words": (second_set, "[curation/0,ribosome:curation/0]", "null"),
    "rejected picks": (second_set, BOTH, REJECTED),
    "no name of picks": (second_set, "[curation]", "null"),
    "places of what is not picked": (second_set, "apo-ferritin:curation/0", f"ribosome:{REJECTED}"),
    "no radius": (
        lambda here: (second_set(here), change_object(here, "ribosome", radius=None)),
        BOTH,
        "null",
    ),
    "a set that is damaged": (
        lambda here: (
            second_set(here),
            edit(picks(here).with_name("somebody_2_ribosome.json"), lambda c: c.pop("unit")),
            edit(picks(here).with_name("somebody_2_ribosome.json"), lambda c: c.update(points=5)),
        ),
        BOTH,
        "null",
    ),
    "rejected places that are damaged": (
        lambda here: second_set(here, lambda points: move(points, x=float("nan"))),
        "curation/0",
        REJECTED,
    ),
    "a set outside the tomograms": (
        lambda here: second_set(here, lambda points: move(points, x=1e5)),
        BOTH,
        "null",
    ),
    "all rejected": (
        lambda here: second_set(here, runs=("TS_01", "TS_02", "TS_03")),
        "ribosome:curation/0",
        REJECTED,
    ),
}
