"""Checkpoints: the weights of a network and all it takes to use them, in one file."""

import dataclasses
import pickle
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from octopi.errors import ResourceError, SettingError, describe_error, shorten, shorten_list
from octopi.models.checkpoint_info import CheckpointInfo, parse_info
from octopi.models.net_output import NetOutput
from octopi.models.properties import EXCLUSIVE, EnsembleNet
from octopi.stored_parts import Kind, build_stored
from octopi.system.files import staged

FORMAT = 1
INFO_KEY = "recipe"  # in the file
ENSEMBLE = "octopi.models.properties.EnsembleNet"
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
) | {
    f"octopi.models.unets.{name}"
    for name in ("UNetPlusPlus", "SizedUNet", "SizedAttentionUnet", "SizedDynUNet")
}
NET = Kind("net", nn.Module, TRUSTED_NETS)


def save(path: Path, weights: Weights, info: CheckpointInfo) -> None:
    """Write weights and info to a file; if that fails, the old file is intact."""
    state = {name: value.detach().cpu().clone() for name, value in weights.items()}
    content = {"format": FORMAT, INFO_KEY: dataclasses.asdict(info), "weights": state}
    try:
        with staged(path, fsync=True) as stage, stage.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        raise ResourceError(f"Could not write {path}: {error}. The old file is intact.") from error


def read(path: str | Path) -> tuple[dict[str, torch.Tensor], CheckpointInfo]:
    """Read the weights and the info of a checkpoint; run nothing that is in the file.

    Raises:
        SettingError: there is no such file, or it is not a checkpoint of this version of octopi.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        inside = sorted(str(p) for p in [*path.glob("*.pth"), *path.glob("*/*.pth")])
        raise SettingError(
            f"{path} is a folder, not a checkpoint. Checkpoints in it: "
            f"{shorten_list(inside, item_length=160) or 'none'}."
        )
    if not path.is_file():
        siblings = sorted(p.name for p in path.parent.glob("*.pth")) if path.parent.is_dir() else []
        raise SettingError(
            f"There is no checkpoint {path}. Checkpoints beside it: "
            f"{shorten_list(siblings) or 'none'}."
        )
    content = load_file(path, cure="Use the best_model.pth of a training.")
    if not (isinstance(content, dict) and {"format", INFO_KEY, "weights"} <= content.keys()):
        raise SettingError(
            f"{path} holds no {INFO_KEY}, so its weights alone cannot be used. "
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
    if bad := [name for name, value in weights.items() if not torch.isfinite(value).all()]:
        raise SettingError(
            f"{path}: the weights {shorten_list(bad)} hold values that are NaN or infinite: the "
            "training diverged, or the file is damaged. Use another checkpoint."
        )
    return dict(weights), parse_info(content[INFO_KEY], path)


def load_file(path: Path, *, cure: str) -> Any:
    """Read a file that torch wrote; run nothing that is in it.

    Args:
        path: of the file.
        cure: what the user can do if it is damaged, for the error.

    Raises:
        SettingError: it is damaged, of a newer PyTorch, or holds more than numbers and text.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        reason = _why_unreadable(error)
        if "maximum supported version" in str(error):
            raise SettingError(
                f"{path} was written by a newer PyTorch than {torch.__version__} ({reason}). "
                "Update it here: pip install --upgrade torch"
            ) from error
        raise SettingError(
            f"{path} is damaged, or is not a checkpoint that octopi wrote: {reason}. {cure}"
        ) from error


def _why_unreadable(error: Exception) -> str:
    """Say what is wrong with a file that torch did not read, without its advice to run it."""
    text = str(error)
    if found := re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)", text):
        return f"it holds Python code ({shorten(found[1], 100)}), which is not run"
    if "TorchScript" in text:
        return "it is a TorchScript program, which is not run"
    if isinstance(error, pickle.UnpicklingError):
        return "it is no file of PyTorch"
    return shorten(describe_error(error), 200)


def load(path: str | Path, *, trust: Collection[str] = ()) -> tuple[nn.Module, CheckpointInfo]:
    """Read a checkpoint and build its network, in evaluation mode on the CPU.

    Args:
        path: a `best_model.pth` written by a training.
        trust: full names of network classes, beside MONAI's, that may be built.

    Returns:
        The network with its weights, and the checkpoint's info.
    """
    weights, info = read(path)
    return build_trained_net(weights, info, where=str(path), trust=trust), info


