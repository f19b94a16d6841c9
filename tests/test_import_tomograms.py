"""`octopi import_tomograms`: what MRC files become, and what is caught before any is written."""

import os

import copick
import mrcfile
import numpy as np
import pytest

from octopi.geometry import Grid, fourier_resample
from octopi.import_tomograms import choose_grid
from octopi.project import Project, open_project
from octopi.project.queries import TomogramQuery

SHAPE = (12, 20, 26)


def noise(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write_mrc(path, volume=None, *, voxel_size=8.0):
    path.parent.mkdir(exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(noise() if volume is None else volume)
        mrc.voxel_size = voxel_size
    return path


@pytest.fixture
def mrcs(here):
    """Write two tomograms to a folder."""
    for number in (1, 2):
        write_mrc(here / f"mrcs/lam_{number}.mrc", noise(number))
    return here / "mrcs"


@pytest.fixture
def run_import(octopi_command, here):
    def run(*overrides):
        return octopi_command("import_tomograms", "folder=mrcs", "tomo_type=wbp", *overrides)

    return run


def read_imported(here, run_name, tomo_type="wbp", spacing=8.0):
    (run,) = open_project(here / "project.json").select([run_name])
    query = run.find_tomogram(tomo_type, spacing)
    return run.read_tomogram(query), run.tomogram_grid(query)


def overlay_files(here):
    return sorted(p for p in (here / "overlay").rglob("*") if "outputs" not in p.parts)


def test_every_file_is_a_tomogram_of_the_run_it_is_named_after(mrcs, here, run_import):
    assert run_import() == 0
    for number in (1, 2):
        volume, grid = read_imported(here, f"lam_{number}")
        np.testing.assert_array_equal(volume, noise(number))
        assert grid == Grid.cubic(SHAPE, 8.0)


def test_copick_itself_reads_what_was_imported(mrcs, here, run_import):
    assert run_import() == 0
    run = copick.from_file(str(here / "project.json")).get_run("lam_1")
    tomogram = run.get_voxel_spacing(8.0).get_tomograms("wbp")[0]
    np.testing.assert_array_equal(tomogram.numpy(), noise(1))


def test_the_star_of_the_pattern_is_the_name_of_the_run(mrcs, here, run_import):
    write_mrc(mrcs / "rec_TS_7_8.00Apx.mrc", noise(7))
    write_mrc(mrcs / "._rec_TS_7_8.00Apx.mrc")  # as macOS leaves beside files on other disks
    assert run_import("files=rec_*_8.00Apx.mrc") == 0
    np.testing.assert_array_equal(read_imported(here, "TS_7")[0], noise(7))
    assert "lam_1" not in {run.name for run in open_project(here / "project.json").runs}


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_integers_and_halves_become_float32(mrcs, here, run_import, dtype):
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 100
    write_mrc(mrcs / "int.mrc", volume.astype(dtype))
    assert run_import("files=int*.mrc") == 2  # a run needs a name
    assert run_import("files=*t.mrc") == 0
    np.testing.assert_array_equal(read_imported(here, "in")[0], volume)


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_a_voxel_size_that_was_never_set_must_be_given(mrcs, here, run_import, capfd, missing):
    write_mrc(mrcs / "lam_2.mrc", voxel_size=missing)
    before = overlay_files(here)
    assert run_import() == 3
    error = capfd.readouterr().err
    assert "The voxel size of lam_2.mrc is unknown" in error
    assert "voxel_spacing=" in error
    assert overlay_files(here) == before
    assert run_import("voxel_spacing=8") == 0
    assert read_imported(here, "lam_2")[1] == Grid.cubic(SHAPE, 8.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((8.0, 8.0, 9.0), "no cubes"),
        (800.0, "no tomogram has"),
        (0.08, "no tomogram has"),
        (12.0, "differ in voxel size: lam_1.mrc has 8 Å, lam_2.mrc 12 Å"),
    ],
)
def test_a_wrong_voxel_size_is_caught_before_anything_is_written(
    mrcs, here, run_import, capfd, wrong, message
):
    write_mrc(mrcs / "lam_2.mrc", voxel_size=wrong)
    before = overlay_files(here)
    assert run_import() == 3
    assert message in capfd.readouterr().err
    assert overlay_files(here) == before
    assert run_import("voxel_spacing=8") == 3  # the header still says otherwise
    assert overlay_files(here) == before
    assert run_import("voxel_spacing=8", "ignore_header=true") == 0
    assert read_imported(here, "lam_2")[1] == Grid.cubic(SHAPE, 8.0)


def test_a_header_that_differs_by_rounding_is_accepted(mrcs, here, run_import):
    write_mrc(mrcs / "lam_2.mrc", voxel_size=8.012)
    assert run_import("voxel_spacing=8.012") == 0
    assert read_imported(here, "lam_1", spacing=8.012)[1] == Grid.cubic(SHAPE, 8.012)


def damage_axes(path):
    with mrcfile.open(path, "r+") as mrc:
        mrc.header.mapc, mrc.header.maps = 3, 1


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def with_nan(path):
    with mrcfile.mmap(path, "r+") as mrc:
        mrc.data[3, 4, 5] = np.nan


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_axes, "order (3, 2, 1)"),
        (truncate, "truncated"),
        (with_nan, "holds 1 voxels that are NaN or infinite"),
        (lambda path: write_mrc(path, np.ones(SHAPE, np.float32)), "every voxel is 1"),
        (lambda path: write_mrc(path, noise(shape=(1, 9, 9))), "no volume"),
        (lambda path: write_mrc(path, noise().astype(np.complex64)), "mode 4"),
        (lambda path: path.write_bytes(b"short"), "no MRC file"),
        (lambda path: path.write_bytes(b"x" * 4000), "lam_2.mrc"),
    ],
)
def test_a_damaged_file_stops_all_before_anything_is_written(
    mrcs, here, run_import, capfd, damage, message
):
    damage(mrcs / "lam_2.mrc")
    before = overlay_files(here)
    assert run_import() == 3
    err = capfd.readouterr().err
    assert message in err
    assert "Nothing has been written." in err
    assert overlay_files(here) == before


