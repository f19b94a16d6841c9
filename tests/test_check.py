import json
import resource
import shutil
import uuid

import fsspec
import numpy as np
import pytest
import zarr
from checkpoints import make_info, save_checkpoint
from tiny import TINY

from octopi.geometry import Points
from octopi.project import open_project
from octopi.project.queries import PicksQuery


@pytest.fixture
def check(here, octopi_command, capfd):
    """A function that runs the check and returns its exit code and output."""

    def run(*overrides):
        capfd.readouterr()
        code = octopi_command("check", *overrides)
        return code, "".join(capfd.readouterr())

    return run


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets", "tomo_types=[denoised]", "hydra.run.dir=job") == 0


def array_folder(here, run="TS_01", tomo_type="denoised"):
    (store,) = (here / "static").glob(f"**/{run}/**/{tomo_type}.zarr")
    return store / "0"


def chunk(here, **which):
    files = sorted(array_folder(here, **which).rglob("0"))
    return next(path for path in files if path.is_file())


def rewrite(folder, change):
    """Change the voxels of a stored array."""
    array = zarr.open_array(str(folder), mode="r+")
    volume = array[:]
    change(volume)
    array[:] = volume


def picks_file(here, name="ribosome", run="TS_01"):
    (path,) = (here / "static").glob(f"**/{run}/Picks/*_{name}.json")
    return path


def repick(here, positions, name="ribosome"):
    path = picks_file(here, name)
    content = json.loads(path.read_text(encoding="utf-8"))
    first = content["points"][0]
    content["points"] = [{**first, "location": dict(zip("xyz", p, strict=True))} for p in positions]
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_sound_project_passes_with_its_counts_and_nothing_is_written(check, here):
    before = sorted(here.rglob("*"))
    code, output = check()
    assert code == 0
    assert "24×48×48" in output
    assert output.count("denoised@20.0 wbp@20.0") == 3
    assert "Next: octopi create_targets" in output
    assert sorted(here.rglob("*")) == before


def test_with_targets_the_next_step_is_training(check, targets):
    code, output = check("tomo_types=[denoised]")
    assert code == 0
    assert "Next: octopi train" in output


def test_a_missing_and_a_corrupt_chunk_are_found_in_one_pass(check, here):
    chunk(here, run="TS_01").unlink()
    broken = chunk(here, run="TS_02")
    broken.write_bytes(broken.read_bytes()[:40])
    code, output = check()
    assert code == 3
    assert "TS_01: tomogram denoised@20.0 lacks 1 chunk (0/0/0)" in output
    assert "TS_02: tomogram denoised@20.0 cannot decode 1 chunk" in output
    assert "for 2 reasons" in output


def test_a_missing_chunk_is_a_problem_also_where_voxels_are_not_read(check, here):
    chunk(here).unlink()
    code, output = check("voxels=false")
    assert code == 3
    assert "lacks 1 chunk" in output


def test_damage_in_a_type_that_is_not_trained_on_is_a_warning(check, here):
    chunk(here, tomo_type="wbp").unlink()
    code, output = check("tomo_types=[denoised]")
    assert code == 0
    assert "lacks 1 chunk" in output


def test_damage_in_a_run_without_a_target_is_a_warning(check, here, targets):
    target = next((here / "overlay").glob("**/TS_03/Segmentations/*targets*.zarr"))
    shutil.rmtree(target)
    chunk(here, run="TS_03").unlink()
    code, output = check()
    assert code == 0
    assert "TS_03: tomogram denoised@20.0 lacks" in output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.__setitem__((0, 0, slice(0, 3)), np.nan), "3 voxels that are NaN or inf"),
        (lambda v: v.__setitem__((1, 1, 1), np.inf), "1 voxels that are NaN or infinite"),
        (lambda v: v.fill(2.5), "is constant: every voxel is 2.5"),
    ],
)
def test_voxels_that_cannot_be_trained_on_are_problems(check, here, change, message):
    rewrite(array_folder(here), change)
    code, output = check()
    assert code == 3
    assert message in output


def test_a_constant_chunk_is_a_warning(check, here):
    old = array_folder(here)
    volume = zarr.open_array(str(old), mode="r")[:]
    volume[:8] = 0
    shutil.rmtree(old)
    zarr.open_array(
        str(old), mode="w", shape=volume.shape, chunks=(8, 48, 48), dtype="f4",
        dimension_separator="/", write_empty_chunks=True, fill_value=None,
    )[:] = volume  # fmt: skip
    code, output = check()
    assert code == 0
    assert "the same within each of 1 chunks (0/0/0)" in output


