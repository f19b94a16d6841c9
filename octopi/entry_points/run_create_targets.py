"""Targets from Python: `create_sub_train_targets`, the door to `octopi create_targets`."""

from collections.abc import Sequence

from octopi.cli.python_api import (
    Config,
    OneOrMoreNames,
    QueryTriple,
    as_name_list,
    project_override,
    query_text,
    run_command,
)
from octopi.config.overrides import override_text
from octopi.create_targets import create_targets


def create_sub_train_targets(  # noqa: PLR0913, PLR0917  the published signature
    config: Config,
    pick_targets: Sequence[QueryTriple] | None,
    seg_targets: QueryTriple | Sequence[QueryTriple] | None,
    voxel_size: float,
    radius_scale: float,
    tomogram_algorithm: str,
    target_name: str,
    target_user_id: str,
    target_session_id: str,
    run_ids: OneOrMoreNames = None,
    *,
    overwrite: bool = False,
) -> None:
    """Every run asked for that has the annotations has a target, painted on its tomogram's grid.

    Args:
        config: path of a copick config; a list or {name: path} for several.
        pick_targets: (object, user_id, session_id) of picks, painted as spheres.
        seg_targets: the same of segmentations; a single one may stand without a list around it.
        voxel_size: Å, of the tomograms.
        radius_scale: radius of a sphere, in parts of the object's own.
        tomogram_algorithm: tomogram type.
        target_name: of the target.
        target_user_id: of the target.
        target_session_id: of the target.
        run_ids: names; None = every run.
        overwrite: whether another target of that name, user and session is replaced.
    """
    picks = [query_text(triple, "pick_targets") for triple in pick_targets or []]
    masks = [query_text(triple, "seg_targets") for triple in _triples(seg_targets)]
    settings = {
        "targets.picks": picks,
        "targets.segmentations": masks,
        "targets.radius_scale": radius_scale,
        "targets.name": target_name,
        "targets.user_id": target_user_id,
        "targets.session_id": str(target_session_id),
        "voxel_spacing": voxel_size,
        "tomo_types": [tomogram_algorithm],
        "runs": as_name_list(run_ids),
        "overwrite": overwrite,
    }
    words = [
        project_override(config),
        *(override_text(key, value) for key, value in settings.items()),
    ]
    run_command("create_targets", create_targets, words, None)


def _triples(seg_targets: QueryTriple | Sequence[QueryTriple] | None) -> Sequence[QueryTriple]:
    given = list(seg_targets or [])
    return [given] if given and isinstance(given[0], str) else given