def test_one_error_has_the_faults_of_all_files(mrcs, run_import, capfd):
    write_mrc(mrcs / "lam_1.mrc", voxel_size=0.0)
    write_mrc(mrcs / "lam_2.mrc", voxel_size=(8, 8, 9))
    assert run_import() == 3
    err = capfd.readouterr().err
    assert "lam_1.mrc" in err
    assert "lam_2.mrc" in err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LAM_1.mrc", "cannot tell apart"),
        ("my tomo.mrc", "'my-tomo'"),
        ("lam..3.mrc", "'lam.3'"),
        (f"{'x' * 80}.mrc", "up to 64"),
    ],
)
def test_names_that_collide_or_that_no_run_can_have_are_refused(
    mrcs, here, run_import, capfd, name, message
):
    write_mrc(mrcs / name)
    before = overlay_files(here)
    assert run_import() == 2
    assert message in capfd.readouterr().err
    assert overlay_files(here) == before


def test_an_existing_tomogram_is_replaced_only_with_overwrite(mrcs, here, run_import, capfd):
    assert run_import("files=*_1.mrc") == 0
    before = overlay_files(here)
    write_mrc(mrcs / "lam_1.mrc", noise(9))
    assert run_import("files=*_1.mrc") == 2
    err = capfd.readouterr().err
    assert "already has the tomogram wbp@8.0" in err
    assert "overwrite=true" in err
    assert overlay_files(here) == before
    np.testing.assert_array_equal(read_imported(here, "lam")[0], noise(1))
    assert run_import("files=*_1.mrc", "overwrite=true") == 0
    np.testing.assert_array_equal(read_imported(here, "lam")[0], noise(9))


def test_a_tomogram_of_the_read_only_data_is_not_replaced_even_with_overwrite(
    here, run_import, capfd
):
    write_mrc(here / "mrcs/TS_01.mrc", voxel_size=20.0)
    assert run_import("overwrite=true") == 2
    assert "another tomo_type" in capfd.readouterr().err
    assert run_import("tomo_type=ctf") == 0
    run = open_project(here / "project.json").select(["TS_01"])[0]
    assert TomogramQuery("ctf", 20.0) in run.tomograms()


def test_a_nearly_equal_spacing_counts_as_the_same(mrcs, here, run_import, capfd):
    assert run_import() == 0
    assert run_import("voxel_spacing=8.02", "overwrite=true") == 2
    assert "wbp@8.0 " in capfd.readouterr().err


def test_a_dry_run_lists_the_tomograms_and_writes_none(mrcs, here, run_import, capfd):
    before = sorted(here.rglob("*"))
    assert run_import("dry_run=true", "resample_to=16") == 0
    output = "".join(capfd.readouterr())
    assert "lam_1.mrc: run lam_1, wbp@16.0, 6×10×13 voxels" in output
    assert sorted(here.rglob("*")) == before
    write_mrc(mrcs / "lam_2.mrc", voxel_size=0.0)
    assert run_import("dry_run=true") == 3


