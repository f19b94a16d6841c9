"""What octopi stored with a label volume or a score map, checked: others can write there too."""

from typing import Any, Literal

from octopi.arguments import fit
from octopi.errors import DataError, SettingError
from octopi.picking import Chance
from octopi.project.stored_volume import StoredVolume

OURS = "octopi"  # the key in a volume's attributes, or a file of picks
FINGERPRINT = "content"  # the key in ours: the digest of the labels or points that octopi wrote
ANNOTATIONS: dict[str, Any] = {
    "objects": list[str],
    "labels": dict[str, int],
    "radii": dict[str, float],
    "sphere_radii": dict[str, float],
    "thresholds": dict[str, dict[str, float]],
    "chances": dict[str, Chance],
    "weights": dict[str, float],
    "beta": float,
    "localizer": dict[str, Any],
    "predictor": dict[str, Any],
    "checkpoints": dict[str, str],
    "ensemble": str,
    "picks": dict[str, str],
    "masks": dict[str, str],
    "annotated": str,
    "annotation": dict[str, Literal["partial"]],
    "not_annotated": list[str],
    "object_radii": dict[str, float],
    "picks_digests": dict[str, str],
    "rejected": dict[str, str],
    "rejected_digests": dict[str, str],
    "mask_digests": dict[str, str],
    "mask_stamps": dict[str, str],
    "tomogram": str,
    "tomogram_stamp": str,
    "tomogram_voxels": str,
    "working_spacing": float | None,
    "train_runs": list[str],
}


def octopi_attributes(volume: StoredVolume) -> dict[str, Any]:
    """Return what octopi says of a volume; of a binary mask, the label of its object.

    Raises:
        DataError: if a value has another type than octopi gives it.
    """
    attributes = volume.attributes.get(OURS, {})
    try:
        fit(attributes, dict[str, Any], OURS)
        mask_labels = {} if volume.mask_of is None else {"labels": {volume.mask_of: 1}}
        return mask_labels | {
            key: fit(value, ANNOTATIONS.get(key, Any), key)
            for key, value in attributes.items()
            if key != FINGERPRINT
        }
    except SettingError as error:
        raise DataError(
            f"{volume.where} has damaged attributes in {volume.store.path}/.zattrs: {error} "
            "Write it again."
        ) from error
