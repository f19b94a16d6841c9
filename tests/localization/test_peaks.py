import numpy as np
import pytest
from scipy.ndimage import correlate1d, gaussian_filter, maximum_filter
from scipy.spatial.distance import pdist

from octopi.geometry import Grid
from octopi.localization.peaks import Peaks

SPACING = 10.0
RADIUS = 80.0


def peaks(**changes):
    settings = {
        "min_distance": 0.9,
        "smoothing": 0.2,
        "min_score": 0.05,
        "centroid_radius": 0.6,
        "min_object_distance": 0.0,
    }
    return Peaks(**{**settings, **changes})


def blobs(shape, centres, size, stretch=1.0, top=1.0):
    """Scores that fall from `top` in the middle of each blob to 0 at twice its size in voxels."""
    zyx = np.moveaxis(np.indices(shape), 0, -1)
    out = np.zeros(shape)
    for centre in centres:
        away = np.linalg.norm((zyx - centre) / (stretch, 1, 1), axis=-1)
        out = np.maximum(out, np.clip(2 * top - top * away / size, 0, 1))
    return out


def stored(scores):
    return np.rint(scores * 255).astype(np.uint8)


def found_in(scores, *, radius=RADIUS, **changes):
    grid = Grid.cubic(scores.shape, SPACING)
    points = peaks(**changes)(scores[None], grid=grid, radii={"a": radius})["a"]
    return grid.to_voxels(points.positions), points.scores


def nearest(centres, voxels):
    return np.linalg.norm(np.asarray(centres)[:, None] - voxels, axis=-1).min(axis=1)


@pytest.mark.parametrize("store", [stored, np.float32, np.float16])
def test_two_blobs_are_two_picks_to_a_fraction_of_a_voxel(store):
    centres = [(10.3, 12.0, 14.6), (20.0, 30.5, 18.2)]
    voxels, _ = found_in(store(blobs((32, 40, 36), centres, 3.5)))
    assert len(voxels) == 2
    assert nearest(centres, voxels).max() < 0.4


def test_picks_are_in_angstrom_and_ordered_x_y_z():
    grid = Grid((20, 24, 30), (12.0, 10.0, 8.0))
    scores = stored(blobs(grid.shape, [(9, 12, 20)], 2))[None]
    points = peaks()(scores, grid=grid, radii={"a": 60.0})["a"]
    assert points.positions == pytest.approx(np.array([[160.0, 120.0, 108.0]]), abs=1)


def test_channels_belong_to_the_objects_in_their_order():
    shape = (16, 16, 32)
    scores = stored(np.stack([blobs(shape, [c], 2) for c in [(8, 8, 8), (8, 8, 24)]]))
    grid = Grid.cubic(shape, SPACING)
    found = peaks()(scores, grid=grid, radii={"left": 40.0, "right": 50.0})
    assert list(found) == ["left", "right"]
    assert [len(p) for p in found.values()] == [1, 1]
    assert found["left"].positions[0, 0] < found["right"].positions[0, 0]


def test_every_particle_of_two_voxels_radius_is_found():
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*(np.arange(5, 45, 8),) * 3, indexing="ij"), -1).reshape(-1, 3)
    centres = lattice + rng.uniform(-1, 1, lattice.shape)
    voxels, _ = found_in(stored(blobs((48, 48, 48), centres, 0.9)), radius=20.0)
    assert len(voxels) == len(centres)
    assert nearest(centres, voxels).max() < 0.6


def test_a_flat_top_is_one_pick_in_its_middle():
    scores = np.zeros((24, 24, 24), dtype=np.uint8)
    scores[8:12, 9:14, 6:18] = 255
    for settings in ({"smoothing": 0.0, "centroid_radius": 0.0}, {"smoothing": 0.1}, {}):
        voxels, values = found_in(scores, **settings)
        assert len(voxels) == 1
        assert voxels[0] == pytest.approx([9.5, 11.0, 11.5], abs=0.05)
        assert 0.5 < values[0] <= 1


def test_a_saturated_blob_drawn_out_along_z_is_one_pick():
    centre = (24.4, 15.0, 15.7)
    scores = stored(blobs((48, 32, 32), [centre], 5.0, stretch=1.7, top=3.0))
    voxels, _ = found_in(scores, radius=120.0)
    assert len(voxels) == 1
    assert nearest([centre], voxels).max() < 0.5


