"""Find the candidates of a run in its scores, each with the chance that it is a particle."""

from collections.abc import Callable, Mapping, Sequence

from octopi.evaluation.data_thresholds import RunCandidates
from octopi.localization import LOCALIZER
from octopi.localization.localizer import Localizer
from octopi.models.checkpoint_info import CheckpointInfo, combine_infos
from octopi.picking import PickingInfo, apply_chance
from octopi.project.run_scores import RunScores, particle_channels, particle_radii
from octopi.stored_parts import build_stored


def find_run_candidates(
    scores: RunScores,
    localizer: Localizer,
    lowest_chances: Callable[[PickingInfo], Mapping[str, float]],
) -> RunCandidates:
    """Find the candidates of every object in a run.

    Args:
        scores: of the run.
        localizer: finds the candidates.
        lowest_chances: returns the lowest chance of interest by object; candidates below it may be
            left out.
    """
    score_map = scores.read()
    info = scores.checkpoint_info or score_map.info
    radii = particle_radii(info, scores.run.objects)
    chances = lowest_chances(info)
    floors = {
        name: info.chances[name].to_score(chances[name]) if name in info.chances else chances[name]
        for name in radii
    }
    candidates = localizer(
        particle_channels(score_map, radii), grid=score_map.grid, radii=radii, floors=floors
    )
    raw = {name: points.scores for name, points in candidates.items() if points.scores is not None}
    by_object = {n: apply_chance(points, info.chance(n)) for n, points in candidates.items()}
    return RunCandidates(info, raw, by_object)


def read_picking_info(checkpoints: Sequence[str] | None) -> PickingInfo | None:
    """Read the picking info of checkpoints, which overrides the scores' own; None without any."""
    if checkpoints is None:
        return None
    return combine_infos(checkpoints, read_checkpoint_infos(checkpoints)).picking


def read_checkpoint_infos(checkpoints: Sequence[str]) -> list[CheckpointInfo]:
    """Read the info of checkpoints."""
    from octopi.models import checkpoint  # noqa: PLC0415  torch is slow to import, rarely needed

    return [checkpoint.read(path)[1] for path in checkpoints]


def build_stored_localizer(info: PickingInfo, run_name: str, trust: Sequence[str]) -> Localizer:
    """Build the localizer that the thresholds of a run's scores were calibrated with."""
    origin = f"Run {run_name}: its score map or training"
    return build_stored(info.localizer, LOCALIZER, origin, trust)
