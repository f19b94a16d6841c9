"""Heatmaps and offsets against planted particles, before and after augmentation."""

import math

import numpy as np
import pytest
import torch

from octopi.data.augment import Affine, Flip, Rot90
from octopi.data.particles import number_particles, split_codes
from octopi.errors import SettingError
from octopi.geometry import Grid, Points
from octopi.models.logits import to_scores
from octopi.models.net_output import NetOutput
from octopi.targets import UNKNOWN, paint
from octopi.training.painters import Heatmaps, Offsets, Spheres, find_particles, needs_particles
from octopi.training.part_checks import check_painter
from octopi.training.target_form import class_shares, mark_unpainted
from octopi.training.training_loss import TrainingLoss
from octopi.training.unknown import PartialClasses

SHAPE, RADII = (24, 32, 32), [3.0, 4.0]
GRID = Grid.cubic(SHAPE, 1.0)  # positions are voxels x y z
CENTRES = {"a": [[8.0, 9.5, 10.0], [24.0, 20.0, 12.25]], "b": [[8.0, 22.0, 12.0]]}
LABEL_OF = {"a": 1, "b": 2}


def codes_of(centres=CENTRES):
    """Codes (1, 1, z, y, x) of spheres around centres."""
    spheres = {LABEL_OF[k]: (np.array(v), RADII[LABEL_OF[k] - 1]) for k, v in centres.items()}
    labels = paint(GRID, spheres)
    points = {name: Points(np.array(positions)) for name, positions in centres.items()}
    return torch.from_numpy(number_particles(labels, GRID, points, LABEL_OF))[None, None]


def split(codes):
    labels, particles = split_codes(codes)
    return labels.to(torch.uint8), particles


def test_codes_tell_labels_and_the_particles_of_each_object_apart():
    labels, particles = split(codes_of())
    assert torch.equal(particles > 0, labels > 0)
    found = find_particles(labels, particles)
    assert found.label.tolist() == [1, 1, 2]
    assert found.is_whole.all()
    expected = np.array([c for name in "ab" for c in CENTRES[name]])[:, ::-1]
    assert np.abs(found.centres.numpy() - expected).max() < 0.2


def test_an_unknown_voxel_is_of_no_particle():
    labels = np.zeros(SHAPE, np.uint8)
    labels[:3], labels[10, 10, 10] = UNKNOWN, 1
    codes = number_particles(labels, GRID, {"a": Points(np.full((1, 3), 10.0))}, LABEL_OF)
    again, particles = split_codes(codes)
    assert np.array_equal(again, labels)
    assert particles.sum() == 1


