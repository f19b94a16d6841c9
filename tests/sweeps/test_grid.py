"""Plain lists of values are trained one by one."""

from octopi.sweeps.grid import Combination
from octopi.sweeps.run import points_of


def test_every_combination_has_a_folder_that_says_what_it_is():
    points = points_of(["model=unet,segresnet", "fold=0,1", "num_folds=2", "seed=7"])
    assert [point.folder_name for point in points] == [
        "model_unet,fold_0",
        "model_unet,fold_1",
        "model_segresnet,fold_0",
        "model_segresnet,fold_1",
    ]
    assert all({"num_folds=2", "seed=7"} <= set(point.words) for point in points)


def test_folds_of_one_cross_validation_share_everything_else():
    points = points_of(["fold=0,1", "model=unet,segresnet"])
    families = {point.cross_validation_key() for point in points}
    assert families == {(("model", "unet"),), (("model", "segresnet"),)}


def test_a_value_that_is_no_file_name_becomes_one():
    point = Combination({"data.crop_size": "[16,32,32]", "init_from": "a/b.pth"}, [])
    assert "/" not in point.folder_name
    assert point.folder_name == "crop_size_-16,32,32-,init_from_a-b.pth"


def test_nothing_swept_is_one_training():
    (point,) = points_of(["seed=1"])
    assert point.folder_name == "job_0"
