from types import SimpleNamespace

import pytest
import yaml

from octopi.checks import planning_rules
from octopi.checks.measured_cost import Cost, NetworkCosts
from octopi.checks.planning_rules import Sizes
from octopi.config.files import CONF_DIR
from octopi.config.setting_types import Rules
from octopi.geometry import Grid

RULES = Rules(**yaml.safe_load((CONF_DIR / "plan.yaml").read_text(encoding="utf-8"))["rules"])
CZII = yaml.safe_load((CONF_DIR / "experiment" / "czii.yaml").read_text(encoding="utf-8"))
RADII = {"apo": 60.0, "amylase": 65.0, "gal": 90.0, "ribosome": 150.0, "thyro": 130.0}


def make_settings(crop_size=(32, 64, 64), radius_scale=0.5, **predictor):
    return SimpleNamespace(
        rules=RULES,
        data={"crop_size": crop_size},
        targets=SimpleNamespace(radius_scale=radius_scale),
        predictor=predictor,
    )


def fit_to_memory(memory, *, window=(8, 8, 8), bytes_per_crop=1, grows=False, halo=(1, 1, 1)):
    """Fit two crops in a step, and a window with two bytes a voxel."""
    crop, voxels = Cost(1.0, bytes_per_crop, 1), window[0] * window[1] * window[2]
    costs = NetworkCosts(crop, Cost(1.0, 2 * voxels, voxels), 1, 1, 1, on_gpu=False)
    sizes = Sizes(None, [], [], 2, list(window), None, "", {}, divisor=8)
    settings = make_settings(halo=halo)
    return planning_rules.fit_to_memory(sizes, costs, settings, memory=memory, larger_helps=grows)


def test_for_the_challenge_the_plan_is_the_recipe_made_by_hand():
    spacing = planning_rules.choose_working_spacing(RADII.values(), 10.012, RULES)
    assert spacing == CZII["data"]["working_spacing"]
    grid = Grid.cubic((184, 630, 630), 10.012).at_spacing(spacing)
    settings = make_settings(CZII["data"]["crop_size"], CZII["targets"]["radius_scale"])
    size = planning_rules.choose_crop_size(150, [grid], settings, 8)
    assert size == CZII["data"]["crop_size"]
    assert planning_rules.radius_scales(RADII, spacing, settings) == {}


def test_a_tomogram_that_is_coarse_already_is_left_as_it_is():
    assert planning_rules.choose_working_spacing([60], 17.0, RULES) is None
    assert planning_rules.choose_working_spacing([60], 15.0, RULES) == 20.0


def test_large_objects_do_not_make_the_grid_coarser_than_allowed():
    assert planning_rules.choose_working_spacing([2000], 10.0, RULES) == 40.0


@pytest.mark.parametrize("divisor", [4, 8, 32])
def test_a_crop_fits_the_network_the_object_and_the_volume(divisor):
    grid = Grid.cubic((60, 300, 300), 10)
    size = planning_rules.choose_crop_size(400, [grid], make_settings(), divisor)
    assert all(n % divisor == 0 for n in size)
    assert size[0] <= 60 + divisor
    assert size[1] >= 160


def test_a_window_is_a_multiple_wider_than_its_halo_and_no_larger_than_the_volume():
    def window(shape, largest):
        predictor = {"window_size": largest, "halo": [12, 16, 16]}
        return planning_rules.choose_window_size([Grid.cubic(shape, 10)], predictor, 8)

    assert window((30, 400, 100), [64, 128, 128]) == [32, 128, 104]
    assert window((90, 90, 90), [16, 96, 96])[0] > 24


@pytest.mark.parametrize("max_bytes", [1e9, 1e6, 1e5, 1])
def test_a_window_shrinks_to_the_memory_but_stays_wider_than_its_halos(max_bytes):
    halo = [4, 8, 8]
    memory = max_bytes / RULES.memory_share
    window = fit_to_memory(memory, window=(64, 128, 128), halo=halo).window_size
    assert all(n % 8 == 0 and n > 2 * h for n, h in zip(window, halo, strict=True))
    fits = 2 * window[0] * window[1] * window[2] <= max_bytes
    assert fits or window == [16, 32, 32]


def test_a_small_object_on_a_coarse_grid_gets_larger_spheres():
    radii = {"small": 40.0, "large": 150.0}
    assert planning_rules.radius_scales(radii, 20, make_settings()) == {"small": 0.75}


def test_the_batch_follows_the_memory():
    def crops(memory, *, grows):
        sizes = fit_to_memory(memory, bytes_per_crop=100, grows=grows)
        return sizes.crops_per_step, sizes.exceeds_memory

    assert crops(10_000, grows=False) == (2, False)
    assert crops(10_000, grows=True) == (16, False)
    assert crops(1_000, grows=True) == (4, False)
    assert crops(300, grows=False) == (1, False)
    assert crops(100, grows=False) == (1, True)


def test_folds_leave_every_object_to_train_on():
    everywhere = {f"TS_{n}": {"a", "b"} for n in range(6)}
    assert planning_rules.choose_num_folds(4, everywhere, seed=0)[0] == 4
    assert planning_rules.choose_num_folds(4, {"TS_0": {"a"}, "TS_1": {"a"}}, seed=0)[0] == 2
    assert planning_rules.choose_num_folds(4, {"TS_0": {"a"}}, seed=0)[0] is None
    once = {**everywhere, "TS_0": {"a", "rare"}}
    folds, why = planning_rules.choose_num_folds(4, once, seed=0)
    assert folds is None
    assert "rare" in why
