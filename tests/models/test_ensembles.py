"""Several networks as one: their scores averaged, or their weights."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from checkpoints import NET, recipe
from tiny import TINY

from octopi.errors import SettingError
from octopi.models import checkpoint
from octopi.project import open_project

SEGRESNET = {
    "_target_": "monai.networks.nets.SegResNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "init_filters": 8,
    "blocks_down": [1, 1, 1],
    "blocks_up": [1, 1],
}
BATCH_NORM = {**NET, "norm": "batch"}


def made(net=NET, *, seed=0, start=(1.0, 2.0), **changes):
    """Weights and recipe of a network that began with `start`."""
    torch.manual_seed(seed)
    weights = checkpoint.build_net(net).state_dict()
    known = {} if start is None else {checkpoint.INITIAL_WEIGHTS_KEY: list(start)}
    return weights, recipe(net=net, provenance=known, **changes)


def scaled(loaded, factor):
    return {k: v * factor for k, v in loaded[0].items()}, loaded[1]


def test_a_soup_of_one_network_several_times_is_the_network():
    one = made()
    weights, mixed = checkpoint.average_weights([one, one, one])
    assert all(torch.equal(weights[name], one[0][name]) for name in one[0])
    assert mixed == one[1]


def test_a_soup_is_the_mean_of_the_weights():
    one = made()
    weights, _ = checkpoint.average_weights([one, scaled(one, 4)])
    assert all(torch.allclose(weights[name], 2.5 * one[0][name]) for name in one[0])
    nothing, _ = checkpoint.average_weights([one, scaled(one, -1)])
    assert not any(value.any() for value in nothing.values())


def test_statistics_are_averaged_and_counters_are_not():
    one, other = made(BATCH_NORM), made(BATCH_NORM)
    for weights, mean, steps in ((one[0], 1.0, 7), (other[0], 3.0, 9)):
        for name, value in weights.items():
            if name.endswith("running_mean"):
                value.fill_(mean)
            if name.endswith("num_batches_tracked"):
                value.fill_(steps)
    weights, mixed = checkpoint.average_weights([one, other])
    assert {float(v.mean()) for k, v in weights.items() if k.endswith("running_mean")} == {2.0}
    counters = [v for k, v in weights.items() if k.endswith("num_batches_tracked")]
    assert {int(v) for v in counters} == {7}
    assert counters[0].dtype == torch.int64
    checkpoint.build_trusted_network(weights, mixed, origin="soup")


def test_half_precision_stays_what_it_is():
    one = made()
    half = {k: v.half() for k, v in one[0].items()}, one[1]
    assert {v.dtype for v in checkpoint.average_weights([half, half])[0].values()} == {
        torch.float16
    }


def test_a_soup_of_a_cross_validation_is_that_of_its_folds():
    one, other = made(), scaled(made(), 3)
    nets = [one, other]
    together = {f"nets.{i}.{k}": v for i, (w, _) in enumerate(nets) for k, v in w.items()}
    held = recipe(
        net={"_target_": checkpoint.ENSEMBLE, "nets": [NET, NET]},
        provenance={"folds": [net[1].provenance for net in nets]},
    )
    weights, mixed = checkpoint.average_weights([(together, held)])
    assert mixed.net == NET
    assert all(torch.allclose(weights[name], 2 * one[0][name]) for name in one[0])
    checkpoint.build_trusted_network(weights, mixed, origin="soup")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (made(SEGRESNET), "_target_"),
        (made({**NET, "channels": [4, 16]}), r"channels \[4, 8\] and \[4, 16\]"),
        (made(start=(1.0, 2.5)), "began with the same weights"),
    ],
)
def test_networks_that_make_no_soup_are_refused_with_the_way_out(other, told):
    with pytest.raises(SettingError, match=told) as refused:
        checkpoint.average_weights([made(), other])
    assert "ensemble=scores" in str(refused.value)


def test_weights_of_another_shape_are_refused():
    one, other = made(), made()
    other[0].popitem()
    with pytest.raises(SettingError, match="differ in name or shape"):
        checkpoint.average_weights([one, other])


def test_where_the_beginning_is_not_known_it_is_said(caplog):
    checkpoint.average_weights([made(), made(start=None)])
    assert "does not say with which weights it began" in caplog.text


def test_a_sample_of_the_weights_knows_a_network_again():
    def sampled(seed):
        torch.manual_seed(seed)
        return checkpoint.sample_weights(checkpoint.build_net(NET))

    assert sampled(1) == sampled(1)
    assert not np.allclose(sampled(1), sampled(2), rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": {"virus": 1, "ribosome": 2}}, "labels"),
        ({"labels": {"ribosome": 1}}, "labels"),
        ({"working_spacing": 10.0}, "working_spacing"),
        ({"voxel_spacing": 20.0}, "trained at 20 Å"),
    ],
)
def test_checkpoints_whose_scores_mean_different_things_are_refused(changes, told):
    with pytest.raises(SettingError, match=told):
        checkpoint.check_same_objects(["a.pth", "b.pth"], [recipe(), recipe(**changes)])


def test_one_working_spacing_makes_tomograms_alike():
    held = [recipe(working_spacing=20.0, voxel_spacing=spacing) for spacing in (5.0, 10.0)]
    checkpoint.check_same_objects(["a.pth", "b.pth"], held)


def test_thresholds_of_an_ensemble_are_the_mean_and_the_log_says_so(caplog):
    one = recipe()
    other = recipe(thresholds={"2": {"virus": 1}, "4": {"ribosome": 0.75, "virus": 0.25}})
    with caplog.at_level(logging.INFO):
        assert checkpoint.ensemble_thresholds([one]) == one.thresholds
        assert not caplog.text
        mean = checkpoint.ensemble_thresholds([one, other])
    assert mean == {"4": {"ribosome": 0.5, "virus": 0.375}}
    assert "the mean of those of 2 checkpoints" in caplog.text


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


def score_map(here, name):
    run = open_project(here / "project.json").select(["TS_01"])[0]
    found = [query for query, held in run.score_maps() if name in held]
    held = next(held for _, held in run.score_maps() if name in held)
    return run.read_score_map(found[0], held)


def segment(octopi_command, name, *checkpoints, words=()):
    given = f"checkpoint=[{','.join(checkpoints)}]"
    return octopi_command("segment", given, "runs=[TS_01]", f"name={name}", *words)


def test_the_mean_of_scores_is_that_of_separate_score_maps(targets, octopi_command):
    """Of two architectures, window sizes and divisors."""
    runs = ["data.train_runs=[TS_01,TS_02]", "data.validation_runs=[TS_03]"]
    unet = [*TINY, *runs, "hydra.run.dir=unet"]
    other = [
        *(word for word in TINY if not word.startswith(("model.", "predictor.", "data.crop"))),
        *runs,
        "model=segresnet",
        "model.init_filters=8",
        "model.blocks_down=[1,1,1]",
        "model.dsdepth=1",
        "data.crop_size=[8,16,16]",
        "predictor.window_size=[16,32,32]",
        "predictor.halo=[4,4,4]",
        "hydra.run.dir=segresnet",
    ]
    assert octopi_command("train", *unet) == 0
    assert octopi_command("train", *other) == 0
    paths = ["unet/best_model.pth", "segresnet/best_model.pth"]
    recipes = [checkpoint.read(path)[1] for path in paths]
    assert recipes[0].size_divisor != recipes[1].size_divisor
    assert recipes[0].predictor != recipes[1].predictor
    assert segment(octopi_command, "both", *paths) == 0
    # each alone, in the windows that the ensemble predicts in
    assert segment(octopi_command, "one", paths[0]) == 0
    alike = ["predictor.window_size=[24,48,48]", "predictor.halo=[0,0,0]"]
    assert segment(octopi_command, "other", paths[1], words=alike) == 0
    both, one, other = (
        score_map(targets, name)[0].astype(float) for name in ("both", "one", "other")
    )
    assert np.ptp(one - other) > 20  # they do not agree
    assert np.abs(both - (one + other) / 2).max() <= 1
    assert segment(octopi_command, "soup", *paths, words=["ensemble=soup"]) == 2


def test_folds_begin_alike_and_make_a_soup_another_seed_does_not(targets, octopi_command, capsys):
    words = [*TINY, "num_folds=3"]
    for fold in (0, 1):
        assert octopi_command("train", *words, f"fold={fold}", f"hydra.run.dir=fold_{fold}") == 0
    other = ["fold=0", "seed=7", "data.seed=42", "hydra.run.dir=seed_7"]
    assert octopi_command("train", *words, *other) == 0
    folds = ["fold_0/best_model.pth", "fold_1/best_model.pth"]
    loaded = [checkpoint.read(path) for path in folds]
    begun = [held.provenance[checkpoint.INITIAL_WEIGHTS_KEY] for _, held in loaded]
    assert begun[0] == begun[1]
    assert not all(torch.equal(v, loaded[1][0][k]) for k, v in loaded[0][0].items())

    assert segment(octopi_command, "kept", *folds, words=["ensemble=soup"]) == 0
    values, _, attributes = score_map(targets, "kept")
    assert attributes["ensemble"] == "soup"
    weights, held = checkpoint.average_weights(loaded)
    checkpoint.save(targets / "soup.pth", weights, dataclasses.replace(held, provenance={}))
    assert segment(octopi_command, "single", "soup.pth") == 0
    assert (values == score_map(targets, "single")[0]).all()

    assert segment(octopi_command, "kept", *folds, words=["ensemble=soup"]) == 0
    capsys.readouterr()
    assert segment(octopi_command, "kept", *folds) == 2
    assert "ensemble=soup" in capsys.readouterr().err
    labels = ["scores=false", "segmentation=true"]
    assert segment(octopi_command, "kept", *folds, words=labels) == 0
    assert segment(octopi_command, "kept", *folds, words=labels) == 0
    assert segment(octopi_command, "kept", *folds, words=[*labels, "ensemble=soup"]) == 2
    capsys.readouterr()
    mixed = [folds[0], "seed_7/best_model.pth"]
    assert segment(octopi_command, "mixed", *mixed, words=["ensemble=soup"]) == 2
    assert "began with the same weights" in capsys.readouterr().err
    assert segment(octopi_command, "mixed", *folds, words=["ensemble=stew"]) == 2
    assert "scores or soup" in capsys.readouterr().err
