"""The losses MONAI lacks: focal variants of Tversky, and Tversky beside weighted cross-entropy.

All take logits (b, c, z, y, x) and targets, and return a scalar. The form of the targets is
"labels": integers (b, 1, z, y, x), 0 = background; "classes": the share of each class (b, c, z, y,
x); or "objects": a score of each object, of which a voxel may be several, for logits of a sigmoid.
α weighs false positives, β false negatives. The defaults are those of the published API; a training
takes its values from `conf/loss`.
"""

from typing import Literal

from monai.losses.focal_loss import FocalLoss
from monai.losses.tversky import TverskyLoss
from pydantic import validate_call
from torch import Tensor, nn

from octopi.ranges import Factor, NotNegative, Share

TargetForm = Literal["labels", "classes", "objects"]
Weight = Tensor | None  # (c,) of each class, background first; None = 1 each
_check_arguments = validate_call(config={"arbitrary_types_allowed": True})


class _TverskyBase(nn.Module):
    """Holds what all losses here take.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        smooth: voxels added to both sides of the Tversky index.
        weight: of each class.
        form: of the targets.
    """

    weight: Weight

    def __init__(
        self, *, alpha: float, beta: float, smooth: float, weight: Weight, form: TargetForm
    ) -> None:
        super().__init__()
        self.form = form
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth
        self.register_buffer("weight", weight, persistent=False)


class FocalTverskyLoss(_TverskyBase):
    """Mean over classes of (1 - Tversky index)^(1/γ); γ above 1 emphasises the hard classes.

    Source: Abraham and Khan 2018, arXiv:1810.07842, equation 3.
    """

    @_check_arguments
    def __init__(  # noqa: PLR0917  the published signature, and what a training adds
        self,
        alpha: NotNegative = 0.7,
        beta: NotNegative = 0.3,
        gamma: Factor = 1.0,
        smooth: NotNegative = 1e-5,
        weight: Weight = None,
        form: TargetForm = "labels",
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, smooth=smooth, weight=weight, form=form)
        self.gamma = gamma
        self.tversky = _tversky_loss(form, alpha, beta, smooth)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        loss = self.tversky(logits, target).clamp_min(self.smooth)  # no infinite slope at zero
        loss = loss.pow(1 / self.gamma)
        return loss.mean() if self.weight is None else (loss * self.weight).mean()


class WeightedFocalTverskyLoss(_TverskyBase):
    """weight_tversky * Tversky + weight_focal * focal loss, γ being the focal exponent."""

    @_check_arguments
    def __init__(  # noqa: PLR0917  the published signature
        self,
        gamma: Factor = 1.0,
        alpha: NotNegative = 0.7,
        beta: NotNegative = 0.3,
        weight_tversky: NotNegative = 0.5,
        weight_focal: NotNegative = 0.5,
        smooth: NotNegative = 1e-5,
        weight: Weight = None,
        form: TargetForm = "labels",
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, smooth=smooth, weight=weight, form=form)
        self.gamma = gamma
        self.weight_tversky = weight_tversky
        self.weight_focal = weight_focal
        self.tversky = _tversky_loss(form, alpha, beta, smooth)
        self.focal = FocalLoss(
            to_onehot_y=form == "labels",
            use_softmax=form != "objects",
            gamma=gamma,
            weight=weight,
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        loss = self.tversky(logits, target)
        tversky = loss.mean() if self.weight is None else (loss * self.weight).mean()
        return self.weight_tversky * tversky + self.weight_focal * self.focal(logits, target)


def _tversky_loss(form: TargetForm, alpha: float, beta: float, smooth: float) -> TverskyLoss:
    """Return the Tversky loss of each crop and class, for targets of a form."""
    return TverskyLoss(
        to_onehot_y=form == "labels",
        softmax=form != "objects",
        sigmoid=form == "objects",
        alpha=alpha,
        beta=beta,
        reduction="none",
        smooth_nr=smooth,
        smooth_dr=smooth,
    )


class TverskyCrossEntropyLoss(_TverskyBase):
    """Weighted sum of Tversky loss and cross-entropy, in which voxels of objects weigh more.

    The Tversky term counts voxels of all crops of the batch together and is the mean over the
    objects that are in it: an absent object has no index to improve, and the background is in the
    cross-entropy.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        object_weight: weight of a voxel of any object; a background voxel weighs 1.
        weight_tversky: weight of the Tversky term.
        weight_cross_entropy: weight of the cross-entropy term.
        label_smoothing: part of each target that is spread evenly over all classes.
        smooth: voxels added to both sides of the Tversky index.
        weight: of each class (c,), background first: multiplies `object_weight` in the
            cross-entropy and the Tversky term of an object; None = 1 each.
        form: of the targets.
    """

    @_check_arguments
    def __init__(
        self,
        *,
        alpha: NotNegative,
        beta: NotNegative,
        object_weight: NotNegative,
        weight_tversky: NotNegative,
        weight_cross_entropy: NotNegative,
        label_smoothing: Share,
        smooth: NotNegative,
        weight: Weight = None,
        form: TargetForm = "labels",
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, smooth=smooth, weight=weight, form=form)
        self.object_weight = object_weight
        self.weight_tversky = weight_tversky
        self.weight_cross_entropy = weight_cross_entropy
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        if self.form == "labels":
            target = target[:, 0].long()
            truth = nn.functional.one_hot(target, logits.shape[1]).movedim(-1, 1)
        else:
            truth = target
        cross_entropy = self._cross_entropy(logits, target)
        tversky = self._tversky(logits, truth)
        return self.weight_cross_entropy * cross_entropy + self.weight_tversky * tversky

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy of the voxels, those of objects weighed."""
        weight = logits.new_full((logits.shape[1],), self.object_weight)
        if self.form != "objects":
            weight[0] = 1.0
        if self.weight is not None:
            weight = weight * self.weight
        if self.form != "objects":
            return nn.functional.cross_entropy(
                logits, target, weight=weight, label_smoothing=self.label_smoothing
            )
        weights = 1 + (weight.view(-1, 1, 1, 1) - 1) * target
        smooth = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        return nn.functional.binary_cross_entropy_with_logits(
            logits, smooth, weight=weights, reduction="sum"
        ) / weights.sum().clamp_min(self.smooth)

    def _tversky(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the mean Tversky loss over the objects in the batch."""
        is_exclusive = self.form != "objects"
        scores = logits.softmax(dim=1) if is_exclusive else logits.sigmoid()
        truth = truth.to(scores.dtype)
        axes, first = (0, 2, 3, 4), int(is_exclusive)
        tp = (scores * truth).sum(axes)[first:]
        num_true_voxels = truth.sum(axes)[first:]
        fp, fn = scores.sum(axes)[first:] - tp, num_true_voxels - tp
        index = (tp + self.smooth) / (tp + self.alpha * fp + self.beta * fn + self.smooth)
        is_present = (num_true_voxels > 0).to(scores.dtype)
        loss = (1 - index) * is_present
        if self.weight is not None:
            loss = loss * self.weight[first:]
        return loss.sum() / is_present.sum().clamp_min(1)
