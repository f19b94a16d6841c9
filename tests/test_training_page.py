"""The published training page runs as it is written; only paths, names of data and sizes change."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from octopi.project import open_project

PAGE = Path(__file__).parent / "reference" / "training-page.md"

PATHS = {
    "'../config.json'": "'project.json'",
    "'train_config.json'": "'project.json'",
    "'config.json'": "'project.json'",
}
NAMES = {
    "'wbp-denoised-denoiset-ctfdeconv'": "'denoised'",
    "('ribosome', 'data-portal', '1')": "('ribosome', 'curation', '0')",
    "('virus-like-particle', 'data-portal', '1')": "('virus-like-particle', 'curation', '0')",
    "('apoferritin', 'data-portal', '1')": "('apo-ferritin', 'curation', '0')",
    "['membrane', 'membrain-seg', '2']": "['membrane', 'curation', '0']",
    "['run_001', 'run_002', 'run_003']": "['TS_01', 'TS_02']",
    "['run_004']": "['TS_03']",
}
SIZES = {
    "voxel_size = 10.012": "voxel_size = 20.0",
    "voxel_size = 10\n": "voxel_size = 20\n",
    "'denoised', 10.012": "'denoised', 20.0",
    "'dim_in': 80": "'dim_in': 16",
    "[48, 64, 80, 80]": "[4, 4, 4, 4]",
    "validateRunIDs=valRunIDs\n": "validateRunIDs=valRunIDs, num_epochs=1\n",
    "'UNet' )": "'UNet', num_epochs=1, num_trials=1, tomo_batch_size=2, overrides=SMALL )",
}
# What the page's sketch of a cross-validation leaves out.
ELLIPSES = {
    "train(\n        ...\n": "train(\n"
    "        config, target_info, 'denoised', 20.0, loss_function, model_config,\n",
    "        ...\n    )": "        model_save_path=results_folder, num_epochs=1\n    )",
}
SMALL = [
    "data.crop_size=[16,32,32]",
    "data.crops_per_step=2",
    "data.num_workers=0",
    "model.base_channels=4",
    "model.num_layers=3",
    "model.num_hidden_layers=1",
    "trainer.accelerator=cpu",
    "predictor.window_size=null",
    "hydra.sweeper.n_jobs=1",
]


@pytest.fixture(scope="module")
def blocks():
    """Return the page's Python, by what each block is about."""
    python_blocks = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    marks = {
        "create_sub_train_targets(": "targets",
        "trainRunIDs = ['run_001'": "train",
        "def train_cross_validation": "folds",
        "from monai.losses import FocalLoss": "monai",
        "WeightedFocalTverskyLoss\n": "losses",
        "ModelSearchSubmit(": "search",
    }
    named = {
        name: block for block in python_blocks for mark, name in marks.items() if mark in block
    }
    assert len(named) == len(python_blocks) == len(marks)
    return named


def run(block, **variables):
    """Execute a block with the replacements of the tables above; return its variables."""
    for table in (PATHS, NAMES, SIZES, ELLIPSES):
        for old, new in table.items():
            block = block.replace(old, new)
    namespace = {"SMALL": SMALL, **variables}
    exec(compile(block, str(PAGE), "exec"), namespace)
    return namespace


def test_every_replacement_is_needed(blocks):
    page = "".join(blocks.values())
    assert [old for t in (PATHS, NAMES, SIZES, ELLIPSES) for old in t if old not in page] == []


def test_targets_are_created(here, blocks):
    run(blocks["targets"])
    for run_of_project in open_project("project.json").runs:
        assert "targets:octopi/1@20.0" in map(str, run_of_project.segmentations())


@pytest.mark.slow
def test_networks_are_trained_and_cross_validated(here, blocks):
    run(blocks["targets"])
    settings = run(blocks["train"])
    names = {path.name for path in (here / "results").iterdir()}
    assert names >= {"best_model.pth", "model_config.yaml", "results.json"}
    runs = [one.name for one in open_project("project.json").runs]
    variables = run(blocks["folds"], **settings, get_all_run_ids=lambda: runs)
    for split_id in (0, 1):
        variables["train_cross_validation"](split_id)
        assert (here / f"split_{split_id}" / "best_model.pth").is_file()


@pytest.mark.parametrize("name", ["monai", "losses"])
def test_the_losses_on_the_page_can_be_imported(blocks, name):
    losses = [value for key, value in run(blocks[name]).items() if key.endswith("Loss")]
    assert len(losses) > 1
    assert all(issubclass(loss, torch.nn.Module) for loss in losses)


@pytest.mark.slow
def test_a_network_is_searched_and_a_finished_search_trains_nothing_again(here, blocks):
    run(blocks["targets"])
    search = run(blocks["search"])["optimizer"]
    results = yaml.safe_load(
        (search.folder / "optimization_results.yaml").read_text(encoding="utf-8")
    )
    model = search.folder / results["best"]["folder"] / "best_model.pth"
    trained = model.stat().st_mtime_ns
    assert search.run_model_search() == results
    assert model.stat().st_mtime_ns == trained
    assert not (search.folder / "trial_1").exists()