@pytest.mark.parametrize("stride", [1, 2])
def test_a_heatmap_is_one_at_the_centre_and_falls_as_a_gaussian(stride):
    heat = Heatmaps(sigma=0.5)(*split(codes_of()), RADII, stride)
    assert heat.shape == (1, 2, *(n // stride for n in SHAPE))
    axes = [torch.arange(n // stride) * stride + (stride - 1) / 2 for n in SHAPE]
    zyx = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    for k, name in enumerate("ab"):
        distances = torch.stack([(zyx - torch.tensor(c[::-1])).norm(dim=-1) for c in CENTRES[name]])
        expected = torch.exp(-0.5 * (distances.amin(0) / (0.5 * RADII[k])) ** 2)
        assert (heat[0, k] - expected).abs().max() < 0.1  # of a centre 0.2 voxels away


def test_objects_without_a_radius_and_overlapping_heatmaps_are_kept():
    labels = torch.zeros((1, 1, *SHAPE), dtype=torch.uint8)
    labels[0, 0, :4] = 2
    heat = Heatmaps(sigma=1.0)(labels, torch.zeros_like(labels), [3.0, math.nan], 2)
    assert heat[0, 1, :2].eq(1).all()
    assert heat[0, 1, 2:].eq(0).all()
    near = {"a": [[12.0, 12.0, 12.0]], "b": [[18.0, 12.0, 12.0]]}
    heat = Heatmaps(sigma=1.0)(*split(codes_of(near)), RADII, 1)
    assert (heat[0] > 0.2).all(dim=0).any()


def test_a_particle_that_the_crop_cuts_is_unknown():
    labels, particles = split(codes_of({"a": [[0.0, 16.0, 12.0], [20.0, 16.0, 12.0]]}))
    heat = Heatmaps(sigma=0.5)(labels, particles, RADII, 1)
    cut = labels[0, 0].clone()
    cut[..., 10:] = 0
    assert torch.equal(heat[0, 0].isnan(), cut == 1)
    offsets = Offsets(weight=1.0).offsets(labels, particles, 1)
    assert torch.equal(~offsets[0, 0].isnan(), (labels[0, 0] == 1) & (cut == 0))


@pytest.mark.parametrize("stride", [1, 2])
def test_offsets_point_to_the_centre(stride):
    labels, particles = split(codes_of())
    offsets = Offsets(weight=1.0).offsets(labels, particles, stride)[0]
    voxels = (~offsets[0].isnan()).nonzero()
    assert len(voxels) >= int((labels > 0).sum()) // stride**3 // 2
    ends = (voxels + offsets[:, *voxels.T].T + 0.5) * stride - 0.5
    centres = torch.tensor([c for name in "ab" for c in CENTRES[name]]).flip(1)
    assert torch.cdist(ends, centres).amin(1).max() < 0.2


@pytest.mark.parametrize(
    "augment",
    [
        Flip(axes=["z", "y", "x"], prob=0.5),
        Rot90(prob=1.0),
        Affine(angle_in_plane=40, angle_tilt=5, scale=0.05, prob=1.0),
    ],
    ids=lambda augment: type(augment).__name__,
)
def test_centres_are_right_after_augmentation(augment):
    codes = codes_of({"a": [[16.0, 16.0, 12.0]]}).repeat(4, 1, 1, 1, 1)
    zyx = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in SHAPE], indexing="ij"), -1)
    image = torch.exp(-0.5 * ((zyx - torch.tensor([12.0, 16.0, 16.0])).norm(dim=-1) / 1.5) ** 2)
    image = image.expand(4, 1, *SHAPE)
    image, codes = augment(image, codes, torch.Generator().manual_seed(1))
    heat = Heatmaps(sigma=0.5)(*split(codes), RADII, 1)
    assert not heat.isnan().any()
    for crop in range(4):
        places = [
            (volume[..., None] * zyx).sum((0, 1, 2)) / volume.sum()
            for volume in (image[crop, 0], heat[crop, 0])
        ]
        assert (places[0] - places[1]).norm() < 0.4


def test_two_halves_of_one_number_are_no_particle():
    labels, particles = split(codes_of({"a": [[6.0, 16.0, 12.0], [26.0, 16.0, 12.0]]}))
    particles = (particles > 0).int()
    assert not find_particles(labels, particles).is_whole.any()


def test_scores_gather_where_offsets_point():
    labels, particles = split(codes_of())
    offsets = Offsets(weight=1.0).offsets(labels, particles, 1)
    scores = 0.9 * torch.stack([labels[:, 0] == 1, labels[:, 0] == 2], 1).float()
    logits = torch.cat([torch.logit(scores, eps=1e-6), offsets.nan_to_num()], dim=1)
    out = to_scores(logits, NetOutput("independent", offsets=True), SHAPE)[0]
    assert out.max() == pytest.approx(0.9, abs=1e-4)
    for k, name in enumerate("ab"):
        voxels = (out[k] > 0.5).nonzero().float()
        centres = torch.tensor(CENTRES[name]).flip(1)
        assert torch.cdist(voxels, centres).amin(1).max() < 1.0
        assert torch.cdist(centres, voxels).amin(1).max() < 1.0


def test_classes_share_each_voxel_and_what_is_unknown_is_background():
    painted = torch.tensor([[0.2, 0.0], [0.9, 0.6], [torch.nan, 0.3]]).T.reshape(1, 2, 3, 1, 1)
    labels = mark_unpainted(torch.zeros((1, 1, 3, 1, 1), dtype=torch.uint8), painted)
    shares = class_shares(labels, painted)[0, :, :, 0, 0]
    assert shares.T.tolist() == [
        pytest.approx([0.8, 0.2, 0.0]),
        pytest.approx([0.0, 0.6, 0.4]),
        [1.0, 0.0, 0.0],
    ]


@pytest.mark.parametrize("outputs", ["exclusive", "independent"])
def test_no_loss_of_heatmaps_depends_on_what_is_unknown(outputs):
    codes = codes_of({"a": [[0.0, 16.0, 12.0], [20.0, 16.0, 12.0]]})
    labels, particles = split(codes)
    labels[0, 0, 20:] = UNKNOWN
    batch = {
        "target": labels,
        "particles": particles,
        "not_annotated": torch.tensor([[False, False, True]]),
    }
    function = torch.nn.CrossEntropyLoss()
    if outputs == "independent":
        function = torch.nn.BCEWithLogitsLoss()
    loss = TrainingLoss(
        function,
        radii=RADII,
        net_output=NetOutput(outputs),
        painter=Heatmaps(sigma=0.5),
        partial=PartialClasses((False, False, False), reach=1),
    )
    channels = 2 + (outputs == "exclusive")
    logits = torch.randn((1, channels, *SHAPE), requires_grad=True)
    loss([logits], batch).backward()
    slope = logits.grad[0]
    assert slope[:, 20:].eq(0).all()  # not annotated at all
    assert slope[:, 12, 16, 0].eq(0).all()  # of a particle that the crop cuts
    assert slope[channels - 2, 12, 16, 20].abs() > 0
    if outputs == "independent":
        assert slope[1][labels[0, 0] == 0].eq(0).all()  # nobody annotated the second object


def test_offsets_add_their_loss_and_move_nothing_else():
    labels, particles = split(codes_of())
    batch = {
        "target": labels,
        "particles": particles,
        "not_annotated": torch.zeros((1, 3), dtype=torch.bool),
    }
    logits = torch.randn((1, 6, *SHAPE))
    plain = TrainingLoss(CrossEntropy(), radii=RADII)([logits[:, :3]], batch)
    offsets = Offsets(weight=0.5)
    loss = TrainingLoss(
        CrossEntropy(), radii=RADII, net_output=NetOutput(offsets=True), painter=offsets
    )
    truth = offsets.offsets(labels, particles, 1)
    is_known = ~truth.isnan()
    expected = torch.nn.functional.smooth_l1_loss(logits[:, 3:][is_known], truth[is_known])
    assert float(loss([logits], batch) - plain) == pytest.approx(0.5 * float(expected), rel=1e-4)
    perfect = torch.cat([logits[:, :3], truth.nan_to_num()], dim=1)
    assert float(loss([perfect], batch)) == pytest.approx(float(plain))


class CrossEntropy(torch.nn.Module):
    """Cross-entropy of labels with a channel."""

    def forward(self, logits, target):
        return torch.nn.functional.cross_entropy(logits, target[:, 0].long())


def test_a_painter_of_another_number_of_objects_or_grid_is_refused_with_its_line():
    check_painter(Heatmaps(sigma=0.5), RADII, 2)
    wrong = {
        r"returns \[2, 3, 8, 8, 8\]": lambda labels, *_: torch.zeros(2, 3, 8, 8, 8),
        r"returns \[2, 2, 16, 16, 16\]": lambda labels, *_: torch.zeros(2, 2, 16, 16, 16),
        "returns scores from 2 to 2": lambda labels, *_: torch.full((2, 2, 8, 8, 8), 2.0),
        "returns NoneType": lambda *_: None,
        "fails: ZeroDivisionError": lambda *_: 1 / 0,
    }
    for words, painter in wrong.items():
        with pytest.raises(SettingError, match=rf"test_painters.py, line \d+ {words}"):
            check_painter(painter, RADII, 2)


def test_painters_of_the_user_are_told_the_particles():
    assert not needs_particles(Spheres())
    assert needs_particles(Offsets(weight=1.0))
    assert needs_particles(lambda *_: None)
