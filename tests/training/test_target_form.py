"""Targets on coarser grids, and of objects that overlap."""

import numpy as np
import torch

from octopi.geometry import Grid
from octopi.targets import UNKNOWN, paint
from octopi.training.target_form import coarsen_target, object_targets

NOTHING = torch.zeros((1, 3, 1, 1, 1), dtype=torch.bool)


def test_a_coarse_sphere_stays_where_it_is():
    errors = []
    for shift in range(8):  # by a quarter of a coarse voxel
        centre = 10.0 * np.full((1, 3), 11 + shift / 4)
        fine = torch.from_numpy(paint(Grid.cubic((24, 24, 24), 10.0), {2: (centre, 35.0)}))
        coarse, _ = coarsen_target(fine[None, None], NOTHING, stride=2, num_objects=2)
        assert set(coarse.unique().tolist()) == {0, 2}
        voxels = 2 * (coarse[0, 0] == 2).nonzero().float() + 0.5
        errors.append(voxels.mean(0).numpy() * 10 - centre[0])
    assert np.abs(errors).max() < 5.0  # Å, half a voxel of the fine grid
    assert np.abs(np.mean(errors, axis=0)).max() < 1.0


def test_a_sphere_of_one_voxel_and_what_is_unknown_remain():
    fine = torch.zeros((1, 1, 4, 4, 4), dtype=torch.uint8)
    fine[0, 0, 0, 0, 0] = 2
    fine[0, 0, 3] = UNKNOWN
    possible = torch.zeros((1, 3, 4, 4, 4), dtype=torch.bool)
    possible[0, 1, 0, 3, 3] = True
    coarse, possible = coarsen_target(fine, possible, stride=2, num_objects=2)
    assert coarse[0, 0, 0].tolist() == [[2, 0], [0, 0]]
    assert (coarse[0, 0, 1] == UNKNOWN).all()
    assert possible.nonzero().tolist() == [[0, 1, 0, 1, 1]]


def test_a_stride_of_one_changes_nothing():
    fine = torch.zeros((1, 1, 4, 4, 4), dtype=torch.uint8)
    assert coarsen_target(fine, NOTHING, stride=1, num_objects=2)[0] is fine


def test_unknown_voxels_teach_an_independent_object_nothing():
    labels = torch.tensor([0, 1, 2, UNKNOWN, 0], dtype=torch.uint8).view(1, 1, 5, 1, 1)
    possible = torch.zeros((1, 3, 5, 1, 1), dtype=torch.bool)
    possible[0, 2, 4] = possible[0, 2, 1] = True  # the second object may be there
    logits = torch.zeros((1, 2, 5, 1, 1), requires_grad=True)
    known, truth = object_targets(logits, labels, possible)
    torch.nn.functional.binary_cross_entropy_with_logits(known, truth).backward()
    assert truth[0, :, :, 0, 0].tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
    has_gradient = (logits.grad[0, :, :, 0, 0] != 0).tolist()
    assert has_gradient == [[True, True, True, False, True], [True, True, True, False, False]]
