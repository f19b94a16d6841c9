"""Mixed batches: shares, boxes, and that what is unknown stays unknown in any loss."""

import numpy as np
import pytest
import torch
from tiny import TINY

from octopi.losses import FocalTverskyLoss, TverskyCrossEntropyLoss
from octopi.models.net_output import NetOutput
from octopi.targets import UNKNOWN
from octopi.training.mixing import CutMix, MixUp, draw_box
from octopi.training.training_loss import TrainingLoss
from octopi.training.unknown import PartialClasses, leave_out_unknown

SHAPE = (2, 1, 8, 8, 8)
NUM_CLASSES = 3
MIXES = [MixUp, CutMix]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(SHAPE, generator=generator)
    target = torch.randint(0, NUM_CLASSES, SHAPE, generator=generator, dtype=torch.uint8)
    possible = torch.zeros((2, NUM_CLASSES, 1, 1, 1), dtype=torch.bool)
    return image, target, possible


def rng(seed=0):
    return np.random.default_rng(seed)


def apply(mix, image, target, possible, generator):
    """Return the mixed image, and the weight, target and possible classes of each part."""
    mixed, parts = mix(image, {"target": target, "possible": possible}, generator)
    return mixed, [(weight, known["target"], known["possible"]) for weight, known in parts]


def test_mixup_adds_images_and_weighs_both_targets_by_their_shares(batch):
    image, target, _ = batch
    mixed, parts = apply(MixUp(alpha=1.0, prob=1.0), *batch, rng())
    (share, first, _), (other_share, second, _) = parts
    assert 0 < share < 1
    assert share + other_share == pytest.approx(1)
    assert torch.equal(first, target)
    assert torch.equal(second, target.flip(0))
    assert torch.allclose(mixed, share * image + other_share * image.flip(0), atol=1e-6)


def test_cutmix_takes_image_target_and_what_is_possible_from_the_same_box(batch):
    image, target, possible = batch
    possible[1, 2] = True
    mixed, [(weight, mixed_target, mixed_possible)] = apply(
        CutMix(alpha=1.0, prob=1.0), *batch, rng(1)
    )
    assert weight == 1
    is_other = mixed != image
    assert 0 < is_other.float().mean() < 1
    assert torch.equal(mixed, torch.where(is_other, image.flip(0), image))
    assert torch.equal(mixed_target, torch.where(is_other, target.flip(0), target))
    expected = torch.where(is_other, possible.flip(0), possible)
    assert torch.equal(mixed_possible, expected)


@pytest.mark.parametrize("make", MIXES)
def test_a_mix_that_never_happens_changes_nothing(batch, make):
    mixed, [(weight, target, possible)] = apply(make(alpha=1.0, prob=0.0), *batch, rng())
    assert weight == 1
    assert mixed is batch[0]
    assert target is batch[1]
    assert possible is batch[2]


def test_boxes_have_their_share_of_the_voxels_where_no_border_cuts_them():
    shares = []
    for seed in range(200):
        box = draw_box(torch.Size((40, 40, 40)), 0.125, rng(seed))
        assert all(0 <= part.start <= part.stop for part in box)
        shares.append(np.prod([min(part.stop, 40) - part.start for part in box]) / 40**3)
    assert max(shares) == pytest.approx(0.125, rel=0.16)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("make", MIXES)
@pytest.mark.parametrize("seed", range(4))
def test_no_loss_depends_on_logits_where_a_target_is_unknown(batch, make, seed, smoothing):
    image, target, possible = batch
    target[0, ..., :4] = UNKNOWN
    target[1, ..., 2:6] = UNKNOWN
    loss = TverskyCrossEntropyLoss(
        alpha=0.3, beta=0.7, object_weight=10, weight_tversky=1, weight_cross_entropy=1,
        label_smoothing=smoothing, smooth=1,
    )  # fmt: skip
    _, parts = apply(make(alpha=1.0, prob=1.0), image, target, possible, rng(seed))
    logits = torch.randn((2, NUM_CLASSES, *SHAPE[2:]), requires_grad=True)
    total = sum(w * loss(*leave_out_unknown(logits, t, p)) for w, t, p in parts)
    (gradient,) = torch.autograd.grad(total, logits)
    everywhere = torch.stack([t == UNKNOWN for _, t, _ in parts]).all(dim=0)
    assert everywhere.any()
    assert gradient[everywhere.expand_as(gradient)].abs().max() == 0
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("make", MIXES)
def test_background_far_from_incomplete_picks_stays_unknown(batch, make):
    image, target, possible = batch
    target[:] = 0
    target[0, 0, 0, 0, 0] = 1  # of a class of which not every particle is annotated
    partial = PartialClasses((False, True, False), reach=1)
    target, possible = partial.apply(target, possible)
    _, parts = apply(make(alpha=1.0, prob=1.0), image, target, possible, rng(2))
    before = sorted(p[:, 1].sum().item() for _, _, p in [(1, target, possible)])
    trusted = 2 * 2 * 2  # voxels around the pick, in one crop
    for _, mixed_target, mixed_possible in parts:
        unknown = mixed_possible.expand(-1, -1, *SHAPE[2:])[:, 1]
        assert unknown.sum() >= before[0] - trusted
        assert not unknown[mixed_target[:, 0] == 1].any()


def test_a_step_with_one_crop_is_refused(here, octopi_command, capsys):
    assert octopi_command("create_targets") == 0
    one = ["mix=cutmix", "data.crops_per_step=1", "dry_run=true"]
    assert octopi_command("train", *TINY, *one) == 2
    assert "mix needs two crops in a step" in capsys.readouterr().err


@pytest.mark.parametrize("make", MIXES)
@pytest.mark.parametrize("exclusive", [True, False])
def test_the_loss_of_a_mixed_batch_is_finite_and_reproducible(batch, make, exclusive):
    loss = TrainingLoss(
        torch.nn.BCEWithLogitsLoss() if not exclusive else FocalTverskyLoss(),
        radii=[2.0] * (NUM_CLASSES - 1),
        net_output=NetOutput() if exclusive else NetOutput(outputs="independent"),
    )
    image, target, possible = batch
    known = {"target": target, "not_annotated": possible[..., 0, 0, 0]}
    outputs = [torch.randn((2, NUM_CLASSES if exclusive else NUM_CLASSES - 1, *SHAPE[2:]))]
    values = []
    for _ in range(2):
        _, parts = make(alpha=1.0, prob=1.0)(image, loss.read_known(known), rng(3))
        values.append(sum(weight * loss.compare(outputs, part) for weight, part in parts))
    assert torch.isfinite(values[0])
    assert values[0] == values[1]
    assert loss(outputs, known) == loss.compare(outputs, loss.read_known(known))


def test_a_painter_of_whole_particles_takes_mixup_and_no_cutmix(here, octopi_command, capsys):
    assert octopi_command("create_targets") == 0
    offsets = ["painter=offsets", "dry_run=true"]
    assert octopi_command("train", *TINY, *offsets, "mix=mixup") == 0
    assert octopi_command("train", *TINY, *offsets, "mix=cutmix") == 2
    assert "cuts through particles" in capsys.readouterr().err