def test_picks_outside_duplicate_or_in_voxels_are_warnings(check, here):
    repick(here, [(100, 100, 100), (130, 100, 100), (5000, 100, 100), (400, 400, 300)])
    repick(here, [(10, 10, 10), (40, 20, 5), (30, 40, 20), (7, 33, 12)], "apo-ferritin")
    code, output = check()
    assert code == 0
    assert (
        "1 of 4 picks ribosome:curation/0 lie outside their tomogram (counting from 0: 2)" in output
    )
    assert "1 of 4 picks ribosome:curation/0 are closer than" in output
    assert "4 of 4 picks apo-ferritin:curation/0 lie where voxel numbers would" in output


def test_picks_that_are_not_numbers_or_not_json_are_problems(check, here):
    repick(here, [(float("nan"), 1, 1), (100, 100, 100)])
    path = picks_file(here, run="TS_02")
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    code, output = check()
    assert code == 3
    assert (
        "1 of 2 picks have coordinates that are not numbers up to 1e+09 (counting from 0: 0)"
        in output
    )
    assert str(path) in output


def test_of_two_users_picks_one_must_be_named(check, here):
    run = open_project(here / "project.json").runs[0]
    run.write_picks(PicksQuery("ribosome", "somebody", "2"), Points(np.full((1, 3), 200.0)))
    code, output = check()
    assert code == 3
    assert (
        "more than one set of picks of ribosome: ribosome:curation/0, ribosome:somebody/2" in output
    )
    assert check("picks=curation/0")[0] == 0


def test_a_missing_tomogram_of_the_first_type_is_a_problem(check, here):
    shutil.rmtree(array_folder(here, run="TS_02").parent)
    code, output = check("tomo_types=[denoised,wbp]")
    assert code == 3
    assert "TS_02: has no tomogram denoised. It has: wbp@20.0" in output
    assert check("tomo_types=[wbp,denoised]")[0] == 3  # targets are painted on every type


def change_config(here, change):
    config = json.loads((here / "project.json").read_text(encoding="utf-8"))
    change(config)
    (here / "project.json").write_text(json.dumps(config), encoding="utf-8")


def test_an_object_renamed_since_the_targets_were_made_is_a_problem(check, here, targets):
    change_config(here, lambda c: c["pickable_objects"][0].update(name="apoferritin"))
    code, output = check("tomo_types=[denoised]")
    assert code == 3
    assert "The targets hold apo-ferritin" in output
    assert "Did you mean apoferritin?" in output


def test_objects_in_another_order_are_no_fault(check, here, targets):
    def swap(config):
        first, second = config["pickable_objects"][:2]
        first["label"], second["label"] = second["label"], first["label"]

    change_config(here, swap)
    code, _ = check("tomo_types=[denoised]")
    assert code == 0


def test_targets_that_disagree_are_a_problem(check, here, octopi_command):
    overrides = ["tomo_types=[denoised]", "hydra.run.dir=job"]
    assert octopi_command("create_targets", *overrides, "runs=[TS_01,TS_02]") == 0
    fewer = "targets.objects=[ribosome,apo-ferritin]"
    assert octopi_command("create_targets", *overrides, "runs=[TS_03]", fewer) == 0
    code, output = check("tomo_types=[denoised]")
    assert code == 3
    assert "TS_03: its target was painted in another way than that of run TS_01" in output
    assert "labels.ribosome is 2, not" in output


def test_targets_of_other_radii_or_of_picks_changed_since_are_found(
    check, here, octopi_command, capfd
):
    assert octopi_command("create_targets", "targets.radius_scale=0.4", "runs=[TS_01]") == 0
    assert octopi_command("create_targets", "targets.radius_scale=0.9", "runs=[TS_02,TS_03]") == 0
    code, output = check("tomo_types=[denoised]")
    assert code == 3
    message = "its target was painted in another way than that of run TS_01: sphere_radii."
    assert f"TS_02: {message}" in output
    assert octopi_command("train", "dry_run=true", *TINY) == 3
    assert f"Run TS_02: {message}" in capfd.readouterr().err
    assert octopi_command("create_targets", "overwrite=true") == 0
    repick(here, [(100.0, 100.0, 100.0)])
    query = "ribosome:curation/0"
    code, output = check("tomo_types=[denoised]")
    assert f"the picks {query} changed since its target was painted" in output
    assert octopi_command("train", "dry_run=true", *TINY) == 0
    assert f"Run TS_01: the picks {query} changed" in capfd.readouterr().err


