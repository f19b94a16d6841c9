"""Unknown voxels and classes teach nothing, whatever the loss."""

import math
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from octopi.config.build import build
from octopi.config.files import CONF_DIR
from octopi.targets import UNKNOWN, rejected_value
from octopi.training.module import PickingModule
from octopi.training.training_loss import TrainingLoss
from octopi.training.unknown import PartialClasses, leave_out_unknown, may_have_unknown

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")  # no trainer here
NUM_CLASSES = 4  # background and three objects
SHAPE = (2, NUM_CLASSES, 6, 6, 6)


class CrossEntropy(nn.CrossEntropyLoss):
    """torch's own, which wants no channel axis in the target."""

    def forward(self, logits, target):
        return super().forward(logits, target[:, 0].long())


LOSSES = {
    path.stem: build(yaml.safe_load(path.read_text(encoding="utf-8")), "loss")
    for path in CONF_DIR.glob("loss/*.yaml")
}
LOSSES["torch"] = CrossEntropy()


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


@pytest.fixture
def logits():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target():
    labels = torch.zeros((2, 1, 6, 6, 6), dtype=torch.uint8)
    labels[:, :, :2, :3], labels[:, :, 2:4, 3:], labels[:, :, 4] = 1, 2, 3
    return labels


NOTHING = torch.zeros((2, NUM_CLASSES, 1, 1, 1), dtype=torch.bool)


def gradient(loss, logits, target, possible):
    """Return the value of a loss and its gradient by the logits."""
    logits = logits.clone().requires_grad_()
    value = loss(*leave_out_unknown(logits, target, possible))
    (slope,) = torch.autograd.grad(value, logits)
    return value.detach(), slope


def test_no_loss_depends_on_logits_of_unknown_voxels(loss, logits, target):
    target[:, :, :, :, 3:] = UNKNOWN
    other = logits.clone()
    other[..., 3:] = 30 * torch.randn(other[..., 3:].shape)
    value, slope = gradient(loss, logits, target, NOTHING)
    other_value, other_slope = gradient(loss, other, target, NOTHING)
    assert value.isfinite()
    assert torch.equal(value, other_value)
    assert torch.equal(slope, other_slope)
    assert not slope[..., 3:].any()
    assert slope[..., :3].any()


@pytest.mark.parametrize("crops", [[0], [0, 1]])
def test_a_class_that_is_not_annotated_is_not_pushed_down_on_background(
    loss, logits, target, crops
):
    target[crops] = target[crops].masked_fill(target[crops] == 2, 0)
    possible = NOTHING.clone()
    possible[crops, 2] = True
    background = (target[crops, 0] == 0).nonzero(as_tuple=True)

    def push(possible):
        slope = gradient(loss, logits, target, possible)[1][crops, 2]
        return slope[background].max()

    assert push(NOTHING) > 0  # else the test shows nothing
    assert push(possible) <= 1e-3 * push(NOTHING)


def test_a_voxel_of_a_class_that_is_not_annotated_costs_nothing_on_background(loss, target):
    certain = 40.0 * nn.functional.one_hot(target[:, 0].long(), NUM_CLASSES).movedim(-1, 1).float()
    complete, _ = gradient(loss, certain, target, NOTHING)
    guess = certain.clone()
    guess[0, :, 5, 5, 5] = torch.tensor([0.0, 0.0, 40.0, 0.0])
    possible = NOTHING.clone()
    possible[0, 2] = True
    value, _ = gradient(loss, guess, target, possible)
    assert value == pytest.approx(float(complete), abs=1e-5)
    assert gradient(loss, guess, target, NOTHING)[0] > complete + 1e-5


def test_complete_data_give_the_very_loss(loss, logits, target):
    value, slope = gradient(loss, logits, target, NOTHING)
    logits.requires_grad_()
    plain = loss(logits, target)
    assert torch.equal(value, plain)
    assert torch.equal(slope, torch.autograd.grad(plain, logits)[0])
    assert not may_have_unknown(target, NOTHING)


