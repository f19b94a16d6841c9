"""The losses against their formulas, on tensors small enough to do by hand."""

import pytest
import torch
from monai.losses import FocalLoss, TverskyLoss

from octopi.losses import FocalTverskyLoss, TverskyCrossEntropyLoss, WeightedFocalTverskyLoss

SEED = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 4, 4, generator=SEED)
TARGET = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=SEED)


def tversky_losses(alpha: float, beta: float, smooth: float = 1e-5) -> torch.Tensor:
    scores = LOGITS.softmax(1)
    truth = torch.nn.functional.one_hot(TARGET[:, 0], 3).movedim(-1, 1).float()
    tp, fp, fn = (
        (a * b).sum((2, 3, 4))
        for a, b in ((scores, truth), (scores, 1 - truth), (1 - scores, truth))
    )
    return 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)


def test_focal_tversky_is_the_mean_over_classes_of_the_powered_tversky_loss():
    expected = (tversky_losses(0.3, 0.7) ** (1 / 2)).mean()
    loss = FocalTverskyLoss(alpha=0.3, beta=0.7, gamma=2.0)
    assert loss(LOGITS, TARGET) == pytest.approx(float(expected), abs=1e-5)


def test_focal_tversky_with_gamma_one_is_tversky():
    tversky = TverskyLoss(to_onehot_y=True, softmax=True, alpha=0.7, beta=0.3)
    assert FocalTverskyLoss()(LOGITS, TARGET) == pytest.approx(float(tversky(LOGITS, TARGET)))


def test_alpha_weighs_false_positives_and_beta_false_negatives():
    nothing = torch.zeros(1, 1, 4, 4, 4)
    everything = torch.ones(1, 1, 4, 4, 4)
    sure_of_one = torch.stack([torch.full((4, 4, 4), -9.0), torch.full((4, 4, 4), 9.0)])[None]
    half = nothing.clone()
    half[..., :2] = 1
    fp_averse, fn_averse = FocalTverskyLoss(0.9, 0.1), FocalTverskyLoss(0.1, 0.9)
    # too much of class 1: the false positives of class 1, the false negatives of class 0
    assert fp_averse.tversky(sure_of_one, half)[0, 1] > fn_averse.tversky(sure_of_one, half)[0, 1]
    assert fp_averse.tversky(sure_of_one, half)[0, 0] < fn_averse.tversky(sure_of_one, half)[0, 0]
    assert fp_averse(sure_of_one, everything) < fp_averse(sure_of_one, half)


def test_weighted_focal_tversky_is_the_weighted_sum_of_both():
    tversky = TverskyLoss(to_onehot_y=True, softmax=True, alpha=0.4, beta=0.6)
    focal = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0)
    loss = WeightedFocalTverskyLoss(
        gamma=2.0, alpha=0.4, beta=0.6, weight_tversky=0.8, weight_focal=0.2
    )
    expected = 0.8 * tversky(LOGITS, TARGET) + 0.2 * focal(LOGITS, TARGET)
    assert loss(LOGITS, TARGET) == pytest.approx(float(expected), abs=1e-5)


def test_object_weight_multiplies_the_cross_entropy_of_object_voxels():
    settings = {"alpha": 0.5, "beta": 0.5, "weight_tversky": 0.0, "weight_cross_entropy": 1.0}
    settings["smooth"] = 1.0
    logits = torch.zeros(1, 2, 1, 1, 2)
    logits[0, 1, 0, 0, 0] = 2.0  # the first voxel leans to the object, and is background
    target = torch.tensor([0, 1]).reshape(1, 1, 1, 1, 2)
    per_voxel = torch.nn.functional.cross_entropy(logits, target[:, 0], reduction="none").ravel()
    loss = TverskyCrossEntropyLoss(object_weight=3.0, label_smoothing=0.0, **settings)
    expected = (per_voxel[0] + 3 * per_voxel[1]) / 4
    assert loss(logits, target) == pytest.approx(float(expected), abs=1e-6)


def test_an_object_absent_from_the_batch_does_not_count_in_the_tversky_term():
    loss = TverskyCrossEntropyLoss(
        alpha=0.3,
        beta=0.7,
        object_weight=1.0,
        weight_tversky=1.0,
        weight_cross_entropy=0.0,
        label_smoothing=0.0,
        smooth=1.0,
    )
    target = torch.zeros(1, 1, 2, 2, 2)
    target[..., 0] = 1
    logits = torch.zeros(1, 3, 2, 2, 2)  # class 2 is absent
    tp, fp, fn = 4 / 3, 4 / 3, 4 - 4 / 3
    expected = 1 - (tp + 1) / (tp + 0.3 * fp + 0.7 * fn + 1)
    assert loss(logits, target) == pytest.approx(expected, abs=1e-6)
    assert loss(logits, torch.zeros_like(target)) == 0


@pytest.mark.parametrize("loss", [FocalTverskyLoss(0.3, 0.7, 2.0), WeightedFocalTverskyLoss()])
def test_gradients_are_finite_where_the_prediction_is_perfect(loss):
    truth = torch.zeros(1, 1, 2, 2, 2, dtype=torch.long)
    logits = torch.zeros(1, 2, 2, 2, 2)
    logits[:, 0] = 60.0
    logits.requires_grad_()
    loss(logits, truth).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_negative_weight_and_a_gamma_of_zero_are_refused():
    with pytest.raises(ValueError, match="alpha"):
        FocalTverskyLoss(alpha=-0.1)
    with pytest.raises(ValueError, match="gamma"):
        WeightedFocalTverskyLoss(gamma=0)
