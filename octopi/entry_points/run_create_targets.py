"""Targets from Python: `create_sub_train_targets` runs `octopi create_targets`."""

from collections.abc import Sequence

from octopi.cli.python_api import (
    Config,
    OneOrMoreNames,
    QueryTriple,
    as_name_list,
    compose_and_run,
    config_paths,
    query_text,
)
from octopi.config.overrides import override_texts
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
    """Paint a target on the tomogram's grid of each run that has the annotations.

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
    settings = {
        "project.config": config_paths(config),
        "targets.picks": [query_text(triple, "pick_targets") for triple in pick_targets or []],
        "targets.segmentations": [
            query_text(triple, "seg_targets") for triple in _as_triples(seg_targets)
        ],
        "targets.radius_scale": radius_scale,
        "targets.name": target_name,
        "targets.user_id": target_user_id,
        "targets.session_id": str(target_session_id),
        "voxel_spacing": voxel_size,
        "tomo_types": [tomogram_algorithm],
        "runs": as_name_list(run_ids),
        "overwrite": overwrite,
    }
    compose_and_run("create_targets", create_targets, override_texts(settings))


def _as_triples(seg_targets: QueryTriple | Sequence[QueryTriple] | None) -> Sequence[QueryTriple]:
    triples = list(seg_targets or [])
    return [triples] if triples and isinstance(triples[0], str) else triples
