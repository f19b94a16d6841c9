"""Combinations of listed values are trained one by one."""

from octopi.sweeps.grid import Combination, list_combinations


def test_every_combination_has_a_folder_that_says_what_it_is():
    combinations = list_combinations(["model=unet,segresnet", "fold=0,1", "num_folds=2", "seed=7"])
    assert [combination.folder_name for combination in combinations] == [
        "model_unet,fold_0",
        "model_unet,fold_1",
        "model_segresnet,fold_0",
        "model_segresnet,fold_1",
    ]
    assert all(
        {"num_folds=2", "seed=7"} <= set(combination.overrides) for combination in combinations
    )


def test_folds_of_one_cross_validation_share_everything_else():
    combinations = list_combinations(["fold=0,1", "model=unet,segresnet"])
    keys = {combination.cross_validation_key() for combination in combinations}
    assert keys == {(("model", "unet"),), (("model", "segresnet"),)}


def test_a_value_that_is_no_file_name_becomes_one():
    combination = Combination({"data.crop_size": "[16,32,32]", "init_from": "a/b.pth"}, [])
    assert "/" not in combination.folder_name
    assert combination.folder_name == "crop_size_-16,32,32-,init_from_a-b.pth"


def test_nothing_swept_is_one_training():
    (combination,) = list_combinations(["seed=1"])
    assert combination.folder_name == "job_0"