def test_touching_saturated_neighbours_are_two_picks():
    centres = [(14, 14, 10), (14, 14, 20)]
    voxels, _ = found_in(stored(blobs((28, 28, 32), centres, 3.0, top=2.0)))
    assert len(voxels) == 2
    assert nearest(centres, voxels).max() < 1


@pytest.mark.parametrize("centre", [(0, 12, 12), (12, 23, 12), (23, 0, 0), (2, 12, 22)])
def test_a_particle_at_the_border_is_kept_and_scored_like_one_inside(centre):
    _, (inside,) = found_in(stored(blobs((24, 24, 24), [(12, 12, 12)], 2.5)))
    voxels, scores = found_in(stored(blobs((24, 24, 24), [centre], 2.5)))
    assert len(voxels) == 1
    assert nearest([centre], voxels).max() < 0.5 * RADIUS / SPACING
    assert scores[0] == pytest.approx(inside, rel=0.25)


def noisy_field(shape, seed=0):
    field = gaussian_filter(np.random.default_rng(seed).random(shape), 2.5)
    return stored(np.clip((field - field.min()) / np.ptp(field) - 0.4, 0, 1))


def scattered_voxels(shape):
    rng = np.random.default_rng(0)
    return stored(np.where(rng.random(shape) < 4e-4, rng.random(shape), 0))


@pytest.mark.parametrize(("make", "least"), [(noisy_field, 0.2), (scattered_voxels, 0.01)])
def test_tiles_of_a_large_volume_give_what_the_whole_gives(make, least):
    scores = make((70, 90, 140))
    sigma = 0.2 * RADIUS / SPACING
    voxels, values = found_in(scores, min_distance=1e-6, centroid_radius=0.0, min_score=least)
    smooth = gaussian_filter(scores.astype(np.float32), sigma, mode="constant", truncate=3)
    weight = gaussian_filter(np.ones_like(smooth), sigma, mode="constant", truncate=3)
    top = (smooth == maximum_filter(smooth, 3)) & (smooth / weight >= least * 255)
    expected = np.argwhere(top)
    assert len(expected) > 50
    assert {tuple(v) for v in np.rint(voxels).astype(int)} == {tuple(v) for v in expected}
    assert np.sort(values) == pytest.approx(np.sort((smooth / weight)[top] / 255), abs=1e-5)


def test_only_what_lies_around_particles_is_smoothed(monkeypatch):
    def count(values, *args, **kwargs):
        num_voxels.append(values.size)
        return correlate1d(values, *args, **kwargs)

    num_voxels = []
    monkeypatch.setattr("octopi.localization.peaks.correlate1d", count)
    scores = np.zeros((64, 64, 64), dtype=np.uint8)
    scores[5, 5, 5] = scores[58, 58, 58] = scores[5, 58, 30] = 255
    voxels, _ = found_in(scores, min_score=0.005, centroid_radius=0.0)
    assert len(voxels) == 3
    assert sum(num_voxels) < 3 * 3 * 30**3  # three axes; the volume has ten times as many


@pytest.mark.parametrize("turn", [lambda v: v[:, ::-1], lambda v: v.transpose(2, 1, 0)])
def test_turning_the_volume_turns_the_picks(turn):
    scores = noisy_field((40, 40, 40), seed=1)
    index = np.stack(np.meshgrid(*(np.arange(40),) * 3, indexing="ij"))
    turned = np.stack([turn(axis) for axis in index])
    voxels, values = found_in(scores, min_score=0.2, centroid_radius=0.0)
    other, others = found_in(turn(scores), min_score=0.2, centroid_radius=0.0)
    back = turned[(slice(None), *np.rint(other).astype(int).T)].T
    assert len(voxels) > 5
    assert np.sort(values) == pytest.approx(np.sort(others), abs=1e-6)
    assert {tuple(v) for v in back} == {tuple(v) for v in np.rint(voxels).astype(int)}


@pytest.mark.parametrize("centroid_radius", [0.0, 0.8])
def test_no_two_picks_of_an_object_are_closer_than_min_distance(centroid_radius):
    scores = noisy_field((40, 60, 60), seed=2)
    voxels, values = found_in(
        scores, min_distance=1.2, centroid_radius=centroid_radius, smoothing=0.05
    )
    assert len(voxels) > 10
    assert pdist(voxels).min() >= 1.2 * RADIUS / SPACING - 1e-9
    assert np.all(np.diff(values) <= 0)


