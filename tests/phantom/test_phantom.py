"""The synthetic project, read by copick: content, statistics, spectrum, and reuse of a folder."""

import json
import os
import shutil

import copick
import numpy as np
import pytest
import scipy.fft
from scipy.spatial.distance import pdist, squareform

from octopi.errors import ResourceError, SettingError
from octopi.geometry import Grid
from octopi.phantom import make_phantom
from octopi.phantom.microscope import contrast_transfer, frequencies
from octopi.phantom.specimen import make_specimen, membrane_mask, render_density

TINY = {
    "num_runs": 2,
    "shape": (24, 48, 48),
    "voxel_spacing": 20.0,
    "num_particles": 2,
    "snr": 0.5,
    "seed": 7,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "project", **TINY)


@pytest.fixture(scope="module")
def run(config):
    return copick.from_file(str(config)).get_run("TS_01")


def tomogram(run, tomo_type):
    (spacing,) = run.voxel_spacings
    (item,) = spacing.get_tomograms(tomo_type)
    return item.numpy()


def picks(run, object_name):
    (item,) = run.get_picks(object_name=object_name, user_id="curation", session_id="0")
    return item.numpy()[0]


def particles(config):
    return [o for o in copick.from_file(str(config)).config.pickable_objects if o.is_particle]


def mean_density(volume, positions, spacing):
    """Mean over the voxels nearest to positions (Å, x y z) that lie in the volume."""
    inside = positions[Grid.cubic(volume.shape, spacing).contains(positions)]
    z, y, x = np.rint(inside[:, ::-1] / spacing).astype(int).T
    return volume[z, y, x].mean()


def test_copick_finds_every_run_tomogram_object_and_membrane(config):
    root = copick.from_file(str(config))
    assert sorted(r.name for r in root.runs) == ["TS_01", "TS_02"]
    labels = [o.label for o in root.config.pickable_objects]
    assert labels == list(range(1, 7))
    for run in root.runs:
        assert run.voxel_spacings[0].voxel_size == 20.0
        assert tomogram(run, "wbp").shape == tomogram(run, "denoised").shape == (24, 48, 48)
        (membrane,) = run.get_segmentations(name="membrane", user_id="curation", session_id="0")
        assert membrane.numpy().shape == (24, 48, 48)
        assert all(len(picks(run, o.name)) == 2 for o in particles(config))


def test_the_objects_have_radii_and_score_weights(config):
    assert {o.name: (o.radius, o.metadata["score_weight"]) for o in particles(config)} == {
        "apo-ferritin": (60, 1),
        "beta-galactosidase": (85, 2),
        "ribosome": (120, 1),
        "thyroglobulin": (115, 2),
        "virus-like-particle": (135, 1),
    }


@pytest.mark.parametrize("tomo_type", ["wbp", "denoised"])
def test_tomograms_are_float32_with_zero_mean_and_unit_variance(run, tomo_type):
    volume = tomogram(run, tomo_type)
    assert volume.dtype == np.float32
    assert volume.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert volume.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_the_same_numbers_give_the_same_run_however_many_there_are(run, tmp_path):
    alone = make_phantom(tmp_path / "alone", **TINY | {"num_runs": 1})
    again = copick.from_file(str(alone)).get_run("TS_01")
    for tomo_type in ("wbp", "denoised"):
        np.testing.assert_array_equal(tomogram(again, tomo_type), tomogram(run, tomo_type))
    np.testing.assert_array_equal(picks(again, "ribosome"), picks(run, "ribosome"))


def test_another_seed_and_another_run_give_other_specimens(config, run, tmp_path):
    other = make_phantom(tmp_path / "other", **TINY | {"seed": 8, "num_runs": 1})
    second = copick.from_file(str(config)).get_run("TS_02")
    for different in (copick.from_file(str(other)).get_run("TS_01"), second):
        assert not np.allclose(picks(different, "ribosome"), picks(run, "ribosome"))


def test_picks_lie_inside_the_volume_and_particles_do_not_overlap(config):
    grid = Grid.cubic((24, 48, 48), 20.0)
    for run in copick.from_file(str(config)).runs:
        objects = [(picks(run, o.name), o.radius) for o in particles(config)]
        positions = np.vstack([p for p, _ in objects])
        radii = np.concatenate([np.full(len(p), r) for p, r in objects])
        assert grid.contains(positions).all()
        distances = squareform(pdist(positions)) + 1e6 * np.eye(len(positions))
        assert (distances >= radii[:, None] + radii - 1e-6).all()


