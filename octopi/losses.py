"""The losses MONAI lacks: focal variants of Tversky, and Tversky beside weighted cross-entropy.

All take logits (b, c, z, y, x) and integer targets (b, 1, z, y, x), 0 = background, and give a
scalar. α weighs false positives, β false negatives. The defaults are those of the published API;
`conf/loss` says what a training uses.
"""

import torch
from monai.losses.focal_loss import FocalLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor, nn


class FocalTverskyLoss(nn.Module):
    """Mean over classes of (1 - Tversky index)^(1/γ); γ above 1 dwells on the hard classes.

    Source: Abraham and Khan 2018, arXiv:1810.07842, equation 3.
    """

    def __init__(
        self, alpha: float = 0.7, beta: float = 0.3, gamma: float = 1.0, smooth: float = 1e-5
    ) -> None:
        super().__init__()
        check_weights(alpha=alpha, beta=beta, gamma=gamma)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smooth = smooth
        self.tversky = TverskyLoss(
            to_onehot_y=True,
            softmax=True,
            alpha=alpha,
            beta=beta,
            reduction="none",
            smooth_nr=smooth,
            smooth_dr=smooth,
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar."""
        missed = self.tversky(logits, target).clamp_min(self.smooth)  # no infinite slope at zero
        return missed.pow(1 / self.gamma).mean()


class WeightedFocalTverskyLoss(nn.Module):
    """weight_tversky * Tversky + weight_focal * focal loss, γ being the focal exponent."""

    def __init__(  # noqa: PLR0917  the published signature
        self,
        gamma: float = 1.0,
        alpha: float = 0.7,
        beta: float = 0.3,
        weight_tversky: float = 0.5,
        weight_focal: float = 0.5,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__()
        check_weights(
            gamma=gamma, alpha=alpha, beta=beta, tversky=weight_tversky, focal=weight_focal
        )
        self.gamma = gamma
        self.alpha = alpha
        self.beta = beta
        self.weight_tversky = weight_tversky
        self.weight_focal = weight_focal
        self.smooth = smooth
        self.tversky = TverskyLoss(
            to_onehot_y=True,
            softmax=True,
            alpha=alpha,
            beta=beta,
            smooth_nr=smooth,
            smooth_dr=smooth,
        )
        self.focal = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar."""
        tversky = self.tversky(logits, target)
        return self.weight_tversky * tversky + self.weight_focal * self.focal(logits, target)


class TverskyCrossEntropyLoss(nn.Module):
    """Tversky of the objects in the batch + cross-entropy whose object voxels weigh more.

    The Tversky term sums over the whole batch and is the mean over the objects that are in it:
    an absent object has no index to improve, and the background has the cross-entropy.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        object_weight: weight of a voxel of any object; a background voxel weighs 1.
        weight_tversky: weight of the Tversky term.
        weight_cross_entropy: weight of the cross-entropy term.
        label_smoothing: part of each target that is spread evenly over all classes.
        smooth: voxels added to both sides of the Tversky index.
    """

    def __init__(
        self,
        *,
        alpha: float,
        beta: float,
        object_weight: float,
        weight_tversky: float,
        weight_cross_entropy: float,
        label_smoothing: float,
        smooth: float,
    ) -> None:
        super().__init__()
        check_weights(
            alpha=alpha,
            beta=beta,
            object=object_weight,
            tversky=weight_tversky,
            cross_entropy=weight_cross_entropy,
        )
        self.alpha = alpha
        self.beta = beta
        self.object_weight = object_weight
        self.weight_tversky = weight_tversky
        self.weight_cross_entropy = weight_cross_entropy
        self.label_smoothing = label_smoothing
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar."""
        labels = target[:, 0].long()
        weight = logits.new_full((logits.shape[1],), self.object_weight)
        weight[0] = 1.0
        cross_entropy = nn.functional.cross_entropy(
            logits, labels, weight=weight, label_smoothing=self.label_smoothing
        )
        return self.weight_cross_entropy * cross_entropy + self.weight_tversky * self._tversky(
            logits, labels
        )

    def _tversky(self, logits: Tensor, labels: Tensor) -> Tensor:
        scores = logits.softmax(dim=1)
        truth = nn.functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(scores.dtype)
        space = (0, 2, 3, 4)
        tp = (scores * truth).sum(space)[1:]
        predicted, num_true_voxels = scores.sum(space)[1:], truth.sum(space)[1:]
        fp, fn = predicted - tp, num_true_voxels - tp
        index = (tp + self.smooth) / (tp + self.alpha * fp + self.beta * fn + self.smooth)
        present = (num_true_voxels > 0).to(scores.dtype)
        return ((1 - index) * present).sum() / present.sum().clamp_min(1)


def check_weights(**weights: float) -> None:
    """Raise ValueError for a weight below zero, or a focusing exponent of zero."""
    for name, value in weights.items():
        if value < 0 or (name == "gamma" and value == 0) or not torch.isfinite(torch.tensor(value)):
            raise ValueError(f"{name} must be a number above zero, not {value}.")
