"""`octopi check` on projects with planted faults: each is found, named, and judged."""

import json
import resource
import shutil
import uuid

import numpy as np
import pytest
import zarr

from octopi.geometry import Points
from octopi.project import PicksQuery, open_project


@pytest.fixture
def checked(here, octopi_command, capfd):
    """Runs the check; returns its exit code and what it said."""

    def run(*words):
        capfd.readouterr()
        code = octopi_command("check", *words)
        return code, "".join(capfd.readouterr())

    return run


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets", "tomo_types=[denoised]", "hydra.run.dir=job") == 0


def tomogram(here, run="TS_01", tomo_type="denoised"):
    (found,) = (here / "static").glob(f"**/{run}/**/{tomo_type}.zarr")
    return found / "0"


def chunk(here, **where):
    return next(
        path
        for path in sorted(tomogram(here, **where).rglob("*"))
        if path.is_file() and path.name == "0"
    )


def rewrite(folder, change):
    """The finest array of a store after a change of its voxels."""
    array = zarr.open_array(str(folder), mode="r+")
    volume = array[:]
    change(volume)
    array[:] = volume


def picks_file(here, name="ribosome", run="TS_01"):
    (found,) = (here / "static").glob(f"**/{run}/Picks/*_{name}.json")
    return found


def repick(here, positions, name="ribosome"):
    path = picks_file(here, name)
    content = json.loads(path.read_text(encoding="utf-8"))
    first = content["points"][0]
    content["points"] = [{**first, "location": dict(zip("xyz", p, strict=True))} for p in positions]
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_sound_project_passes_with_its_counts_and_nothing_is_written(checked, here):
    before = sorted(here.rglob("*"))
    code, said = checked()
    assert code == 0
    assert "24×48×48" in said
    assert said.count("denoised@20.0 wbp@20.0") == 3
    assert "Next: octopi create_targets" in said
    assert sorted(here.rglob("*")) == before


def test_with_targets_the_next_step_is_training(checked, targets):
    code, said = checked("tomo_types=[denoised]")
    assert code == 0
    assert "Next: octopi train" in said


def test_a_missing_and_a_corrupt_chunk_are_found_in_one_pass(checked, here):
    chunk(here, run="TS_01").unlink()
    broken = chunk(here, run="TS_02")
    broken.write_bytes(broken.read_bytes()[:40])
    code, said = checked()
    assert code == 3
    assert "TS_01: tomogram denoised@20.0 lacks 1 of 1 chunks (0/0/0)" in said
    assert "TS_02: tomogram denoised@20.0 has 1 chunks of 1 that cannot be decoded" in said
    assert "for 2 reasons" in said


def test_without_reading_voxels_a_missing_chunk_is_counted_all_the_same(checked, here):
    chunk(here).unlink()
    code, said = checked("voxels=false")
    assert code == 3
    assert "lacks 1 of 1 chunks" in said


def test_damage_in_a_type_that_is_not_trained_on_is_a_remark(checked, here):
    chunk(here, tomo_type="wbp").unlink()
    code, said = checked("tomo_types=[denoised]")
    assert code == 0
    assert "lacks 1 of 1 chunks" in said


def test_damage_in_a_run_that_nobody_trains_on_is_a_remark(checked, here, targets):
    target = next((here / "overlay").glob("**/TS_03/Segmentations/*targets*.zarr"))
    shutil.rmtree(target)
    chunk(here, run="TS_03").unlink()
    code, said = checked()
    assert code == 0
    assert "TS_03: tomogram denoised@20.0 lacks" in said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.__setitem__((0, 0, slice(0, 3)), np.nan), "3 voxels that are NaN or inf"),
        (lambda v: v.__setitem__((1, 1, 1), np.inf), "1 voxels that are NaN or infinite"),
        (lambda v: v.fill(2.5), "is constant: every voxel is 2.5"),
    ],
)
def test_voxels_that_cannot_be_trained_on_are_problems(checked, here, change, told):
    rewrite(tomogram(here), change)
    code, said = checked()
    assert code == 3
    assert told in said


def test_a_constant_block_is_a_remark(checked, here):
    old = tomogram(here)
    volume = zarr.open_array(str(old), mode="r")[:]
    volume[:8] = 0
    shutil.rmtree(old)
    zarr.open_array(
        str(old), mode="w", shape=volume.shape, chunks=(8, 48, 48), dtype="f4",
        dimension_separator="/", write_empty_chunks=True, fill_value=None,
    )[:] = volume  # fmt: skip
    code, said = checked()
    assert code == 0
    assert "the same within each of 1 chunks (0/0/0)" in said


def test_picks_outside_twice_and_in_voxels_are_remarks(checked, here):
    repick(here, [(100, 100, 100), (130, 100, 100), (5000, 100, 100), (400, 400, 300)])
    repick(here, [(10, 10, 10), (40, 20, 5), (30, 40, 20), (7, 33, 12)], "apo-ferritin")
    code, said = checked()
    assert code == 0
    assert "1 of 4 picks ribosome:curation/0 lie outside the tomogram (counting from 0: 2)" in said
    assert "1 of 4 picks ribosome:curation/0 are closer than" in said
    assert "all 4 picks apo-ferritin:curation/0 lie where voxel numbers would" in said


def test_picks_that_are_not_numbers_or_not_json_are_problems(checked, here):
    repick(here, [(float("nan"), 1, 1), (100, 100, 100)])
    path = picks_file(here, run="TS_02")
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    code, said = checked()
    assert code == 3
    assert "1 of 2 picks have coordinates that are not numbers (counting from 0: 0)" in said
    assert str(path) in said