@pytest.mark.parametrize("tomo_type", ["wbp", "denoised"])
def test_protein_is_dark(config, tomo_type):
    ball = np.random.default_rng(0).uniform(-50, 50, (500, 1, 3))
    for run in copick.from_file(str(config)).runs:
        inside_ribosomes = (picks(run, "ribosome") + ball).reshape(-1, 3)
        assert mean_density(tomogram(run, tomo_type), inside_ribosomes, 20.0) < -0.5


def test_the_capsid_and_the_cage_are_hollow_and_the_ribosome_is_not():
    grid = Grid.cubic((48, 96, 96), 10.0)
    specimen = make_specimen(grid, num_particles=1, rng=np.random.default_rng(0))
    volume = render_density(specimen, grid, origin=(0, 0, 0))
    directions = np.random.default_rng(1).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centers = {p.kind.name: p.center for p in specimen.particles}

    def at(name, distance):
        return mean_density(volume, centers[name] + distance * directions, 10.0)

    assert at("virus-like-particle", 116) > 5 * at("virus-like-particle", 0)
    assert at("apo-ferritin", 44) > 2 * at("apo-ferritin", 0)
    assert at("ribosome", 20) > 0.8 > 3 * at("ribosome", 120)


def test_the_membrane_mask_covers_both_leaflets():
    grid = Grid.cubic((32, 64, 64), 10.0)
    specimen = make_specimen(grid, num_particles=0, rng=np.random.default_rng(3))
    volume = render_density(specimen, grid, origin=(0, 0, 0))
    mask = membrane_mask(specimen, grid) == 1
    assert mask.any()
    assert volume[mask].mean() > 0.4
    assert volume[~mask].mean() < 0.05


def test_the_missing_wedge_of_the_spectrum_is_empty(run):
    volume = tomogram(run, "wbp")
    tapered = volume * np.prod(np.meshgrid(*map(np.hanning, volume.shape), indexing="ij"), axis=0)
    power = np.abs(scipy.fft.rfftn(tapered)) ** 2
    z, y, x = frequencies(volume.shape, 20.0)
    z, x = np.broadcast_arrays(np.abs(z), x)
    deep_inside = (z > 2.5 * x + 0.008) & (y > -1)
    well_outside = (z < 1.2 * x) & (x > 0.008) & (y > -1)
    assert power[deep_inside].mean() < 0.01 * power[well_outside].mean()


def test_the_contrast_transfer_has_its_first_zero_where_the_optics_predict():
    first_zero = 1 / (0.0197 * 30_000)  # squared, 1/Å²: lambda * defocus * k² = 1, about 24 Å
    squared = np.linspace(1e-5, 1.2 * first_zero, 2000)
    transfer = contrast_transfer(squared, defocus=30_000.0)
    crossing = squared[np.argmax(transfer < 0)]
    assert crossing == pytest.approx(first_zero, rel=0.05)


def test_a_project_with_the_same_numbers_is_used_again(config):
    made = config.stat().st_mtime_ns
    assert make_phantom(config.parent, **TINY) == config
    assert config.stat().st_mtime_ns == made


def test_a_moved_project_gets_the_roots_of_its_new_folder(config, tmp_path):
    moved = shutil.copytree(config.parent, tmp_path / "moved")
    moved_config = make_phantom(moved, **TINY)
    root = copick.from_file(str(moved_config))
    assert root.config.static_root == f"local://{moved / 'static'}"
    root.get_run("TS_01").new_picks("ribosome", "1", "octopi")
    assert any((moved / "overlay").rglob("*octopi*"))


def test_a_project_made_with_other_numbers_is_refused(config):
    with pytest.raises(SettingError, match=r"seed=7 \(requested: 8\)"):
        make_phantom(config.parent, **TINY | {"seed": 8})


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("five years", encoding="utf-8")
    with pytest.raises(SettingError, match="something else"):
        make_phantom(tmp_path, **TINY)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "five years"


def test_more_particles_than_there_is_room_for_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(SettingError, match="has room for only"):
        make_phantom(tmp_path / "full", **TINY | {"num_particles": 200})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResourceError, match="could not be written"):
        make_phantom(tmp_path / "file" / "project", **TINY)


@pytest.mark.parametrize(
    "wrong", [{"num_runs": 0}, {"snr": 0.0}, {"shape": (48, 48)}, {"voxel_spacing": float("nan")}]
)
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_phantom(tmp_path / "project", **TINY | wrong)


def test_the_config_contains_the_numbers_it_was_made_with(config):
    assert json.loads(config.read_text(encoding="utf-8"))["phantom"]["seed"] == 7


def test_what_a_killed_process_left_beside_a_project_is_removed(config):
    leftover = config.parents[1] / ".octopi-stage-elsewhere-1-0"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    make_phantom(config.parent, **TINY)
    assert not leftover.exists()
