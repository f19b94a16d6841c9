"""A checkpoint is enough: the weights and the recipe that says how to use them, in one file."""

import dataclasses
import logging
import pickle
import typing
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from octopi.arguments import Positive, Share, fit
from octopi.errors import ResourceError, SettingError
from octopi.geometry import same_spacing
from octopi.models.properties import EnsembleNet
from octopi.stored import Kind, build_stored
from octopi.system.files import staged

logger = logging.getLogger(__name__)

FORMAT = 1
ENSEMBLE = "octopi.models.properties.EnsembleNet"
INITIAL_WEIGHTS_KEY = "initial_weights"  # in the provenance: a sample of what a net began with
NUM_SAMPLED = 16
Weights = Mapping[str, torch.Tensor]

# The networks a checkpoint may name by itself: those of conf/model and MONAI's others for
# segmentation, but for FlexibleUNet, which fetches weights from the network.
TRUSTED_NETS = frozenset(
    f"monai.networks.nets.{name}"
    for name in (
        "UNet",
        "AttentionUnet",
        "BasicUNet",
        "BasicUNetPlusPlus",
        "DynUNet",
        "MedNeXt",
        "SegResNet",
        "SegResNetDS",
        "SegResNetDS2",
        "SwinUNETR",
        "VNet",
    )
) | {f"octopi.models.unets.Sized{name}" for name in ("UNet", "AttentionUnet", "DynUNet")}
NET = Kind("net", nn.Module, TRUSTED_NETS)


@dataclass(frozen=True)
class CheckpointInfo:
    """What must be known to use a network's weights.

    Args:
        net: `_target_` of the network's class and its arguments, `out_channels` included.
        labels: object name -> channel of the network, from 1; channel 0 is background.
        radii: object name -> radius in Å.
        weights: object name -> weight in the total score.
        voxel_spacing: of the tomograms trained on, Å.
        working_spacing: what tomograms were Fourier-cropped to, Å; None = not cropped.
        tomo_types: tomogram types trained on, the one validated on first.
        size_divisor: voxels of which every edge of an input must be a multiple.
        predictor: arguments of the predictor that validation used.
        localizer: `_target_` and arguments of the localizer that validation used.
        thresholds: β -> object name -> score from which a peak is a pick, best for that F-beta.
        beta: the β whose thresholds are taken unless another is asked for.
        metrics: what validation measured with these weights.
        provenance: versions, split, data fingerprint, seed, a sample of the initial weights.
    """

    net: dict[str, Any]
    labels: dict[str, Annotated[int, Field(ge=1, le=255)]]
    radii: dict[str, Positive]
    weights: dict[str, float]
    voxel_spacing: Positive
    working_spacing: Positive | None
    tomo_types: Annotated[list[str], Field(min_length=1)]
    size_divisor: Annotated[int, Field(ge=1, le=1024)]
    predictor: dict[str, Any]
    localizer: dict[str, Any]
    thresholds: dict[str, dict[str, Share]]
    beta: Positive
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def object_names(self) -> list[str]:
        """The objects in the order of the network's channels."""
        return sorted(self.labels, key=self.labels.__getitem__)


def check_same_objects(paths: Sequence[str | Path], recipes: Sequence[CheckpointInfo]) -> None:
    """Raise SettingError unless the checkpoints' scores mean the same objects at the same scale."""
    first = recipes[0]
    for path, recipe in zip(paths, recipes, strict=True):
        for key in ("labels", "working_spacing"):
            first_value, theirs = getattr(first, key), getattr(recipe, key)
            if first_value != theirs:
                raise SettingError(
                    f"{path} has {key} {theirs}, but {paths[0]} has {first_value}: "
                    "their scores cannot be averaged."
                )
        same = same_spacing(recipe.voxel_spacing, first.voxel_spacing)
        if first.working_spacing is None and not same:
            raise SettingError(
                f"{path} was trained at {recipe.voxel_spacing:g} Å, {paths[0]} at "
                f"{first.voxel_spacing:g} Å: their scores cannot be averaged. Train both with one "
                "data.working_spacing."
            )


def mean_thresholds(recipes: Sequence[CheckpointInfo]) -> dict[str, dict[str, float]]:
    """β -> object name -> the mean threshold of several recipes of the same objects.

    Of the β and objects that all of them have.
    """
    first, *others = (recipe.thresholds for recipe in recipes)
    return {
        beta: {
            name: sum(recipe.thresholds[beta][name] for recipe in recipes) / len(recipes)
            for name in thresholds
            if all(name in other[beta] for other in others)
        }
        for beta, thresholds in first.items()
        if all(beta in other for other in others)
    }