def test_tomograms_are_resampled_by_cropping_their_spectrum(mrcs, here, run_import):
    assert run_import("resample_to=16") == 0
    volume, grid = read_imported(here, "lam_1", spacing=16.0)
    assert grid == Grid.cubic((6, 10, 13), 16.0)
    np.testing.assert_allclose(volume, fourier_resample(noise(1), (6, 10, 13)), atol=1e-6)


@pytest.mark.parametrize("shape", [(184, 630, 630), (185, 631, 629), (92, 315, 320)])
@pytest.mark.parametrize("resample_to", [10.0, 13.33, 20.0])
def test_resampled_voxels_are_cubes_and_keep_the_first_voxel(shape, resample_to):
    used, grid = choose_grid(shape, 5.006, resample_to)
    assert all(n - 16 <= m <= n for n, m in zip(shape, used, strict=True))
    assert max(grid.spacing) / min(grid.spacing) - 1 < 2e-3
    np.testing.assert_allclose(grid.spacing, resample_to, rtol=2e-3)
    np.testing.assert_allclose(grid.spacing, np.array(used) * 5.006 / grid.shape)


def test_a_spacing_within_one_percent_is_left_alone():
    assert choose_grid((64, 64, 64), 10.012, 10.0) == (
        (64, 64, 64),
        Grid.cubic((64, 64, 64), 10.012),
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["folder=nowhere"], "no folder"),
        (["files=*.rec"], "It holds: lam_1.mrc, lam_2.mrc"),
        (["files=lam_*"], "would call a run 1.mrc: write the ending too, as in files=lam_*.mrc"),
        (["files=a.mrc"], "one *"),
        (["tomo_type=my_type"], "my-type"),
        (["tomo_type=features"], "features"),
        (["resample_to=4"], "finer"),
        (["voxel_spacing=-1"], "0.5 … 100"),
        (["ignore_header=true"], "needs voxel_spacing"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    mrcs, here, run_import, capfd, overrides, message
):
    before = overlay_files(here)
    assert run_import(*overrides) == 2
    assert message in capfd.readouterr().err
    assert overlay_files(here) == before


@pytest.mark.parametrize("setting", ["voxel_spacing=0.05", "voxel_spacing=800", "resample_to=101"])
def test_a_spacing_that_no_tomogram_has_is_refused(mrcs, run_import, capfd, setting):
    assert run_import(setting, "ignore_header=true") == 2
    assert "0.5 … 100" in capfd.readouterr().err


def test_half_tomograms_are_left_out_where_the_whole_is_there(mrcs, here, run_import, capfd):
    for name in ("lam_1_EVN", "lam_1_ODD", "lam_2_half1", "lam_even_3"):
        write_mrc(mrcs / f"{name}_Vol.mrc", noise(len(name)))
    for number in (1, 2):
        write_mrc(mrcs / f"lam_{number}_Vol.mrc", noise(number))
    assert run_import("files=*_Vol.mrc") == 0
    output = "".join(capfd.readouterr())
    assert "3 files are left out" in output
    assert "lam_1_EVN_Vol.mrc, lam_1_ODD_Vol.mrc, lam_2_half1_Vol.mrc" in output
    names = {run.name for run in open_project(here / "project.json").runs}
    assert {name for name in names if name.startswith("lam")} == {"lam_1", "lam_2", "lam_even_3"}
    assert run_import("files=*_EVN_Vol.mrc", "tomo_type=even") == 0
    np.testing.assert_array_equal(read_imported(here, "lam_1", "even")[0], noise(len("lam_1_EVN")))


def test_halves_without_the_whole_are_refused(mrcs, here, run_import, capfd):
    for name in ("TS_3_odd", "TS_3_even"):
        write_mrc(mrcs / f"{name}.mrc")
    before = overlay_files(here)
    assert run_import() == 2
    assert "TS_3_even.mrc and TS_3_odd.mrc are halves of one tomogram" in capfd.readouterr().err
    assert overlay_files(here) == before


def test_a_link_that_leads_nowhere_is_named(mrcs, here, run_import, capfd):
    (mrcs / "lam_3.mrc").symlink_to(here / "gone.mrc")
    before = overlay_files(here)
    assert run_import() == 3
    err = capfd.readouterr().err
    assert "lam_3.mrc" in err
    assert "gone.mrc" in err
    assert overlay_files(here) == before