def test_two_users_picks_must_be_told_apart(checked, here):
    run = open_project(here / "project.json").runs[0]
    run.write_picks(PicksQuery("ribosome", "somebody", "2"), Points(np.full((1, 3), 200.0)))
    code, said = checked()
    assert code == 3
    assert "ribosome has picks of curation/0, somebody/2" in said
    assert checked("picks=curation/0")[0] == 0


def test_a_tomogram_that_a_run_lacks_is_a_gap(checked, here):
    shutil.rmtree(tomogram(here, run="TS_02").parent)
    code, said = checked("tomo_types=[denoised,wbp]")
    assert code == 3
    assert "TS_02: has no tomogram denoised@20. It has: wbp@20.0" in said
    assert checked("tomo_types=[wbp,denoised]")[0] == 0


def change_config(here, change):
    config = json.loads((here / "project.json").read_text(encoding="utf-8"))
    change(config)
    (here / "project.json").write_text(json.dumps(config), encoding="utf-8")


def test_an_object_renamed_since_the_targets_were_made_is_a_problem(checked, here, targets):
    change_config(here, lambda c: c["pickable_objects"][0].update(name="apoferritin"))
    code, said = checked("tomo_types=[denoised]")
    assert code == 3
    assert "The targets hold apo-ferritin" in said
    assert "Did you mean apoferritin?" in said


def test_objects_in_another_order_are_a_remark(checked, here, targets):
    def swap(config):
        first, second = config["pickable_objects"][:2]
        first["label"], second["label"] = second["label"], first["label"]

    change_config(here, swap)
    code, said = checked("tomo_types=[denoised]")
    assert code == 0
    assert "The targets number their objects apo-ferritin, beta-galactosidase" in said


def test_targets_that_disagree_are_a_problem(checked, here, octopi_command):
    words = ["tomo_types=[denoised]", "hydra.run.dir=job"]
    assert octopi_command("create_targets", *words, "runs=[TS_01,TS_02]") == 0
    fewer = "targets.objects=[ribosome,apo-ferritin]"
    assert octopi_command("create_targets", *words, "runs=[TS_03]", fewer) == 0
    code, said = checked("tomo_types=[denoised]")
    assert code == 3
    assert "TS_03: the labels of its target are" in said
    assert "ribosome=2 (3)" in said


def test_a_target_of_another_shape_or_with_other_labels_is_a_problem(checked, here, targets):
    store = next((here / "overlay").glob("**/TS_01/Segmentations/*targets*.zarr"))
    rewrite(store / "0", lambda volume: volume.__setitem__((0, 0, 0), 77))
    other = next((here / "overlay").glob("**/TS_02/Segmentations/*targets*.zarr"))
    attributes = json.loads((other / ".zattrs").read_text(encoding="utf-8"))
    scale = attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    scale["scale"] = [10.0, 10.0, 10.0]
    (other / ".zattrs").write_text(json.dumps(attributes), encoding="utf-8")
    code, said = checked("tomo_types=[denoised]")
    assert code == 3
    assert "TS_01: target targets:octopi/1 holds the labels [77]" in said
    assert "24×48×48 voxels of 10.000 × 10.000 × 10.000 Å" in said


def test_a_missing_chunk_of_a_target_is_a_problem(checked, here, targets):
    store = next((here / "overlay").glob("**/TS_01/Segmentations/*targets*.zarr"))
    shutil.rmtree(store / "0" / "0")
    code, said = checked("tomo_types=[denoised]")
    assert code == 3
    assert "target targets:octopi/1 lacks 1 of 1 chunks" in said


def test_the_same_tomogram_in_two_runs_is_a_remark(checked, here):
    shutil.rmtree(tomogram(here, run="TS_02"))
    shutil.copytree(tomogram(here, run="TS_01"), tomogram(here, run="TS_02"))
    code, said = checked()
    assert code == 0
    assert "TS_02: its tomogram denoised@20.0 is denoised@20.0 of run TS_01" in said


def test_a_project_without_picks_cannot_be_trained_on(checked, here):
    for path in (here / "static").glob("**/Picks/*.json"):
        path.unlink()
    code, said = checked()
    assert code == 3
    assert "No run has a target or picks to make one from" in said


def test_a_remote_overlay_is_checked_through_its_own_filesystem(checked, here, octopi_command):
    import fsspec

    place = f"memory://{uuid.uuid4().hex}"
    change_config(here, lambda c: c.update(overlay_root=place, overlay_fs_args={}))
    assert octopi_command("create_targets", "tomo_types=[denoised]", "hydra.run.dir=job") == 0
    assert checked("tomo_types=[denoised]")[0] == 0
    memory = fsspec.filesystem("memory")
    (gone,) = [
        path for path in memory.find(place.removeprefix("memory:/"))
        if "TS_02" in path and path.endswith("0/0/0/0")
    ]  # fmt: skip
    memory.rm_file(gone)
    code, said = checked("tomo_types=[denoised]")
    assert code == 3
    assert "TS_02: target targets:octopi/1 lacks 1 of 1 chunks" in said


def test_an_unknown_run_is_answered_with_the_known_ones(checked):
    code, said = checked("runs=[TS_9]")
    assert code == 3
    assert "TS_01, TS_02, TS_03" in said


def test_memory_does_not_grow_with_the_tomogram(checked, here):
    """A volume of 268 MB in chunks of 4 MB costs a few chunks, not the volume."""
    folder = tomogram(here)
    shutil.rmtree(folder)
    array = zarr.open_array(
        str(folder), mode="w", shape=(256, 512, 512), chunks=(4, 512, 512), dtype="f4",
        dimension_separator="/", write_empty_chunks=True, fill_value=None, compressor=None,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for z in range(0, 256, 4):
        array[z : z + 4] = rng.normal(size=(4, 512, 512))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert checked()[0] == 0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 60e6