class TwoHeads(nn.Module):
    """Logits of a network at full and at half resolution."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv3d(1, NUM_CLASSES, 1)
        self.coarse = nn.Conv3d(1, NUM_CLASSES, 2, stride=2)

    def forward(self, image):
        return [self.fine(image), self.coarse(image)]


def module_of(net, loss):
    return PickingModule(
        net,
        SimpleNamespace(best_metric="object_fbeta", seed=0),
        loss=TrainingLoss(loss, radii=[math.nan] * 3),
        validation=None,
        labels={"a": 1, "b": 2, "c": 3},
    )


def test_no_head_of_a_deeply_supervised_network_learns_from_unknown_voxels(loss, target):
    target[..., 4:] = UNKNOWN  # a multiple of two, so that no coarse voxel is half known
    image = torch.randn((2, 1, 6, 6, 6))
    module = module_of(TwoHeads(), loss)
    losses = []
    for change in (0, 50):
        changed = image.clone()
        changed[..., 4:] += change
        batch = {"image": changed, "target": target, "not_annotated": NOTHING[..., 0, 0, 0]}
        losses.append(module.training_step(batch, 0))
    slopes = [torch.autograd.grad(value, list(module.parameters())) for value in losses]
    assert torch.equal(*losses)
    assert all(torch.equal(*pair) for pair in zip(*slopes, strict=True))


def test_every_head_takes_account_of_classes_that_are_not_annotated(target):
    image = torch.randn((2, 1, 6, 6, 6))
    module = module_of(TwoHeads(), CrossEntropy())
    losses = []
    for name in (None, "fine", "coarse"):
        net = TwoHeads()
        for layer in (net.fine, net.coarse):
            layer.weight.data.zero_()
            layer.bias.data.zero_()
        if name:
            getattr(net, name).bias.data[2] = 8.0
        module.net = net
        batch = {
            "image": image,
            "target": torch.zeros_like(target),
            "not_annotated": torch.tensor([[False, False, True, False]] * 2),
        }
        losses.append(float(module.training_step(batch, 0).detach()))
    assert losses[1] < losses[0]
    assert losses[2] < losses[0]


def test_background_is_trusted_near_what_is_annotated_only():
    target = torch.zeros(1, 1, 9, 9, 9, dtype=torch.uint8)
    target[0, 0, 4, 4, 4] = 1
    target[0, 0, 0, 0, 0] = UNKNOWN
    possible = PartialClasses((False, True, False), reach=2).possible(target)
    assert not possible[:, [0, 2]].any()
    expected = torch.ones(9, 9, 9, dtype=torch.bool)
    expected[2:7, 2:7, 2:7] = False
    assert (possible[0, 1] == expected).all()


def test_a_particle_that_was_overlooked_is_not_pushed_down():
    logits = torch.randn(1, 3, 9, 9, 9, requires_grad=True)
    target = torch.zeros(1, 1, 9, 9, 9, dtype=torch.uint8)
    target[0, 0, 1, 1, 1] = 1
    possible = PartialClasses((False, True, False), reach=2).possible(target)
    loss = torch.nn.CrossEntropyLoss()
    known, fitted = leave_out_unknown(logits, target, possible)
    loss(known, fitted[:, 0].long()).backward()
    far, near = logits.grad[0, :, 7, 7, 7], logits.grad[0, :, 2, 2, 2]
    assert far[1] <= 0 and near[1] > 0
    assert far[2] > 0


def test_only_objects_of_which_particles_are_missing_make_background_trusted():
    target = torch.zeros(1, 1, 9, 9, 9, dtype=torch.uint8)
    target[0, 0, 4, 4, 4] = 2
    assert PartialClasses((False, True, False), reach=2).possible(target)[0, 1].all()


def test_a_rejected_place_is_certainly_none_of_its_class_and_no_more():
    target = torch.zeros(1, 1, 9, 9, 9, dtype=torch.uint8)
    target[0, 0, 0, 0, 0] = UNKNOWN
    target[0, 0, 8, 8, 8] = rejected_value(1)
    target[0, 0, 8, 8, 7] = rejected_value(2)
    classes = PartialClasses((False, True, True), reach=1, has_rejected=True)
    nothing = torch.zeros(1, 3, 1, 1, 1, dtype=torch.bool)
    background, possible = classes.apply(target, nothing)
    assert background.nonzero().tolist() == [[0, 0, 0, 0, 0]]
    assert possible[0, :, 8, 8, 8].tolist() == [False, False, True]
    assert possible[0, :, 8, 8, 7].tolist() == [False, True, False]
    assert possible[0, :, 4, 4, 4].tolist() == [False, True, True]


def test_outside_of_what_is_annotated_a_rejected_place_may_be_any_other_class():
    target = torch.zeros(1, 1, 3, 3, 3, dtype=torch.uint8)
    target[0, 0, 0, 0, 0] = rejected_value(1, else_unknown=True)
    target[0, 0, 1, 1, 1] = rejected_value(1)
    classes = PartialClasses((False, False, False), reach=1, has_rejected=True)
    nothing = torch.zeros(1, 3, 1, 1, 1, dtype=torch.bool)
    background, possible = classes.apply(target, nothing)
    assert not background.any()
    assert possible[0, 1:, 0, 0, 0].tolist() == [False, True]
    assert not possible[0, :, 1, 1, 1].any()
    assert not possible[0, :, 2, 2, 2].any()


@pytest.mark.parametrize("annotated", [True, False])
def test_a_rejected_place_is_pushed_down_wherever_its_class_is_not_annotated(annotated):
    target = torch.zeros(1, 1, 9, 9, 9, dtype=torch.uint8)
    target[0, 0, 8, 8, 8] = rejected_value(1)
    image = torch.randn((1, 1, 9, 9, 9))
    module = module_of(nn.Conv3d(1, NUM_CLASSES, 1), CrossEntropy())
    module.loss.partial = PartialClasses((False,) * NUM_CLASSES, reach=1, has_rejected=True)
    not_annotated = torch.tensor([[False, not annotated, False, False]])
    logits = module.net(image).detach().requires_grad_()
    loss = module.loss([logits], {"target": target, "not_annotated": not_annotated})
    loss.backward()
    slope = logits.grad[0, 1]
    assert slope[8, 8, 8] > 0  # down
    assert (slope[4, 4, 4] > 1e-6) == annotated


def test_targets_without_rejected_places_are_left_as_they_are(target):
    classes = PartialClasses((False, True, False, False), reach=1)
    assert classes.apply(target, NOTHING)[0] is target
    nothing_marked = PartialClasses((False, True, False, False), reach=1, has_rejected=True)
    for marked, plain in zip(
        nothing_marked.apply(target, NOTHING), classes.apply(target, NOTHING), strict=True
    ):
        assert torch.equal(marked, plain)