def test_a_target_of_another_shape_or_with_other_labels_is_a_problem(check, here, targets):
    store = next((here / "overlay").glob("**/TS_01/Segmentations/*targets*.zarr"))
    rewrite(store / "0", lambda volume: volume.__setitem__((0, 0, 0), 77))
    other = next((here / "overlay").glob("**/TS_02/Segmentations/*targets*.zarr"))
    attributes = json.loads((other / ".zattrs").read_text(encoding="utf-8"))
    scale = attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    scale["scale"] = [10.0, 10.0, 10.0]
    (other / ".zattrs").write_text(json.dumps(attributes), encoding="utf-8")
    code, output = check("tomo_types=[denoised]")
    assert code == 3
    assert (
        "TS_01: segmentation targets:octopi/1@20.0 holds the labels 77, which belong to no object"
        in output
    )
    assert "24×48×48 voxels of 10.000 × 10.000 × 10.000 Å" in output


def test_a_missing_chunk_of_a_target_is_a_problem(check, here, targets):
    store = next((here / "overlay").glob("**/TS_01/Segmentations/*targets*.zarr"))
    shutil.rmtree(store / "0" / "0")
    code, output = check("tomo_types=[denoised]")
    assert code == 3
    assert "segmentation targets:octopi/1@20.0 lacks 1 chunk" in output


def test_the_same_tomogram_in_two_runs_is_a_warning(check, here):
    shutil.rmtree(array_folder(here, run="TS_02"))
    shutil.copytree(array_folder(here, run="TS_01"), array_folder(here, run="TS_02"))
    code, output = check()
    assert code == 0
    assert "TS_02: its tomogram denoised@20.0 is denoised@20.0 of run TS_01" in output


def test_a_project_without_picks_cannot_be_trained_on(check, here):
    for path in (here / "static").glob("**/Picks/*.json"):
        path.unlink()
    code, output = check()
    assert code == 3
    assert "The project has no picks to learn from" in output


def test_a_remote_overlay_is_checked_through_its_own_filesystem(check, here, octopi_command):
    root = f"memory://{uuid.uuid4().hex}"
    change_config(here, lambda c: c.update(overlay_root=root, overlay_fs_args={}))
    assert octopi_command("create_targets", "tomo_types=[denoised]", "hydra.run.dir=job") == 0
    assert check("tomo_types=[denoised]")[0] == 0
    memory = fsspec.filesystem("memory")
    (chunk_path,) = [
        path for path in memory.find(root.removeprefix("memory:/"))
        if "TS_02" in path and path.endswith("0/0/0/0")
    ]  # fmt: skip
    memory.rm_file(chunk_path)
    code, output = check("tomo_types=[denoised]")
    assert code == 3
    assert "TS_02: segmentation targets:octopi/1@20.0 lacks 1 chunk" in output


def test_the_error_for_an_unknown_run_names_the_runs(check):
    code, output = check("runs=[TS_9]")
    assert code == 3
    assert "TS_01, TS_02, TS_03" in output