def ensemble_thresholds(recipes: Sequence[CheckpointInfo]) -> dict[str, dict[str, float]]:
    """As `mean_thresholds`, and the log says what they are.

    Nothing better is known: nobody has seen what the networks find together.
    """
    if len(recipes) > 1:
        logger.info(
            "The thresholds are the mean of those of %d checkpoints. A cross-validation "
            "calibrates them together: use its own best_model.pth, which holds all its folds.",
            len(recipes),
        )
    return mean_thresholds(recipes)


def save(path: Path, weights: Mapping[str, torch.Tensor], recipe: CheckpointInfo) -> None:
    """`path` holds the weights and the recipe, complete, or is what it was before."""
    state = {name: value.detach().cpu().clone() for name, value in weights.items()}
    content = {"format": FORMAT, "recipe": dataclasses.asdict(recipe), "weights": state}
    try:
        with staged(path, fsync=True) as stage, stage.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        raise ResourceError(f"Could not write {path}: {error}. The old file is intact.") from error


def load(path: str | Path, *, trust: Collection[str] = ()) -> tuple[nn.Module, CheckpointInfo]:
    """The network with its weights, in evaluation mode on the CPU, and its recipe.

    Args:
        path: a `best_model.pth` written by a training.
        trust: full names of network classes, beside MONAI's, that may be built.
    """
    weights, recipe = read(path)
    return build_trusted_network(weights, recipe, origin=str(path), trust=trust), recipe


def build_trusted_network(
    weights: Weights, recipe: CheckpointInfo, *, origin: str, trust: Collection[str] = ()
) -> nn.Module:
    """The network a recipe describes, with these weights, in evaluation mode on the CPU.

    Args:
        weights: by name.
        recipe: theirs.
        origin: where both are from, for errors.
        trust: full names of network classes, beside MONAI's, that may be built.
    """
    net = build_net(recipe.net, origin=origin, trust=trust)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise SettingError(f"{origin}: the weights do not fit its network: {error}") from error
    return net.eval()


def ensemble_members(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The networks a recipe's `net` describes: those of an ensemble, else the one."""
    if node.get("_target_") != ENSEMBLE:
        return [node]
    nets = node.get("nets")
    if not (isinstance(nets, list) and nets and all(isinstance(net, Mapping) for net in nets)):
        raise SettingError("The recipe of an ensemble names no networks. Write the file again.")
    return nets


def split_ensemble(
    weights: Weights, recipe: CheckpointInfo
) -> list[tuple[Weights, CheckpointInfo]]:
    """The networks of an ensemble, each as a checkpoint of its own; of another, itself."""
    if recipe.net.get("_target_") != ENSEMBLE:
        return [(weights, recipe)]
    sources = recipe.provenance.get("folds", [])
    out = []
    for i, node in enumerate(ensemble_members(recipe.net)):
        prefix = f"nets.{i}."
        member_weights = {
            k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)
        }
        source = sources[i] if i < len(sources) else {}
        out.append((member_weights, dataclasses.replace(recipe, net=dict(node), provenance=source)))
    return out


