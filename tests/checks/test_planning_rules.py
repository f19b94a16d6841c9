import pytest
import yaml

from octopi.checks import planning_rules
from octopi.config.files import CONF_DIR
from octopi.config.setting_types import Rules
from octopi.geometry import Grid

RULES = Rules(**yaml.safe_load((CONF_DIR / "plan.yaml").read_text(encoding="utf-8"))["rules"])
CZII = yaml.safe_load((CONF_DIR / "experiment" / "czii.yaml").read_text(encoding="utf-8"))
RADII = {"apo": 60.0, "amylase": 65.0, "gal": 90.0, "ribosome": 150.0, "thyro": 130.0}


def test_for_the_challenge_the_plan_is_the_recipe_made_by_hand():
    spacing = planning_rules.working_spacing(RADII.values(), 10.012, RULES)
    assert spacing == CZII["data"]["working_spacing"]
    grid = Grid.cubic((184, 630, 630), 10.012).at_spacing(spacing)
    size = planning_rules.crop_size(
        150, spacing, grid.shape, minimum=CZII["data"]["crop_size"], divisor=8, rules=RULES
    )
    assert size == CZII["data"]["crop_size"]
    assert (
        planning_rules.radius_scales(RADII, CZII["targets"]["radius_scale"], spacing, RULES) == {}
    )


def test_a_tomogram_that_is_coarse_already_is_left_as_it_is():
    assert planning_rules.working_spacing([60], 17.0, RULES) is None
    assert planning_rules.working_spacing([60], 15.0, RULES) == 20.0


def test_large_objects_do_not_make_the_grid_coarser_than_allowed():
    assert planning_rules.working_spacing([2000], 10.0, RULES) == 40.0


@pytest.mark.parametrize("divisor", [4, 8, 32])
def test_a_crop_fits_the_network_the_object_and_the_volume(divisor):
    size = planning_rules.crop_size(
        400, 10, (60, 300, 300), minimum=[32, 64, 64], divisor=divisor, rules=RULES
    )
    assert all(n % divisor == 0 for n in size)
    assert size[0] <= 60 + divisor
    assert size[1] >= 160


def test_a_window_is_a_multiple_wider_than_its_halo_and_no_larger_than_the_volume():
    assert planning_rules.window_size((30, 400, 100), maximum=[64, 128, 128], divisor=8,
                                halo=[12, 16, 16]) == [32, 128, 104]  # fmt: skip
    assert planning_rules.window_size((90, 90, 90), maximum=[16, 96, 96], divisor=8,
                                halo=[12, 16, 16])[0] > 24  # fmt: skip


@pytest.mark.parametrize("max_bytes", [1e9, 1e6, 1e5, 1])
def test_a_window_shrinks_to_the_memory_but_stays_wider_than_its_halos(max_bytes):
    halo = [4, 8, 8]
    window = planning_rules.shrink_window(
        [64, 128, 128], bytes_per_voxel=2, max_bytes=max_bytes, divisor=8, halo=halo
    )
    assert all(n % 8 == 0 and n > 2 * h for n, h in zip(window, halo, strict=True))
    fits = 2 * window[0] * window[1] * window[2] <= max_bytes
    assert fits or window == [16, 32, 32]


def test_a_small_object_on_a_coarse_grid_gets_larger_spheres():
    assert planning_rules.radius_scales({"small": 40.0, "large": 150.0}, 0.5, 20, RULES) == {
        "small": 0.75
    }


def test_the_batch_follows_the_memory():
    def crops(memory, *, grows):
        return planning_rules.batch(
            2, bytes_per_crop=100, memory=memory, larger_helps=grows, rules=RULES
        )

    assert crops(10_000, grows=False) == (2, False)
    assert crops(10_000, grows=True) == (16, False)
    assert crops(1_000, grows=True) == (4, False)
    assert crops(300, grows=False) == (1, False)
    assert crops(100, grows=False) == (1, True)


def test_folds_leave_every_object_to_train_on():
    everywhere = {f"TS_{n}": {"a", "b"} for n in range(6)}
    assert planning_rules.num_folds(4, everywhere, seed=0)[0] == 4
    assert planning_rules.num_folds(4, {"TS_0": {"a"}, "TS_1": {"a"}}, seed=0)[0] == 2
    assert planning_rules.num_folds(4, {"TS_0": {"a"}}, seed=0)[0] is None
    once = {**everywhere, "TS_0": {"a", "rare"}}
    folds, why = planning_rules.num_folds(4, once, seed=0)
    assert folds is None
    assert "rare" in why