def test_memory_does_not_grow_with_the_tomogram(check, here):
    # a volume of 268 MB in chunks of 4 MB
    folder = array_folder(here)
    shutil.rmtree(folder)
    array = zarr.open_array(
        str(folder), mode="w", shape=(256, 512, 512), chunks=(4, 512, 512), dtype="f4",
        dimension_separator="/", write_empty_chunks=True, fill_value=None, compressor=None,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for z in range(0, 256, 4):
        array[z : z + 4] = rng.normal(size=(4, 512, 512))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert check()[0] == 0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 60e6


def test_outliers_and_padding_are_remarked_on_by_run(check, here):
    def add_hot_voxels(volume):
        volume[3, 5, 7] = volume[20, 40, 40] = 1e6

    rewrite(array_folder(here, run="TS_02"), add_hot_voxels)
    rewrite(array_folder(here, run="TS_03"), lambda v: v.__setitem__((slice(0, 8),), 0))
    code, output = check()
    assert code == 0
    assert "TS_02: tomogram denoised@20.0: 2 voxels (0.0036 %) lie more than 100" in output
    assert "TS_03: tomogram denoised@20.0: 33 % of its voxels are exactly 0" in output
    assert "TS_01: " not in output


def test_a_run_of_inverted_contrast_is_remarked_on(check, here):
    def invert(volume):
        volume *= -1

    for run, tomo_type in (("TS_02", "denoised"), ("TS_02", "wbp")):
        rewrite(array_folder(here, run=run, tomo_type=tomo_type), invert)
    code, output = check()
    assert code == 0
    assert (
        "TS_02: particles are brighter than their surroundings in its tomogram denoised" in output
    )
    assert "TS_01: " not in output
    assert "TS_03: " not in output


def thin_picks(here, name, num):
    """Leave so many picks of an object in the first run, and twenty in every other."""
    rng = np.random.default_rng(0)
    for run in open_project(here / "project.json").runs:
        points = Points(rng.uniform(0, 400, (num if run.name == "TS_01" else 20, 3)))
        run.write_picks(PicksQuery(name, "me", "1"), points)


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_a_run_with_far_fewer_picks_or_without_a_file_is_named(here, octopi_command, capfd, verb):
    thin_picks(here, "ribosome", 2)
    for run in open_project(here / "project.json").runs[:2]:
        run.write_picks(PicksQuery("apo-ferritin", "me", "1"), Points(np.full((1, 3), 200.0)))
    picks = "targets.picks=me/1" if verb == "plan" else "picks=me/1"
    assert octopi_command(verb, picks, *(["model=unet", "dry_run=true"] * (verb == "plan"))) == 0
    output = "".join(capfd.readouterr())
    assert "ribosome has far fewer picks in TS_01 (2) than runs have on average (20, " in output
    assert "apo-ferritin is not annotated in 1 of 3 runs, which have no picks of it" in output


def test_the_shares_that_a_training_found_are_repeated_with_the_override_to_add(
    check, here, targets, octopi_command
):
    thin_picks(here, "ribosome", 20)
    shares = {"ribosome": [0.3, 0.2, 0.4]}
    info = make_info(labels={"ribosome": 1, "apo-ferritin": 2}, annotated_share=shares)
    save_checkpoint(here / "a.pth", info)
    code, output = check("checkpoint=a.pth")
    assert code == 0
    assert "About 30% of the ribosome seem annotated (20% to 40%)." in output
    assert "'targets.annotation={ribosome: partial}' overwrite=true" in output
    assert octopi_command("create_targets", "targets.annotation=partial", "overwrite=true",
                          "targets.picks=curation/0") == 0  # fmt: skip
    _, output = check("checkpoint=a.pth")
    assert "About 30% of the ribosome seem annotated (20% to 40%)." in output
    assert "targets.annotation={ribosome" not in output
    assert check("checkpoint=b.pth")[0] == 2


def test_picks_that_are_damaged_are_not_called_absent(check, here):
    (path,) = here.glob("static/**/TS_02/Picks/curation_0_ribosome.json")
    path.write_text("{", encoding="utf-8")
    code, output = check("tomo_types=[denoised]")
    assert code == 3
    assert "is truncated or damaged" in output
    assert "ribosome is not annotated" not in output


def test_picks_that_are_packed_are_named_and_not_taken_for_none(check, here):
    for number, path in enumerate(sorted(here.glob("static/**/curation_0_ribosome.json"))):
        path.rename(path.with_suffix(".json.gz" if number else ".JSON"))
    output = check("tomo_types=[denoised]")[1]
    assert "TS_01: not read are curation_0_ribosome.JSON." in output
    assert "TS_02: not read are curation_0_ribosome.json.gz." in output


def test_packed_picks_of_a_project_in_one_folder_are_named_once(check, here):
    config = json.loads((here / "project.json").read_text(encoding="utf-8"))
    config["static_root"], config["static_fs_args"] = config["overlay_root"], {}
    (here / "project.json").write_text(json.dumps(config), encoding="utf-8")
    folder = next(here.glob("overlay/ExperimentRuns/TS_01"), here / "overlay/ExperimentRuns/TS_01")
    (folder / "Picks").mkdir(parents=True, exist_ok=True)
    (folder / "Picks/curation_0_ribosome.json.gz").touch()
    output = check("tomo_types=[denoised]")[1]
    assert output.count("curation_0_ribosome.json.gz") == 1


@pytest.mark.parametrize("typed", ["picks=nope/1", "picks=[curation/0,nope/1]", "rejected=nope/1"])
def test_sets_that_are_typed_and_not_there_are_refused_also_beside_targets(
    check, targets, octopi_command, typed
):
    code, output = check(typed, "tomo_types=[denoised]")
    assert code == 3
    assert "has no picks nope/1" in output
    again = ("overwrite=true", "dry_run=true", "tomo_types=[denoised]")
    assert octopi_command("create_targets", f"targets.{typed}", *again) == 3
