"""Losses of libraries and of the user, and weights of classes by the names of the objects."""

from pathlib import Path

import pytest
import torch
from monai.losses import DiceCELoss, FocalLoss
from tiny import RUNS, TINY

from octopi.errors import SettingError
from octopi.losses import FocalTverskyLoss, TverskyCrossEntropyLoss
from octopi.training.build_loss import build_loss, frequency_weights
from octopi.training.part_checks import check_loss

SEED = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 4, 4, generator=SEED)
TARGET = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=SEED).to(torch.uint8)
LABELS = {"apo": 1, "ribosome": 2}
MONAI = {"to_onehot_y": True, "softmax": True}
TVERSKY_CE = {
    "alpha": 0.3,
    "beta": 0.7,
    "object_weight": 10.0,
    "weight_tversky": 1.0,
    "weight_cross_entropy": 1.0,
    "label_smoothing": 0.0,
    "smooth": 1.0,
}
OWN = '''"""A user's loss."""


def absolute(logits, target, *, scale):
    """The mean distance of scores from the truth."""
    return scale * (logits.softmax(1)[:, :1] - (target == 0).float()).abs().mean()


class PerVoxel:
    """A loss that returns a volume."""

    def __call__(self, logits, target):
        return (logits - target).square().mean(1)
'''


def loss_of(name, **arguments):
    return build_loss({"_target_": name, **arguments}, LABELS, "labels")(LOGITS, TARGET)


def test_cross_entropy_of_torch_takes_the_labels_of_a_target():
    expected = torch.nn.functional.cross_entropy(LOGITS, TARGET[:, 0].long())
    assert loss_of("torch.nn.CrossEntropyLoss") == pytest.approx(float(expected))


def test_weights_by_name_are_those_of_the_classes_in_order():
    weight = torch.tensor([1.0, 1.0, 4.0])
    weights = {"weights": {"ribosome": 4.0}}
    pairs = [
        (
            loss_of("torch.nn.CrossEntropyLoss", **weights),
            torch.nn.functional.cross_entropy(LOGITS, TARGET[:, 0].long(), weight=weight),
        ),
        (
            loss_of("monai.losses.DiceCELoss", **MONAI, **weights),
            DiceCELoss(weight=weight, **MONAI)(LOGITS, TARGET),
        ),
        (
            loss_of("monai.losses.DiceCELoss", include_background=False, **MONAI, **weights),
            DiceCELoss(weight=weight, include_background=False, **MONAI)(LOGITS, TARGET),
        ),
        (
            loss_of("monai.losses.FocalLoss", to_onehot_y=True, use_softmax=True, **weights),
            FocalLoss(to_onehot_y=True, use_softmax=True, weight=weight)(LOGITS, TARGET),
        ),
        (
            loss_of(
                "monai.losses.FocalLoss",
                include_background=False,
                to_onehot_y=True,
                use_softmax=True,
                **weights,
            ),
            FocalLoss(
                include_background=False, to_onehot_y=True, use_softmax=True, weight=weight[1:]
            )(LOGITS, TARGET),
        ),
    ]
    for value, expected in pairs:
        assert float(value) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("octopi.losses.TverskyCrossEntropyLoss", TVERSKY_CE),
        ("octopi.losses.FocalTverskyLoss", {}),
        ("octopi.losses.WeightedFocalTverskyLoss", {}),
    ],
)
def test_weights_of_one_change_nothing_and_others_count_their_object_alone(name, arguments):
    plain = loss_of(name, **arguments)
    ones = loss_of(name, **arguments, weights={"apo": 1.0, "ribosome": 1.0})
    assert float(ones) == pytest.approx(float(plain))
    logits = LOGITS.clone().requires_grad_()
    only = build_loss({"_target_": name, **arguments, "weights": {"apo": 0.0}}, LABELS, "labels")
    gradient = torch.autograd.grad(only(logits, TARGET), logits)[0]
    full = build_loss({"_target_": name, **arguments}, LABELS, "labels")
    other = torch.autograd.grad(full(logits, TARGET), logits)[0]
    assert float(gradient[:, 1].abs().sum()) < float(other[:, 1].abs().sum())