def test_the_stronger_of_two_close_peaks_stays():
    scores = np.zeros((20, 20, 30), dtype=np.uint8)
    scores[10, 10, 10], scores[10, 10, 14] = 150, 200
    voxels, values = found_in(scores, smoothing=0.0, centroid_radius=0.0)
    assert voxels.tolist() == [[10, 10, 14]]
    assert values == pytest.approx([200 / 255])


@pytest.mark.parametrize(("min_object_distance", "kept"), [(0.0, (1, 2)), (0.5, (1, 1))])
def test_a_weaker_pick_of_another_object_too_close_is_dropped_on_request(min_object_distance, kept):
    scores = np.zeros((2, 20, 20, 40), dtype=np.uint8)
    scores[0, 10, 10, 10] = 200
    scores[1, 10, 10, 13] = 150
    scores[1, 10, 10, 25] = 100
    found = peaks(
        smoothing=0.0,
        centroid_radius=0.0,
        min_object_distance=min_object_distance,
    )(scores, grid=Grid.cubic((20, 20, 40), SPACING), radii={"large": 80.0, "small": 40.0})
    assert tuple(len(p) for p in found.values()) == kept


def test_peaks_below_min_score_are_left_out():
    scores = np.zeros((10, 10, 30), dtype=np.uint8)
    scores[5, 5, 5], scores[5, 5, 20] = 51, 50
    assert len(found_in(scores, smoothing=0.0, min_score=0.2)[0]) == 1
    assert len(found_in(scores / 255, smoothing=0.0, min_score=0.198)[0]) == 1


@pytest.mark.parametrize("min_object_distance", [0.0, 1.0])
def test_an_empty_map_gives_no_picks(min_object_distance):
    grid = Grid.cubic((8, 9, 10), SPACING)
    found = peaks(min_object_distance=min_object_distance)(
        np.zeros((2, 8, 9, 10), np.uint8), grid=grid, radii={"a": 30.0, "b": 60.0}
    )
    assert {name: (len(p), p.scores.dtype) for name, p in found.items()} == {
        "a": (0, np.float32),
        "b": (0, np.float32),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"min_distance": 0.0},
        {"smoothing": -0.1},
        {"centroid_radius": float("nan")},
        {"min_score": 0.0},
    ],
)
def test_a_setting_out_of_its_range_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        peaks(**changes)


@pytest.mark.parametrize(
    ("scores", "radii", "message"),
    [
        (np.zeros((2, 4, 4, 4), np.uint8), {"a": 30.0}, "do not fit 1 objects"),
        (np.zeros((1, 4, 4, 5), np.uint8), {"a": 30.0}, "do not fit"),
        (np.zeros((1, 4, 4, 4), np.int64), {"a": 30.0}, "uint8 or floating point"),
        (np.zeros((1, 4, 4, 4), np.uint8), {"a": 0.0}, "radius of a is 0.0"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, radii, message):
    with pytest.raises(ValueError, match=message):
        peaks()(scores, grid=Grid.cubic((4, 4, 4), SPACING), radii=radii)


@pytest.mark.parametrize("min_object_distance", [0.0, 0.8])
def test_a_floor_leaves_out_the_candidates_below_and_changes_no_other(min_object_distance):
    rng = np.random.default_rng(5)
    noise = gaussian_filter(rng.normal(size=(2, 40, 44, 48)), (0, 1.5, 1.5, 1.5))
    scores = stored(np.clip(0.4 + noise * 2, 0, 1))
    grid, radii = Grid.cubic(scores.shape[1:], SPACING), {"a": RADIUS, "b": 60.0}
    finder, floors = (
        peaks(min_object_distance=min_object_distance),
        {"a": 0.5, "b": 0.6},
    )
    every = finder(scores, grid=grid, radii=radii)
    some = finder(scores, grid=grid, radii=radii, floors=floors)
    for name, floor in floors.items():
        assert len(every[name]) > len(some[name]) > 5
        above = every[name].above(floor)
        np.testing.assert_array_equal(some[name].above(floor).positions, above.positions)
        np.testing.assert_array_equal(some[name].above(floor).scores, above.scores)
