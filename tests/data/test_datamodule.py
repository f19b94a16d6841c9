"""The data module: from a real project to batches that are the same wherever they are made."""

import logging
import pickle
from types import SimpleNamespace

import copick
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny_project import LABELS, OBJECTS, SHAPE, SPACING, TARGET, make_project, write_target

from octopi.data import datamodule, sources
from octopi.data.augment import Affine, Compose, Flip, GaussianNoise
from octopi.data.datamodule import ValidationVolume, build_data_module
from octopi.data.gpu_volumes import fits_on_gpu
from octopi.errors import DataError, NotInProjectError, ResourceError, SettingError
from octopi.geometry import Grid
from octopi.project import open_project
from octopi.project.queries import PicksQuery, SegmentationQuery, TomogramQuery
from octopi.system import resources

pytestmark = [
    # Python 3.12 and later: workers are forked by a process with threads, which torch means to do
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
    # a batch here takes a millisecond: no worker is wanted
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6 with torch 2.13, in Lightning's own code
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
WBP = TomogramQuery("wbp", SPACING)
DENOISED = TomogramQuery("denoised", SPACING)


def make_annotated(folder):
    """Four runs, each with both objects and a target."""
    project = make_project(folder, run_names=[f"TS_{i}" for i in range(4)])
    for run in project.runs:
        write_target(run)
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project that tests only read."""
    return make_annotated(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture
def own(tmp_path):
    """A project that a test may change."""
    return make_annotated(tmp_path / "project")


def particles_of(run):
    stored = run.picks()
    queries = {name: PicksQuery(name, "curation", "0") for name in OBJECTS}
    return {name: run.read_picks(query) for name, query in queries.items() if query in stored}


def make_data(project, tmp_path, **changes):
    settings = {
        "runs": project.runs,
        "target": TARGET,
        "tomograms": [WBP],
        "labels": LABELS,
        "augment": None,
        "sampler": None,
        "particles_of": particles_of,
        "numbers_particles": False,
        "working_spacing": None,
        "crop_size": [16, 16, 16],
        "crops_per_step": 3,
        "steps_per_epoch": 4,
        "background_fraction": 0.1,
        "center_jitter": 0.5,
        "num_workers": 0,
        "cache_dir": str(tmp_path / "cache"),
        "train_runs": None,
        "validation_runs": ["TS_3"],
        "test_runs": None,
        "ratios": None,
        "fold": None,
        "num_folds": None,
        "tilt_series_pattern": None,
        "seed": 0,
    }
    return build_data_module(**{**settings, **changes})


def ready(project, tmp_path, **changes):
    data = make_data(project, tmp_path, **changes)
    data.setup()
    return data


def augmented_epoch(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def test_training_batches_are_crops_of_normalised_tomograms_with_their_targets(project, tmp_path):
    data = ready(project, tmp_path)
    batches = augmented_epoch(data)
    assert len(batches) == 4
    for batch in batches:
        assert set(batch) == {"image", "target", "not_annotated"}
        assert not batch["not_annotated"].any()
        assert batch["not_annotated"].shape == (3, 1 + len(LABELS))
        assert batch["image"].shape == batch["target"].shape == (3, 1, 16, 16, 16)
        assert batch["image"].dtype == torch.float32
        assert batch["target"].dtype == torch.uint8
        assert abs(batch["image"].mean()) < 0.1
        assert batch["image"].std() == pytest.approx(1, abs=0.1)
    assert {1, 2} <= set(torch.cat([b["target"] for b in batches]).unique().tolist())


def test_batches_are_bitwise_the_same_for_any_number_of_workers(project, tmp_path):
    augment = Compose(
        flip=Flip(axes=["z", "y", "x"], prob=0.5),
        affine=Affine(angle_in_plane=45, angle_tilt=5, scale=0.05, prob=0.5),
        noise=GaussianNoise(std=0.3, prob=0.5),
    )
    changes = {"tomograms": [WBP, DENOISED], "augment": augment}
    epochs = [
        augmented_epoch(ready(project, tmp_path, num_workers=n, **changes), epoch=3)
        for n in (0, 1, 2)
    ]
    for other in epochs[1:]:
        for one, same in zip(epochs[0], other, strict=True):
            assert torch.equal(one["image"], same["image"])
            assert torch.equal(one["target"], same["target"])


def test_epochs_seeds_and_ranks_differ_and_an_epoch_can_be_repeated(project, tmp_path):
    data = ready(project, tmp_path)
    first, again, later = (augmented_epoch(data, epoch=e)[0]["image"] for e in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    other_seed = augmented_epoch(ready(project, tmp_path, seed=1))[0]["image"]
    assert not torch.equal(first, other_seed)
    loader = data.train_dataloader()
    loader.dataset.rank = 1
    assert not torch.equal(first, next(iter(loader))["image"].float())


class Recorder(pl.LightningModule):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["image"].sum().item())
        return self.weight * batch["image"].mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data, *, max_epochs, save_to, resume=None):
    """The module after training, which may begin from a checkpoint and saves one every step."""
    module = Recorder()
    save = {"every_n_train_steps": 1, "save_top_k": -1, "filename": "{step}"}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        logger=False,
        callbacks=[ModelCheckpoint(save_to, **save)],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(save_to / "end.ckpt")
    return module


@pytest.mark.filterwarnings("ignore:.*ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_training_resumed_at_any_step_sees_what_an_uninterrupted_one_does(project, tmp_path):
    whole = fit(make_data(project, tmp_path), max_epochs=3, save_to=tmp_path / "whole")
    assert len(set(whole.seen)) == 12
    half = fit(make_data(project, tmp_path), max_epochs=1, save_to=tmp_path / "half")
    assert half.seen == whole.seen[:4]
    checkpoints = {step: tmp_path / "whole" / f"step={step}.ckpt" for step in (1, 3, 4, 6, 8, 11)}
    for step, checkpoint in [*checkpoints.items(), (4, tmp_path / "half" / "end.ckpt")]:
        again = {"resume": checkpoint, "save_to": tmp_path / f"from {step} {checkpoint.stem}"}
        assert fit(make_data(project, tmp_path), max_epochs=3, **again).seen == whole.seen[step:]


def test_validation_gives_whole_runs_on_the_working_grid_with_their_truth(project, tmp_path):
    data = make_data(project, tmp_path, working_spacing=20.024)
    (volume,) = fit(data, max_epochs=1, save_to=tmp_path / "a").validated
    assert isinstance(volume, ValidationVolume)
    assert volume.run_name == "TS_3"
    assert volume.grid.shape == volume.image.shape == volume.target.shape == (10, 16, 20)
    assert volume.grid.spacing == pytest.approx((20.024,) * 3)
    assert np.asarray(volume.image, np.float64).mean() == pytest.approx(0, abs=1e-3)
    assert np.asarray(volume.image, np.float64).std() == pytest.approx(1, abs=1e-3)
    for name, points in volume.truth.items():
        inside = points.positions[volume.grid.contains(points.positions)]
        z, y, x = np.rint(volume.grid.to_voxels(inside)).astype(int).T
        assert np.mean(volume.target[z, y, x] == LABELS[name]) > 0.7


def test_no_validation_runs_is_no_validation_loader(project, tmp_path):
    assert ready(project, tmp_path, validation_runs=None).val_dataloader() == []


def test_without_validation_runs_the_training_runs_can_be_validated_whole(project, tmp_path):
    data = ready(project, tmp_path, validation_runs=None, tomograms=[DENOISED, WBP])
    module = Recorder()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.validate(module, dataloaders=data.training_volumes(), verbose=False)
    assert [volume.run_name for volume in module.validated] == ["TS_0", "TS_1", "TS_2", "TS_3"]
    assert all(set(volume.truth) == set(OBJECTS) for volume in module.validated)


def test_tomograms_are_read_once_per_machine(project, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="octopi.data"):
        ready(project, tmp_path)
        assert "Caching" in caplog.text
        caplog.clear()
        ready(project, tmp_path)
        assert "Caching" not in caplog.text
        ready(project, tmp_path, working_spacing=20.024)
        assert "Caching" in caplog.text


def test_a_rewritten_target_is_noticed(own, tmp_path):
    before = ready(own, tmp_path)
    run = own.runs[0]
    empty = np.zeros(SHAPE, np.uint8)
    empty[3, 3, 3], empty[8, 8, 8] = 1, 2
    attributes = {"labels": LABELS}
    run.write_segmentation(TARGET, empty, grid=Grid.cubic(SHAPE, SPACING), attributes=attributes)
    after = ready(own, tmp_path)
    assert before.fingerprint() != after.fingerprint()
    assert after.fingerprint() == ready(own, tmp_path).fingerprint()


def test_test_runs_are_never_read(own, tmp_path):
    run = own.runs[0]
    (path,) = (tmp_path / "project").rglob(f"{run.name}/VoxelSpacing*/wbp.zarr/0/.zarray")
    path.write_text("damaged", encoding="utf-8")
    data = ready(own, tmp_path, test_runs=["TS_0"])
    assert data.split.test == ("TS_0",)
    with pytest.raises(DataError, match="TS_0"):
        ready(own, tmp_path)


def test_a_class_absent_from_training_is_an_error_from_validation_a_warning(tmp_path, caplog):
    project = make_project(tmp_path / "p", run_names=["TS_1", "TS_2"])
    write_target(project.runs[0])
    write_target(project.runs[1], objects=["apo"])
    names = {"train_runs": ["TS_1"], "validation_runs": ["TS_2"]}
    ready(project, tmp_path, **names)
    assert "No validation run holds ribosome" in caplog.text
    with pytest.raises(DataError, match=r"ribosome.*TS_1"):
        ready(project, tmp_path, train_runs=["TS_2"], validation_runs=["TS_1"])
    with pytest.raises(DataError, match="virus"):
        write_labels = {**LABELS, "virus": 3}
        for run in project.runs:
            write_target(run, labels=write_labels)
        ready(project, tmp_path, **names, labels=write_labels)


def test_folds_keep_a_rare_class_in_training(tmp_path):
    project = make_project(tmp_path / "p", run_names=[f"TS_{i}" for i in range(6)])
    for index, run in enumerate(project.runs):
        write_target(run, objects=list(OBJECTS) if index in (1, 4) else ["apo"])
    changes = {"validation_runs": None, "num_folds": 2}
    splits = [ready(project, tmp_path, fold=fold, **changes).split for fold in (0, 1)]
    assert all({"TS_1", "TS_4"} & set(split.train) for split in splits)
    assert set(splits[0].validation) == set(splits[1].train)


def test_a_target_with_labels_of_no_object_is_refused(own, tmp_path):
    write_target(own.runs[1], labels={"apo": 1, "ribosome": 7}, attributes={})
    with pytest.raises(DataError, match=r"targets:octopi/1@10.012 holds the labels 7, which"):
        ready(own, tmp_path)


def test_a_target_of_another_shape_is_refused_with_both(own, tmp_path):
    write_target(own.runs[2], grid=Grid.cubic((20, 32, 60), SPACING))
    with pytest.raises(DataError, match=r"TS_2.*20×32×60.*20×32×40"):
        ready(own, tmp_path)


def test_a_target_made_on_the_working_grid_is_used_as_it_is(tmp_path):
    project = make_project(tmp_path / "p", run_names=["TS_3", "TS_4"])
    grid = Grid.cubic(SHAPE, SPACING).at_spacing(20.0)
    for run in project.runs:
        write_target(run, grid=grid)
    data = ready(
        project,
        tmp_path,
        target=SegmentationQuery("targets", "octopi", "1"),
        working_spacing=20.0,
    )
    volume = data.val_dataloader().dataset[0]
    stored, _, _ = project.runs[0].read_segmentation(SegmentationQuery("targets", "octopi", "1"))
    assert np.array_equal(volume.target, stored)


def test_every_run_must_have_the_first_tomogram_type_and_may_lack_others(tmp_path, caplog):
    project = make_project(tmp_path / "p", run_names=["TS_3", "TS_4"], tomo_types=["wbp"])
    for run in project.runs:
        write_target(run)
    ready(project, tmp_path, tomograms=[WBP, DENOISED])
    assert "TS_4 lacks denoised" in caplog.text
    with pytest.raises(NotInProjectError, match="wbp"):
        ready(project, tmp_path, tomograms=[DENOISED, WBP])


def test_tomograms_of_two_voxel_spacings_train_together_each_with_its_own_target(own, tmp_path):
    for run in copick.from_file(str(own.config_paths[0])).runs:
        coarse = np.random.default_rng(0).standard_normal((10, 16, 20)).astype(np.float32)
        run.new_voxel_spacing(20.024).new_tomogram("wbp").from_numpy(coarse, levels=1)
    both = [WBP, TomogramQuery("wbp", 20.024)]
    runs = open_project(own.config_paths[0]).runs
    data = ready(own, tmp_path, runs=runs, tomograms=both, crop_size=[8, 8, 8])
    sampler = data.train_dataloader().dataset.sampler
    drawn = [crop for step in range(30) for crop in sampler.draw_crops(epoch=0, step=step)]
    assert {crop.variant.grid.shape for crop in drawn} == {SHAPE, (10, 16, 20)}
    for crop in drawn:
        image, target = (data.cache.open(k) for k in (crop.variant.volume, crop.variant.target))
        assert image.shape == target.shape == crop.variant.grid.shape
    assert data.val_dataloader().dataset[0].image.shape == SHAPE


def test_nothing_is_read_before_setup(project, tmp_path):
    data = make_data(project, tmp_path, target=SegmentationQuery("nowhere", "a", "1"))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(NotInProjectError, match="nowhere"):
        data.setup()


def test_workers_are_sent_keys_not_volumes(project, tmp_path):
    loader = ready(project, tmp_path).train_dataloader()
    assert len(pickle.dumps(loader.dataset)) < 400_000


def test_runs_of_one_tilt_series_are_found_by_their_names(project, tmp_path):
    with pytest.raises(SettingError, match="one group"):
        make_data(project, tmp_path, train_runs=["TS_1"], tilt_series_pattern="^TS")
    with pytest.raises(ValueError, match=r"matches nothing.*TS_0"):
        make_data(project, tmp_path, tilt_series_pattern="position_[0-9]+")


@pytest.mark.parametrize(
    "changes",
    [
        {"validation_runs": ["TS_9"]},
        {"fold": 0, "num_folds": 2},
    ],
)
def test_bad_settings_are_refused_at_construction(project, tmp_path, changes):
    with pytest.raises((ValueError, NotInProjectError)):
        make_data(project, tmp_path, **changes)


@pytest.mark.parametrize("size", [[16, 16, 16], [20, 32, 8]])
def test_batches_are_the_same_where_the_device_that_trains_holds_the_volumes(
    project, tmp_path, monkeypatch, size
):
    augment = Compose(flip=Flip(axes=["z", "y", "x"], prob=0.5))
    changes = {"tomograms": [WBP, DENOISED], "augment": augment, "crop_size": size}
    cut_in_workers = fit(
        ready(project, tmp_path, num_workers=1, **changes), max_epochs=2, save_to=tmp_path / "one"
    )
    monkeypatch.setattr(datamodule, "fits_on_gpu", lambda *args, **kwargs: True)
    data = ready(project, tmp_path, num_workers=1, **changes)
    cut_on_device = fit(data, max_epochs=2, save_to=tmp_path / "two")
    assert data.train_dataloader().num_workers == 0
    assert len(cut_on_device.seen) == 8
    assert cut_on_device.seen == cut_in_workers.seen


@pytest.mark.parametrize(("numbers_particles", "voxel_bytes"), [(False, 2 + 1), (True, 2 + 4)])
def test_only_a_gpu_with_room_holds_the_volumes(
    project, tmp_path, monkeypatch, numbers_particles, voxel_bytes
):
    data = ready(project, tmp_path, numbers_particles=numbers_particles)
    sampler = data.train_dataloader().dataset.sampler
    variants = [variant for run in sampler.runs for variant in run]
    needed = voxel_bytes * np.prod(SHAPE) * len(variants)
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    free = {"bytes": 3 * needed}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 10**12))
    assert fits_on_gpu(variants, SHAPE, device=gpu)
    assert not fits_on_gpu(variants, SHAPE, device=cpu)
    assert not fits_on_gpu(variants, [SHAPE[0] + 1, 8, 8], device=gpu)
    free["bytes"] -= 3
    assert not fits_on_gpu(variants, SHAPE, device=gpu)


def test_a_cache_that_the_disk_cannot_hold_is_refused_before_a_tomogram_is_read(
    project, tmp_path, monkeypatch
):
    needed = 2 * np.prod(SHAPE) * len(project.runs)
    monkeypatch.setattr(resources, "free_space", lambda path: needed - 1)
    data = make_data(project, tmp_path)
    monkeypatch.setattr(sources, "_prepare", lambda *given: pytest.fail("A tomogram was read."))
    with pytest.raises(ResourceError, match=r"need .* more in the cache .* data\.cache_dir"):
        data.setup()


def test_a_cache_that_memory_cannot_hold_is_told(project, tmp_path, monkeypatch, caplog):
    needed = 2 * int(np.prod(SHAPE)) * len(project.runs)
    known = dict(vars(resources))

    def set_memory(num_bytes):  # for the cache alone
        kept = SimpleNamespace(**known | {"memory": lambda: num_bytes})
        monkeypatch.setattr(sources, "resources", kept)

    set_memory(needed)
    ready(project, tmp_path)
    assert "read from disk" not in caplog.text
    set_memory(needed - 1)
    ready(project, tmp_path)  # also where all of it is cached already
    assert "read from disk" in caplog.text


def test_a_data_module_can_train_after_its_dry_run_as_one_without(project, tmp_path):
    data = make_data(project, tmp_path)
    assert data.describe().missing
    assert not list(tmp_path.glob("cache/*"))
    data.setup()
    expected = augmented_epoch(ready(project, tmp_path / "other"))
    for batch, same in zip(augmented_epoch(data), expected, strict=True):
        assert torch.equal(batch["image"], same["image"])
        assert torch.equal(batch["target"], same["target"])