def build_trained_net(
    weights: Weights, info: CheckpointInfo, *, where: str, trust: Collection[str] = ()
) -> nn.Module:
    """Build the network of a checkpoint with its weights, in evaluation mode on the CPU.

    Args:
        weights: of the checkpoint.
        info: of the checkpoint.
        where: where both are from, for errors.
        trust: full names of network classes, beside MONAI's, that may be built.
    """
    net = build_net(info.net, where=where, trust=trust, net_output=info.net_output)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise SettingError(f"{where}: the weights do not fit its network: {error}") from error
    return net.eval()


def build_net(
    node: Mapping[str, Any],
    *,
    where: str = "The checkpoint",
    trust: Collection[str] = (),
    net_output: NetOutput = EXCLUSIVE,
) -> nn.Module:
    """Build the untrained network that a checkpoint's `net` describes.

    Args:
        node: `_target_` and arguments, of an ensemble those of its members.
        where: where it is from, for errors.
        trust: full names of network classes, beside MONAI's, that may be built.
        net_output: what the logits of an ensemble's members mean.
    """
    nets = [build_stored(member, NET, where, trust) for member in ensemble_members(node)]
    return EnsembleNet(nets, net_output) if node.get("_target_") == ENSEMBLE else nets[0]


def ensemble_members(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the networks that a checkpoint's `net` describes: those of an ensemble, else the one."""
    if node.get("_target_") != ENSEMBLE:
        return [node]
    nets = node.get("nets")
    if not (isinstance(nets, list) and nets and all(isinstance(net, Mapping) for net in nets)):
        raise SettingError("The net of an ensemble names no networks. Write the file again.")
    return nets


def load_matching_weights(
    net: nn.Module,
    weights: Weights,
    channel_axes: Mapping[str, Sequence[int]] | None = None,
    rows: Sequence[tuple[int, int]] = (),
) -> list[str]:
    """Load the weights whose name and shape match those of the network.

    Args:
        net: is changed.
        weights: of another network; of an ensemble the first member's are taken.
        channel_axes: weight -> its axes along which each index is a channel of the output, see
            `find_channel_axes`. Of these weights the rows of the channels are loaded.
        rows: channel of the network, channel of the other one, where both are the same.

    Returns:
        The names of the network's weights that stay new, at least in part.
    """
    new_weights, axes_of = net.state_dict(), channel_axes or {}
    weights = {name.removeprefix("nets.0."): value for name, value in weights.items()}
    indices = torch.tensor(rows, dtype=torch.long).reshape(-1, 2)
    loaded, complete = {}, set()
    for name in new_weights.keys() & weights.keys():
        new, value, axes = new_weights[name], weights[name], axes_of.get(name, ())
        if new.ndim == value.ndim and all(
            new.shape[k] == value.shape[k] for k in range(new.ndim) if k not in axes
        ):
            loaded[name] = _copy_rows(new, value, axes, indices)
            if not axes or len(rows) == new.shape[axes[0]]:
                complete.add(name)
    if not any(name not in axes_of for name in loaded):
        raise SettingError("init_from: not one weight of that checkpoint fits this network.")
    net.load_state_dict(loaded, strict=False)
    return [name for name in new_weights if name not in complete]


def _copy_rows(
    new: torch.Tensor, old: torch.Tensor, axes: Sequence[int], indices: torch.Tensor
) -> torch.Tensor:
    """Return new weights in which the rows along axes are those of old ones.

    Args:
        new: of any shape.
        old: of the same shape but for the axes.
        axes: those along which rows are copied; without any, all is copied.
        indices: (n, 2), new and old row of each.
    """
    if not axes:
        return old
    into, of = indices.unbind(1)
    part = _copy_rows(
        new.index_select(axes[0], into), old.index_select(axes[0], of), axes[1:], indices
    )
    return new.index_copy(axes[0], into, part.to(new.dtype))


def find_channel_axes(net: nn.Module, wider: nn.Module) -> dict[str, list[int]]:
    """Return the axes of weights along which each index is a channel of the network's output.

    Args:
        net: the network.
        wider: the same with one more channel.
    """
    shapes = {name: value.shape for name, value in wider.state_dict().items()}
    changed = {
        name: [k for k, n in enumerate(value.shape) if shapes[name][k] != n]
        for name, value in net.state_dict().items()
        if name in shapes and len(shapes[name]) == value.ndim
    }
    return {name: axes for name, axes in changed.items() if axes}