def average_weights(
    loaded: Sequence[tuple[Weights, CheckpointInfo]],
) -> tuple[dict[str, torch.Tensor], CheckpointInfo]:
    """One network with the mean of all networks' weights (Wortsman et al. 2022).

    Only networks of one architecture that began with the same weights lie near enough for that.
    Running statistics of normalisation are averaged too; what is not a floating-point number,
    such as a counter or an index, is the first network's.

    Args:
        loaded: weights and recipe of each checkpoint; ensembles count with all their networks.

    Raises:
        SettingError: if the networks differ in architecture or in what they began with.
    """
    nets = [member for weights, recipe in loaded for member in split_ensemble(weights, recipe)]
    first, recipe = nets[0]
    for weights, other in nets[1:]:
        _check_can_be_averaged(recipe, other)
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in first.items()}:
            raise SettingError("The networks' weights differ in name or shape: no soup of them.")
    averaged = {
        name: torch.stack([w[name].double() for w, _ in nets]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }
    return averaged, recipe


def _check_can_be_averaged(one: CheckpointInfo, other: CheckpointInfo) -> None:
    """Raise SettingError unless the mean of both networks' weights can be a network."""
    cure = "Average their scores instead: ensemble=scores."
    changed = [
        key
        for key in dict.fromkeys([*one.net, *other.net])
        if one.net.get(key) != other.net.get(key)
    ]
    if changed:
        sweeps = ", ".join(f"{key} {one.net.get(key)} and {other.net.get(key)}" for key in changed)
        raise SettingError(f"A soup needs networks of one architecture, not {sweeps}. {cure}")
    first_weights, theirs = (recipe.provenance.get(INITIAL_WEIGHTS_KEY) for recipe in (one, other))
    if first_weights is None or theirs is None:
        logger.warning(
            "A checkpoint of the soup does not say with which weights it began. "
            "Networks that began differently make a useless soup: compare with ensemble=scores."
        )
    elif not np.allclose(first_weights, theirs, rtol=1e-3, atol=1e-6):
        raise SettingError(
            "A soup needs networks that began with the same weights (the same seed or "
            f"init_from); these did not. {cure}"
        )


def sample_weights(net: nn.Module) -> list[float]:
    """A few weights, from all over the network, by which to know it again.

    Numbers and not a hash: initialisation may round differently on another processor.
    """
    flat_weights = torch.cat([p.detach().flatten().cpu() for p in net.parameters()])
    places = torch.linspace(0, len(flat_weights) - 1, NUM_SAMPLED, dtype=torch.float64).long()
    return [round(value, 8) for value in flat_weights[places].tolist()]


def build_net(
    node: Mapping[str, Any], *, origin: str = "The recipe", trust: Collection[str] = ()
) -> nn.Module:
    """Build the network a recipe's `net` describes, untrained.

    Args:
        node: `_target_` and arguments, of an ensemble those of its members.
        origin: where it is from, for errors.
        trust: full names of network classes, beside MONAI's, that may be built.
    """
    nets = [build_stored(member, NET, origin, trust) for member in ensemble_members(node)]
    return EnsembleNet(nets) if node.get("_target_") == ENSEMBLE else nets[0]


def read(path: str | Path) -> tuple[dict[str, torch.Tensor], CheckpointInfo]:
    """The weights and the recipe in a file; nothing in it is run."""
    path = Path(path)
    if not path.is_file():
        checkpoints_beside = (
            sorted(p.name for p in path.parent.glob("*.pth")) if path.parent.is_dir() else []
        )
        raise SettingError(
            f"There is no checkpoint {path}. Checkpoints beside it: "
            f"{', '.join(checkpoints_beside) or 'none'}."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise SettingError(
            f"{path} is not a checkpoint of octopi, or is damaged: {_first_line(error)} "
            "Use the best_model.pth of a training."
        ) from error
    if not (isinstance(content, dict) and {"format", "recipe", "weights"} <= content.keys()):
        raise SettingError(
            f"{path} holds no recipe, so its weights alone cannot be used. "
            "Use the best_model.pth of a training."
        )
    if content["format"] != FORMAT:
        raise SettingError(
            f"{path} has format {content['format']}; this octopi reads {FORMAT}. Update octopi."
        )
    weights = content["weights"]
    if not (
        isinstance(weights, Mapping)
        and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in weights.items())
    ):
        raise SettingError(f"{path}: its weights are not tensors by name. Use another checkpoint.")
    return dict(weights), _recipe_of(content["recipe"], path)


def _recipe_of(content: Any, path: Path) -> CheckpointInfo:
    """Return the recipe that a checkpoint holds, each field checked."""
    fields = {f.name: f for f in dataclasses.fields(CheckpointInfo)}
    needed = {name for name, f in fields.items() if f.default_factory is dataclasses.MISSING}
    keys = set(content) if isinstance(content, Mapping) else set()
    if not needed <= keys <= set(fields):
        wrong = sorted(map(str, keys - set(fields))) or sorted(needed - keys)
        raise SettingError(
            f"{path}: its recipe {'has' if keys - set(fields) else 'lacks'} {', '.join(wrong)}. "
            "Use a best_model.pth that this version of octopi wrote."
        )
    for name, annotation in typing.get_type_hints(CheckpointInfo, include_extras=True).items():
        if name in keys and name not in ("metrics", "provenance"):  # for people only
            fit(content[name], annotation, f"{path}: its recipe's {name}")
    return CheckpointInfo(**content)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return text if len(text) < 200 else text[:200] + "…"


def load_matching_weights(net: nn.Module, weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Every weight of `net` whose name and shape `weights` knows is taken over.

    Of an ensemble the first member's are. Returns the names of those that were not taken: a
    re-made head, for instance.
    """
    net_weights = net.state_dict()
    weights = {name.removeprefix("nets.0."): value for name, value in weights.items()}
    fitting = {
        name: value
        for name, value in weights.items()
        if name in net_weights and net_weights[name].shape == value.shape
    }
    if not fitting:
        raise SettingError("init_from: not one weight of that checkpoint fits this network.")
    net.load_state_dict(fitting, strict=False)
    return [name for name in net_weights if name not in fitting]