def test_folders_and_pipes_that_are_named_as_files_are_named(mrcs, run_import, capfd):
    (mrcs / "TS_03.mrc").mkdir()
    os.mkfifo(mrcs / "TS_04.mrc")
    assert run_import() == 0
    assert "no files: TS_03.mrc, TS_04.mrc" in capfd.readouterr().err


def test_files_that_may_be_tilt_series_are_warned_of(mrcs, run_import, capfd):
    write_mrc(mrcs / "lam_1_st.mrc")
    path = write_mrc(mrcs / "lam_7.mrc")
    with mrcfile.open(path, "r+") as file:
        file.header.ispg = 0
    assert run_import("dry_run=true") == 0
    output = "".join(capfd.readouterr())
    assert "lam_1_st.mrc is named as tilt series are" in output
    assert "lam_7.mrc is a stack of images by its header" in output
    assert output.count("If it is no tomogram") == 2


def test_an_interrupted_import_goes_on(mrcs, here, run_import, monkeypatch, capfd):
    write = Project.write_tomogram

    def stop_at_the_second(self, run_name, *args, **kwargs):
        if run_name == "lam_2":
            raise KeyboardInterrupt
        write(self, run_name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Project, "write_tomogram", stop_at_the_second)
        assert run_import("resample_to=16") == 130
    written = {path: path.stat().st_mtime_ns for path in overlay_files(here)}
    assert run_import("resample_to=16") == 0
    assert "1 of 2 tomograms were imported before" in "".join(capfd.readouterr())
    assert all(path.stat().st_mtime_ns == time for path, time in written.items() if path.is_file())
    assert read_imported(here, "lam_2", spacing=16.0)[1] == Grid.cubic((6, 10, 13), 16.0)
    write_mrc(mrcs / "lam_1.mrc", noise(9))
    assert run_import("resample_to=16") == 2
    assert "with other voxels" in capfd.readouterr().err


def test_a_tomogram_that_a_killed_import_left_unfinished_is_written_again(mrcs, here, run_import):
    assert run_import() == 0
    (metadata,) = here.glob("overlay/**/lam_1/**/wbp.zarr/.zattrs")
    metadata.unlink()  # which is written last where no folder can be renamed
    assert run_import() == 0
    assert read_imported(here, "lam_1")[1].shape == SHAPE


def test_the_faults_of_many_files_make_a_short_message(mrcs, run_import, capfd):
    for number in range(60):
        path = write_mrc(mrcs / f"20240117_grid3_lamella{number:03d}_ts001_rec_bin4.mrc")
        path.write_bytes(path.read_bytes()[:2000])
    assert run_import() == 3
    message = capfd.readouterr().err.partition("octopi: ")[2]
    assert len(message) <= 600
    assert "truncated" in message
    assert "more\nNothing has been written." in message


@pytest.mark.parametrize("field", ["nystart", "origin"])
def test_a_part_of_a_larger_volume_is_warned_of(mrcs, run_import, capfd, field):
    with mrcfile.open(mrcs / "lam_2.mrc", "r+") as mrc:
        mrc.header[field] = (0, 160, 0) if field == "origin" else 20
    assert run_import("dry_run=true") == 0
    log = capfd.readouterr().err
    assert "1 files begin elsewhere than at 0 by their headers" in log
    assert "lam_2.mrc" in log.partition("begin elsewhere")[2].splitlines()[0]


def test_a_tomogram_of_another_size_than_its_run_or_too_small_is_warned_of(mrcs, run_import, capfd):
    for path in mrcs.iterdir():
        path.unlink()
    write_mrc(mrcs / "TS_01.mrc", noise(shape=(48, 24, 48)), voxel_size=20.0)
    write_mrc(mrcs / "TS_02.mrc", noise(shape=(24, 48, 48)), voxel_size=20.0)
    assert run_import("tomo_type=new", "dry_run=true") == 0
    log = capfd.readouterr().err
    assert "1 tomograms span another box than those that their runs have: TS_01 (48×24×48" in log
    assert "TS_01.mrc: Object ribosome has a radius" not in log
    smaller = ("voxel_spacing=2", "ignore_header=true")
    assert run_import("tomo_type=new", "dry_run=true", *smaller) == 0
    assert "TS_01.mrc: Object ribosome has a radius of " in capfd.readouterr().err
