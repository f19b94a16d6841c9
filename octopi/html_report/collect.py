"""What a report shows, gathered from a project and the folder of a training."""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octopi.config.settings import ReportSettings
from octopi.errors import NotInProjectError, SettingError
from octopi.geometry import Points
from octopi.html_report.runs import Objects, ShownRun
from octopi.html_report.training_history import (
    NEW,
    TRAINING,
    TrainingHistory,
    read_training_history,
)
from octopi.localization import LOCALIZER
from octopi.localization.localizer import Localizer
from octopi.models.checkpoint_info import digest
from octopi.picking import DEFAULT_THRESHOLD, PickingInfo
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    TomogramQuery,
    find_picks,
    score_map_name,
)
from octopi.project.score_map import (
    ScoreMap,
    particle_channels,
    particle_radii,
    read_score_map,
)
from octopi.stored import build_stored
from octopi.system.job_folder import BEST_MODEL_FILE

logger = logging.getLogger(__name__)

PICKED = "picks of the project"
Known = Mapping[str, Points]


@dataclass(frozen=True)
class ScoreMapReference:
    """A score map of a run, not read yet.

    Args:
        tomogram: beside which it is.
        attributes: what was stored with it.
    """

    run: Run
    tomogram: TomogramQuery
    name: str
    attributes: Mapping[str, Any]

    def read(self) -> ScoreMap:
        """Read the score map."""
        return read_score_map(self.run, self.tomogram, self.name)


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Args:
        truth: object name -> whose picks are taken for truth; empty where there are none.
        info: of the training or the score maps; without objects for mere picks.
        checkpoints: path and digest of those that made the score maps.
    """

    runs: list[ShownRun]
    objects: Objects
    truth: Mapping[str, PicksQuery]
    info: PickingInfo
    checkpoints: Mapping[str, str]
    journey: TrainingHistory | None


def gather(
    project: Project, journey: TrainingHistory | None, settings: ReportSettings
) -> ReportData:
    """The runs to show: held out in training, with a score map, or with picks."""
    runs = project.select(settings.runs)
    truth = truth_of(runs, journey, settings)
    maps = {m.run.name: m for run in runs for m in score_maps(run, settings)}
    if journey is None:
        journey = find_training_of(maps.values())
    else:
        own_digest = _digest(journey.folder / BEST_MODEL_FILE)
        maps = {n: m for n, m in maps.items() if own_digest in _checkpoints(m).values()}
    first_map = next(iter(maps.values()), None)
    info = _picking_info(journey, first_map)
    radii = particle_radii(info, project.objects)
    shown = []
    for run in runs:
        true_picks, score_map = run.read_existing_picks(truth), maps.get(run.name)
        part = NEW if journey is None else journey.role_in_training(run.name)
        if journey is not None and run.name in journey.candidates:
            shown.append(_validated(run, score_map, journey, true_picks))
        elif score_map is not None:
            shown.append(_mapped(score_map, info, part, true_picks, settings.trust))
        elif settings.folder is None and (found := _picked(run, settings, true_picks)):
            shown.append(found)
    objects = objects_of(shown, radii, info, project, settings)
    checkpoints = _checkpoints(first_map) if first_map is not None else {}
    return ReportData(
        _limit_runs(shown, settings.num_runs), objects, truth, info, checkpoints, journey
    )


def _picking_info(
    journey: TrainingHistory | None, score_map: ScoreMapReference | None
) -> PickingInfo:
    """Return the picking info of the training or else of a score map; empty without either."""
    if journey is not None and journey.recipe:
        return PickingInfo.from_checkpoint(journey.recipe)
    if score_map is not None:
        return PickingInfo.from_score_map(score_map.attributes)
    return PickingInfo(objects=[], radii={})


def truth_of(
    runs: Sequence[Run], journey: TrainingHistory | None, settings: ReportSettings
) -> dict[str, PicksQuery]:
    """Whose picks are the truth: those asked for, those trained on, or the only ones there are."""
    target = journey.config.get("target") if journey is not None else None
    if settings.truth is None and target:
        target_query = SegmentationQuery.parse(target)
        for run in runs:
            if any(
                q.name_user_session == target_query.name_user_session for q in run.segmentations()
            ):
                source_picks = run.segmentation_attributes(target_query).get("picks", {})
                return {name: PicksQuery.parse(text) for name, text in source_picks.items()}
    try:
        return find_picks(runs, objects=None, source=settings.truth)
    except NotInProjectError:
        if settings.truth is not None:
            raise
        return {}


def score_maps(run: Run, settings: ReportSettings) -> Iterator[ScoreMapReference]:
    """The score map of a run, if it has one; of several, that of the tomogram to be shown."""
    name = score_map_name(SegmentationQuery.parse(settings.input))
    tomograms = [query for query, held_name in run.score_maps() if held_name == name]
    fit = [q for q in tomograms if settings.tomo_type in (None, q.tomo_type)] or tomograms
    if len(fit) > 1:
        raise SettingError(
            f"Run {run.name} has score maps {name} of {', '.join(map(str, fit))}. "
            "Say which: tomo_type=…"
        )
    for query in fit:
        yield ScoreMapReference(run, query, name, run.score_map_attributes(query, name))


def find_training_of(maps: Iterable[ScoreMapReference]) -> TrainingHistory | None:
    """The training that the score maps come from, where its folder is still what it was."""
    origins = {tuple(_checkpoints(m).items()) for m in maps}
    if len(origins) != 1 or len(origin := next(iter(origins))) != 1:
        return None
    path = Path(origin[0][0]).absolute()
    if not (path.parent / "config.yaml").is_file() or _digest(path) != origin[0][1]:
        return None
    return dataclasses.replace(read_training_history(path.parent), candidates={}, folds={})


def _checkpoints(score_map: ScoreMapReference) -> Mapping[str, str]:
    """Path and digest of each checkpoint that made the map."""
    return score_map.attributes.get("checkpoints", {})


def _digest(path: Path) -> str | None:
    return digest(path) if path.is_file() else None


def _validated(
    run: Run, score_map: ScoreMapReference | None, journey: TrainingHistory, known: Known
) -> ShownRun:
    """A run as the training saw it: out of fold, in validation or, without either, trained on."""
    # A map of nets that did train on it would flatter them.
    is_unseen = score_map is not None and journey.role_in_training(run.name) != TRAINING
    part = journey.role_when_scored(run.name)
    return ShownRun(
        name=run.name,
        part=part,
        in_totals=part != TRAINING,
        candidates=journey.candidates[run.name],
        truth=known,
        scores=score_map.read if score_map is not None and is_unseen else None,
    )


def _mapped(
    score_map: ScoreMapReference,
    info: PickingInfo,
    part: str,
    known: Known,
    trust: Sequence[str],
) -> ShownRun:
    """A run whose candidates are all that its score map holds, however low."""
    scores = score_map.read()
    radii = particle_radii(info, score_map.run.objects)
    localizer = _localizer(info, score_map.run, trust)
    return ShownRun(
        name=score_map.run.name,
        part=part,
        in_totals=part != TRAINING,
        candidates=localizer(particle_channels(scores, radii), grid=scores.grid, radii=radii),
        truth=known,
        scores=score_map.read,
    )


def _picked(run: Run, settings: ReportSettings, known: Known) -> ShownRun | None:
    """A run with the picks it has in the project, if it has any."""
    whose = (settings.user_id, settings.session_id)
    queries = [query for query in run.picks() if (query.user_id, query.session_id) == whose]
    if not queries:
        return None
    return ShownRun(
        name=run.name,
        part=PICKED,
        in_totals=True,
        candidates={query.object_name: run.read_picks(query) for query in queries},
        truth=known,
        scores=None,
    )


def _localizer(info: PickingInfo, run: Run, trust: Sequence[str]) -> Localizer:
    if not info.localizer:
        raise SettingError(
            f"The score map of run {run.name} does not say how to localize. Write it again with "
            "octopi segment."
        )
    return build_stored(
        info.localizer, LOCALIZER, f"Run {run.name}: its score map or training", trust
    )


def objects_of(
    shown: Sequence[ShownRun],
    radii: Mapping[str, float],
    info: PickingInfo,
    project: Project,
    settings: ReportSettings,
) -> Objects:
    """Every object with candidates or truth, and the threshold its picks begin with."""
    names = dict.fromkeys(radii)
    for run in shown:
        names |= dict.fromkeys(sorted({*run.candidates, *run.truth}))
    known = {name: project.objects[name] for name in names if name in project.objects}
    sizes = {n: radii.get(n) or obj.radius for n, obj in known.items()}
    chosen = info.thresholds_at(settings.beta)
    start = DEFAULT_THRESHOLD if info.objects else 0.0  # picks alone have been chosen already
    sized = {name: float(size) for name, size in sizes.items() if size is not None}
    return Objects(
        radii=sized,
        weights={n: known[n].weight for n in sized},
        thresholds=info.thresholds,
        initial_thresholds={n: float(chosen.get(n, start)) for n in sized},
        known=known,
    )


def _limit_runs(shown: list[ShownRun], num_runs: int) -> list[ShownRun]:
    """As many as the page has room for, those with truth first, in the project's order."""
    if num_runs < 1:
        raise SettingError(f"num_runs must be 1 or more, not {num_runs}.")
    first = sorted(shown, key=lambda run: (not run.has_truth, not run.in_totals))[:num_runs]
    if len(first) < len(shown):
        logger.info("%d of %d runs are shown; more with num_runs=…", len(first), len(shown))
    names = {run.name for run in first}
    kept = [run for run in shown if run.name in names]
    if not any(run.in_totals for run in kept):
        return [dataclasses.replace(run, in_totals=True) for run in kept]
    return kept


def tomogram_to_show(run: Run, settings: ReportSettings) -> TomogramQuery | None:
    """The tomogram under the picks: the type asked for, a denoised one, or any."""
    queries = run.tomograms()
    if settings.tomo_type is not None:
        return run.find_tomogram(settings.tomo_type, None)
    # The type whose name sounds cleanest: pictures are for eyes.
    clean = [q for q in queries if "denois" in q.tomo_type]
    return next(iter(clean or queries), None)