def test_tversky_terms_are_weighed_by_object():
    terms = [
        TverskyCrossEntropyLoss(
            **{**TVERSKY_CE, "weight_cross_entropy": 0.0}, weight=torch.tensor([1.0, *pair])
        )(LOGITS, TARGET)
        for pair in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0))
    ]
    assert float(2 * terms[0] + 3 * terms[1]) == pytest.approx(float(terms[2]))
    by_class = [FocalTverskyLoss(weight=torch.eye(3)[k])(LOGITS, TARGET) for k in range(3)]
    assert float(sum(by_class)) == pytest.approx(float(FocalTverskyLoss()(LOGITS, TARGET)))


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("monai.losses.DiceCELoss", {"weights": {"ribosom": 4.0}}, "Did you mean ribosome"),
        ("monai.losses.TverskyLoss", {"weights": {"apo": 4.0}}, "has no parameter weight"),
        ("torch.nn.CrossEntropyLoss", {"weights": {"apo": -1.0}}, "loss.weights must be"),
        ("torch.nn.CrossEntropyLoss", {"weights": {"apo": float("nan")}}, "loss.weights"),
    ],
)
def test_wrong_weights_are_refused(name, arguments, words):
    with pytest.raises(SettingError, match=words):
        build_loss({"_target_": name, **arguments}, LABELS, "labels")


@pytest.fixture(scope="module")
def own_losses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_losses.py").write_text(OWN, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def test_a_function_of_the_user_is_a_loss(own_losses):
    loss = build_loss({"_target_": "my_losses.absolute", "scale": 2.0}, LABELS, "labels")
    check_loss(loss, "labels", 2)
    expected = 2 * (LOGITS.softmax(1)[:, :1] - (TARGET == 0).float()).abs().mean()
    assert float(loss(LOGITS, TARGET)) == pytest.approx(float(expected))
    with pytest.raises(SettingError, match="needs the parameter scale"):
        build_loss({"_target_": "my_losses.absolute"}, LABELS, "labels")


def test_a_loss_that_returns_a_volume_is_refused_with_its_file_and_line(own_losses):
    loss = build_loss({"_target_": "my_losses.PerVoxel"}, LABELS, "labels")
    place = rf"PerVoxel in {own_losses / 'my_losses.py'}, line 9"
    with pytest.raises(SettingError, match=rf"{place}.*returns \[2, 8, 8, 8\] numbers"):
        check_loss(loss, "labels", 2)


def test_what_is_called_otherwise_is_no_loss(own_losses):
    with pytest.raises(SettingError, match="or your own"):
        build_loss({"_target_": "pathlib.Path"}, LABELS, "labels")


def test_a_weighted_loss_trains_and_the_checkpoint_remembers(here, octopi_command):
    assert octopi_command("create_targets") == 0
    weights = "loss.weights={ribosome: 4}"
    job = [*TINY, *RUNS, "loss=dice_ce", weights, "hydra.run.dir=job"]
    assert octopi_command("train", *job, "dry_run=true") == 0
    assert octopi_command("train", *job) == 0
    assert "ribosome: 4" in Path("job/config.yaml").read_text(encoding="utf-8")
    assert octopi_command("train", *TINY, *RUNS, "loss.weights={ribosom: 4}", "dry_run=true") == 2


def test_weights_by_frequency_let_every_object_count_alike():
    volumes = {"apo": 2.0, "ribosome": 8.0, "membrane": 0.0, "proteasome": 4.0}
    weights = frequency_weights(volumes)
    assert weights == {"apo": 2.0, "ribosome": 0.5, "proteasome": 1.0}
    assert len({weights[name] * volumes[name] for name in weights}) == 1
    assert frequency_weights({"apo": 0.0}) == {}


def test_weights_by_frequency_are_those_of_the_loss():
    node = {"_target_": "torch.nn.CrossEntropyLoss"}
    by_frequency = build_loss(
        {**node, "weights": "frequency"}, LABELS, "labels", lambda: {"apo": 1.0, "ribosome": 3.0}
    )
    by_name = build_loss({**node, "weights": {"apo": 2.0, "ribosome": 2 / 3}}, LABELS, "labels")
    assert by_frequency(LOGITS, TARGET) == pytest.approx(float(by_name(LOGITS, TARGET)))


def test_a_training_weighs_objects_by_their_picks(here, octopi_command, capfd):
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, "loss.weights=frequency", "dry_run=true") == 0
    # as many of each: what is small weighs more
    assert "apo-ferritin" in capfd.readouterr().err.partition("Weights of the objects")[2]
    assert octopi_command("train", *TINY, "loss.weights=often", "dry_run=true") == 2
    assert "loss.weights must be" in capfd.readouterr().err
