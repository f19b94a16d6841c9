"""Several networks as one: their scores averaged, or their weights."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny import RUNS, TINY

from octopi.models import checkpoint
from octopi.models.soup import INITIAL_WEIGHTS_KEY, average_weights
from octopi.project import open_project


@pytest.fixture
def targets(here, octopi_command):
    assert octopi_command("create_targets") == 0
    return here


def read_score_map(here, name):
    run = open_project(here / "project.json").select(["TS_01"])[0]
    return next(run.read_score_map(query, n) for query, n in run.score_maps() if name in n)


def segment(octopi_command, name, *checkpoints, overrides=()):
    paths = f"checkpoint=[{','.join(checkpoints)}]"
    return octopi_command("segment", paths, "runs=[TS_01]", f"name={name}", *overrides)


def test_the_mean_of_scores_is_that_of_separate_score_maps(targets, octopi_command):
    """Of two architectures, window sizes and divisors."""
    unet = [*TINY, *RUNS, "hydra.run.dir=unet"]
    other = [
        *(
            override
            for override in TINY
            if not override.startswith(("model.", "predictor.", "data.crop"))
        ),
        *RUNS,
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
    first, second = (checkpoint.read(path)[1] for path in paths)
    assert first.size_divisor != second.size_divisor
    assert first.predictor != second.predictor
    assert segment(octopi_command, "both", *paths) == 0
    # each alone, in the windows that the ensemble predicts in
    assert segment(octopi_command, "one", paths[0]) == 0
    alike = ["predictor.window_size=[24,48,48]", "predictor.halo=[0,0,0]"]
    assert segment(octopi_command, "other", paths[1], overrides=alike) == 0
    both, one, other = (
        read_score_map(targets, name)[0].astype(float) for name in ("both", "one", "other")
    )
    assert np.ptp(one - other) > 20  # they do not agree
    assert np.abs(both - (one + other) / 2).max() <= 1
    assert segment(octopi_command, "soup", *paths, overrides=["ensemble=soup"]) == 2


def test_the_weights_of_folds_can_be_averaged_those_of_another_seed_cannot(
    targets, octopi_command, capsys
):
    common = [*TINY, "num_folds=3"]
    for fold in (0, 1):
        assert octopi_command("train", *common, f"fold={fold}", f"hydra.run.dir=fold_{fold}") == 0
    other = ["fold=0", "seed=7", "data.seed=42", "hydra.run.dir=seed_7"]
    assert octopi_command("train", *common, *other) == 0
    folds = ["fold_0/best_model.pth", "fold_1/best_model.pth"]
    loaded = [checkpoint.read(path) for path in folds]
    initial = [info.provenance[INITIAL_WEIGHTS_KEY] for _, info in loaded]
    assert initial[0] == initial[1]
    assert not all(torch.equal(v, loaded[1][0][k]) for k, v in loaded[0][0].items())

    assert segment(octopi_command, "kept", *folds, overrides=["ensemble=soup"]) == 0
    values, _, attributes = read_score_map(targets, "kept")
    assert attributes["ensemble"] == "soup"
    weights, info = average_weights(loaded)
    checkpoint.save(targets / "soup.pth", weights, dataclasses.replace(info, provenance={}))
    assert segment(octopi_command, "single", "soup.pth") == 0
    assert (values == read_score_map(targets, "single")[0]).all()

    assert segment(octopi_command, "kept", *folds, overrides=["ensemble=soup"]) == 0
    capsys.readouterr()
    assert segment(octopi_command, "kept", *folds) == 2
    assert "ensemble is soup" in capsys.readouterr().err
    labels = ["scores=false", "segmentation=true"]
    assert segment(octopi_command, "kept", *folds, overrides=labels) == 0
    assert segment(octopi_command, "kept", *folds, overrides=labels) == 0
    assert segment(octopi_command, "kept", *folds, overrides=[*labels, "ensemble=soup"]) == 2
    capsys.readouterr()
    mixed = [folds[0], "seed_7/best_model.pth"]
    assert segment(octopi_command, "mixed", *mixed, overrides=["ensemble=soup"]) == 2
    assert "began with the same weights" in capsys.readouterr().err
    assert segment(octopi_command, "mixed", *folds, overrides=["ensemble=stew"]) == 2
    assert "scores or soup" in capsys.readouterr().err
