"""What a checkpoint says of its network: how to build it, feed it, and pick from its scores."""

import dataclasses
import hashlib
import logging
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from octopi.arguments import fit
from octopi.errors import SettingError, shorten_list
from octopi.geometry import same_spacing
from octopi.models.net_output import NetOutput
from octopi.picking import Chance, PickingInfo, mean_chances, mean_thresholds, sort_by_label
from octopi.ranges import Positive, Share

logger = logging.getLogger(__name__)


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
        thresholds: β -> object name -> chance from which a peak is a pick, best for that F-beta.
        beta: the β whose thresholds are taken unless another is requested.
        net_output: what the network's logits mean.
        chances: object name -> how likely its peaks are particles, by their scores.
        annotated_share: object name -> share of its particles that seems annotated: the estimate
            and its 95 % interval.
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
    net_output: NetOutput = field(default_factory=NetOutput)
    chances: dict[str, Chance] = field(default_factory=dict)
    annotated_share: dict[str, list[Share]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def object_names(self) -> list[str]:
        """The objects in the order of the network's channels."""
        return sort_by_label(self.labels)

    @property
    def picking(self) -> PickingInfo:
        """What picking needs to know of the network's scores."""
        names = (field.name for field in dataclasses.fields(PickingInfo) if field.name != "objects")
        return PickingInfo(self.object_names, **{name: getattr(self, name) for name in names})


def parse_info(content: Any, where: str | Path) -> CheckpointInfo:
    """Check the info that a checkpoint holds, field by field.

    Args:
        content: a mapping with the fields of a `CheckpointInfo`.
        where: the checkpoint, for errors.

    Raises:
        SettingError: a field is missing, unknown or of a wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(CheckpointInfo)}
    required = {name for name, f in fields.items() if f.default_factory is dataclasses.MISSING}
    keys = set(content) if isinstance(content, Mapping) else set()
    if not required <= keys <= set(fields):
        wrong = sorted(map(str, keys - set(fields))) or sorted(required - keys)
        raise SettingError(
            f"{where}: its info {'has' if keys - set(fields) else 'lacks'} {shorten_list(wrong)}. "
            "Use a best_model.pth that this version of octopi wrote."
        )
    values = dict(content)
    for name, annotation in typing.get_type_hints(CheckpointInfo, include_extras=True).items():
        if name in keys and name not in ("metrics", "provenance"):  # for people only
            values[name] = fit(content[name], annotation, f"{where}: its info's {name}")
    chances = {name: Chance(**one) for name, one in content.get("chances", {}).items()}
    net_output = NetOutput(**content.get("net_output", {}))
    return CheckpointInfo(**{**values, "chances": chances, "net_output": net_output})


def trained_runs(info: CheckpointInfo) -> list[str]:
    """List the runs that a network, or one of its folds, was trained on, where that is stored."""
    provenances = info.provenance.get("folds") or [info.provenance]
    splits = [one.get("split") for one in provenances if isinstance(one, Mapping)]
    parts = [split.get("train") for split in splits if isinstance(split, Mapping)]
    names = {name for part in parts if isinstance(part, list) for name in part}
    return sorted(name for name in names if isinstance(name, str))


def digest(path: str | Path) -> str:
    """Return the SHA-256 of a checkpoint, by which score maps name it."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def check_same_objects(paths: Sequence[str | Path], infos: Sequence[CheckpointInfo]) -> None:
    """Raise SettingError unless the checkpoints' scores mean the same objects at the same scale."""
    first = infos[0]
    for path, info in zip(paths, infos, strict=True):
        for key in ("labels", "working_spacing", "net_output"):
            value, first_value = getattr(info, key), getattr(first, key)
            if value != first_value:
                raise SettingError(
                    f"{path} has {key} {value}, but {paths[0]} has {first_value}: "
                    "their scores cannot be averaged."
                )
        same = same_spacing(info.voxel_spacing, first.voxel_spacing)
        if first.working_spacing is None and not same:
            raise SettingError(
                f"{path} was trained at {info.voxel_spacing:g} Å, {paths[0]} at "
                f"{first.voxel_spacing:g} Å: their scores cannot be averaged. Train both with one "
                "data.working_spacing."
            )


def combine_infos(paths: Sequence[str | Path], infos: Sequence[CheckpointInfo]) -> CheckpointInfo:
    """Combine the infos of checkpoints whose scores are averaged into one.

    The thresholds are the mean, because the networks' mean scores were never calibrated. The size
    of an input must suit every network. All else is the first checkpoint's.

    Args:
        paths: of the checkpoints, for errors.
        infos: of the checkpoints.

    Raises:
        SettingError: their scores cannot be averaged.
    """
    check_same_objects(paths, infos)
    if len(infos) > 1:
        logger.info(
            "The thresholds are the mean of those of %d checkpoints. A cross-validation "
            "calibrates them together: use its own best_model.pth, which holds all its folds.",
            len(infos),
        )
    all_chances = [info.chances for info in infos]
    return dataclasses.replace(
        infos[0],
        thresholds=mean_thresholds([info.thresholds for info in infos], all_chances),
        chances=mean_chances(all_chances),
        size_divisor=math.lcm(*(info.size_divisor for info in infos)),
    )
