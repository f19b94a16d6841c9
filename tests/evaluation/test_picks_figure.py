"""A picture of picks shows them where they are."""

import numpy as np
from matplotlib.image import imread

from octopi.evaluation.picks_figure import draw_picks
from octopi.geometry import Grid, Points


def draw(path, picks):
    rng = np.random.default_rng(0)
    draw_picks(
        path,
        rng.normal(size=(8, 40, 40)).astype(np.float32),
        Grid.cubic((8, 40, 40), 20.0),
        picks={"ribosome": picks},
        truth={},
        radii={"ribosome": 120.0},
        colors={"ribosome": (255, 0, 0, 255)},
    )
    image = imread(path)
    return (image[..., 0] > 0.9) & (image[..., 1] < 0.2) & (image[..., 2] < 0.2)


def test_a_pick_is_a_circle_of_its_objects_colour(tmp_path):
    without = draw(tmp_path / "none.png", Points.empty())
    one = draw(tmp_path / "one.png", Points(np.array([[400.0, 400.0, 80.0]])))
    assert one.sum() > without.sum() + 200


def test_a_pick_far_above_the_slab_is_not_drawn(tmp_path):
    near = np.array([[400.0, 400.0, 0.0], [200.0, 200.0, 0.0]])
    both = draw(tmp_path / "both.png", Points(near))
    far = np.concatenate([near, [[600.0, 600.0, 140.0]]])
    assert draw(tmp_path / "far.png", Points(far)).sum() == both.sum()
