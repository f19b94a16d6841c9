"""Turn score maps into scored picks, one set per object.

Run it as `octopi localize` or `python -m octopi.localize`; no network is needed, so thresholds
can be changed and picks made again in seconds.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build, build_part
from octopi.config.settings import LocalizeSettings
from octopi.data.cache import map_in_threads
from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.evaluation.expected import Expected, expect, format_expected, threshold_for, to_dict
from octopi.geometry import Points, same_spacing
from octopi.localization import LOCALIZER
from octopi.localization.localizer import Localizer
from octopi.localization.peaks import Peaks
from octopi.models.checkpoint_info import combine_infos
from octopi.picking import PickingInfo, apply_chance
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    TomogramQuery,
    check_covers_tomogram,
    check_name,
    check_replaces_only_own_picks,
    keep_runs_with,
    score_map_name,
)
from octopi.project.label_values import odd_share
from octopi.project.objects import PickableObject, check_labels, volume_labels
from octopi.project.origin import describe_differences, replaced_tomogram
from octopi.project.picks_file import ORIGIN
from octopi.project.score_map import ScoreMap, particle_channels, particle_radii, read_score_map
from octopi.system.files import write_json
from octopi.system.job_folder import EXPECTED_FILE, Job

logger = logging.getLogger(__name__)

MIN_CHANCE = 0.01  # of a candidate; no F-beta of interest is best with picks below
ScoreLocation = TomogramQuery | SegmentationQuery  # that a score map lies beside, or label volume


@dataclass(frozen=True)
class RunCandidates:
    """The candidates of a run.

    Args:
        scores: object name -> (n,) the network's scores of all candidates, however low.
        candidates: object name -> those that may become picks, scored by their chances.
        info: what the scores mean.
    """

    scores: dict[str, NDArray[np.float32]]
    candidates: dict[str, Points]
    info: PickingInfo


def localize(settings: LocalizeSettings, job: Job) -> None:
    """Pick every object in every run that has scores; write an empty file where there are none."""
    for kind in ("user_id", "session_id"):
        check_name(kind, getattr(settings, kind))
    if settings.source not in ("scores", "segmentation"):
        raise SettingError(f"source is scores or segmentation, not {settings.source}.")
    if settings.accelerator not in ("cpu", "gpu"):
        raise SettingError(f"accelerator is cpu or gpu, not {settings.accelerator}.")
    checkpoint_info = read_checkpoint_info(settings)
    project: Project = build(settings.project, "project")
    located = keep_runs_with(
        project.select(settings.runs),
        lambda run: find_scores(run, settings),
        all_required=settings.runs is not None,
    )
    runs = [run for run, _ in located]
    output = f"{settings.user_id}/{settings.session_id}"
    check_replaces_only_own_picks(
        runs, lambda query: query.user_session == output, overwrite=settings.overwrite
    )
    first_run, first_location = located[0]
    info = checkpoint_info or read_picking_info(first_run, first_location, settings)
    localizer = build_localizer(settings, info, first_run)
    with project.writing(runs, f"picks {output}", dry_run=settings.dry_run):
        for run, location in located:
            check_scores_are_current(run, location, settings)
            check_outputs(run, location, settings, checkpoint_info)
            check_label_values(run, location)  # of every run before the first is written
        warn_of_several_networks(project, located, settings)
        if settings.dry_run:
            lines = describe(project, located, settings, localizer, checkpoint_info)
            log_dry_run("localize", lines)
            return
        found = find_candidates(located, settings, localizer, checkpoint_info)
        by_data = thresholds_by_data(found, settings)
        for (run, location), in_run in zip(located, found, strict=True):
            write_run_picks(run, location, in_run, by_data, settings)
            for query in other_picks(run, location, settings, checkpoint_info):
                run.delete_picks(query)
    expected = expect_all(found, by_data, settings)
    write_json(job.folder / EXPECTED_FILE, to_dict(expected))
    logger.info(
        "Picks of %d runs as %s. Expected of them, with 95 %% intervals:\n%s",
        len(runs), output, format_expected(expected),
    )  # fmt: skip


def find_candidates(
    located: Sequence[tuple[Run, ScoreLocation]],
    settings: LocalizeSettings,
    localizer: Localizer,
    checkpoint_info: PickingInfo | None,
) -> list[RunCandidates]:
    """Find the candidates of every object in every run."""
    with tqdm(total=len(located), desc="localize", unit="run") as bar:

        def find(run_and_location: tuple[Run, ScoreLocation]) -> RunCandidates:
            found = find_run_candidates(*run_and_location, settings, localizer, checkpoint_info)
            bar.update()
            return found

        return map_in_threads(find, located, num_threads=settings.num_workers)


def find_run_candidates(
    run: Run,
    location: ScoreLocation,
    settings: LocalizeSettings,
    localizer: Localizer,
    checkpoint_info: PickingInfo | None,
) -> RunCandidates:
    """Find the candidates of every object in a run.

    Args:
        run: to pick in.
        location: of its scores, see `find_scores`.
        settings: of the command.
        localizer: finds the candidates.
        checkpoint_info: overrides what is stored with the scores.
    """
    score_map = read_scores(run, location, settings)
    info = checkpoint_info or score_map.info
    radii = particle_radii(info, run.objects)
    found = localizer(particle_channels(score_map, radii), grid=score_map.grid, radii=radii)
    lowest = info.thresholds_at(settings.beta, settings.thresholds)
    candidates = {}
    for name, points in found.items():
        by_chance = apply_chance(points, info.chance(name))
        candidates[name] = by_chance.above(min(lowest[name], MIN_CHANCE))
    scores = {name: points.scores for name, points in found.items() if points.scores is not None}
    return RunCandidates(scores, candidates, info)


def thresholds_by_data(
    found: Sequence[RunCandidates], settings: LocalizeSettings
) -> dict[str, float]:
    """Choose thresholds by the candidates of all runs: object name -> chance.

    None of an object that the user typed a threshold for, or that is expected too rarely.
    """
    typed = settings.thresholds
    if settings.thresholds_from == "training" or isinstance(typed, float | int):
        return {}
    thresholds = {}
    for name, (scores, info) in pool_scores(found).items():
        beta = settings.beta or info.beta or 1.0
        if name not in (typed or {}):
            threshold = threshold_for(scores, info.chance(name), beta)
            if threshold is None:
                logger.warning("Too few %s are expected here to choose a threshold by.", name)
            else:
                thresholds[name] = threshold
    return thresholds


def pool_scores(
    found: Sequence[RunCandidates],
) -> dict[str, tuple[NDArray[np.float32], PickingInfo]]:
    """Return each object's scores (n,) of the candidates in all runs, and what they mean."""
    infos = {name: in_run.info for in_run in found[::-1] for name in in_run.scores}
    names = {name: None for in_run in found for name in in_run.scores}
    return {
        name: (
            np.concatenate([in_run.scores[name] for in_run in found if name in in_run.scores]),
            infos[name],
        )
        for name in names
    }


def expect_all(
    found: Sequence[RunCandidates], by_data: Mapping[str, float], settings: LocalizeSettings
) -> dict[str, Expected]:
    """Compute what to expect of the picks of each object, all runs together."""
    expected = {}
    for name, (scores, info) in pool_scores(found).items():
        thresholds = info.thresholds_at(settings.beta, settings.thresholds) | dict(by_data)
        expected[name] = expect(scores, info.chance(name), thresholds[name])
    return expected


def write_run_picks(
    run: Run,
    location: ScoreLocation,
    found: RunCandidates,
    by_data: Mapping[str, float],
    settings: LocalizeSettings,
) -> None:
    """Write the picks of every object in a run, and what they were made of.

    Args:
        run: of the picks.
        location: of its scores, see `find_scores`.
        found: its candidates.
        by_data: thresholds that override those of the training.
        settings: of the command.
    """
    attributes = read_attributes(run, location, settings)
    origin = {key: attributes[key] for key in ORIGIN if key in attributes}
    origin["source"] = f"{settings.source} {settings.input}"
    thresholds = found.info.thresholds_at(settings.beta, settings.thresholds) | dict(by_data)
    for name, candidates in found.candidates.items():
        chance = found.info.chance(name)
        expected = float(chance.of(found.scores[name]).sum() / chance.found)
        run.write_picks(
            PicksQuery(name, settings.user_id, settings.session_id),
            candidates.above(thresholds[name]),
            origin={**origin, "chance": asdict(chance), "expected_particles": expected},
        )


def check_scores_are_current(run: Run, location: ScoreLocation, settings: LocalizeSettings) -> None:
    """Raise DataError if the tomogram was replaced since its scores were computed."""
    attributes = read_attributes(run, location, settings)
    if replaced := replaced_tomogram(run, attributes):
        raise DataError(
            f"Run {run.name}: its tomogram {replaced} has other voxels than when its "
            f"{settings.source} {settings.input} were computed. Compute them again: octopi segment "
            "overwrite=true."
        )


def check_label_values(run: Run, location: ScoreLocation) -> None:
    """Raise DataError if a segmentation holds anything else than labels of objects."""
    if isinstance(location, SegmentationQuery):
        segmentation, _, attributes = run.read_segmentation(location)
        check_labels(
            np.unique(segmentation),
            volume_labels(attributes, run.objects),
            attributes,
            where=f"Run {run.name}: segmentation {location}",
            advice="Give each an object with this label in the copick config.",
        )


def other_picks(
    run: Run,
    location: ScoreLocation,
    settings: LocalizeSettings,
    checkpoint_info: PickingInfo | None,
) -> list[PicksQuery]:
    """List the picks of the session whose objects are not picked now."""
    info = checkpoint_info or read_picking_info(run, location, settings)
    names = particle_radii(info, run.objects)
    output = f"{settings.user_id}/{settings.session_id}"
    return [q for q in run.picks() if q.user_session == output and q.object_name not in names]


def check_outputs(
    run: Run,
    location: ScoreLocation,
    settings: LocalizeSettings,
    checkpoint_info: PickingInfo | None,
) -> None:
    """Raise SettingError if picks cannot be written, or the session would keep another model's."""
    info = checkpoint_info or read_picking_info(run, location, settings)
    for name in particle_radii(info, run.objects):
        run.check_can_write(PicksQuery(name, settings.user_id, settings.session_id))
    others = other_picks(run, location, settings, checkpoint_info)
    if others and not settings.overwrite:
        raise SettingError(
            f"Run {run.name} has picks {settings.user_id}/{settings.session_id} of "
            f"{shorten_list(q.object_name for q in others)}, which these scores are not of: "
            "another model made them. Delete them with overwrite=true, or choose another "
            "session_id."
        )


def warn_of_several_networks(
    project: Project, located: Sequence[tuple[Run, ScoreLocation]], settings: LocalizeSettings
) -> None:
    """Warn of runs whose scores were computed in another way than those of the first run."""
    first_run, first_location = located[0]
    first = network_of(read_attributes(first_run, first_location, settings))
    for run, location in located[1:]:
        if describe_differences(network_of(read_attributes(run, location, settings)), first):
            project.warn_once(
                f"The {settings.source} {settings.input} of run {run.name} were not computed as "
                f"those of run {first_run.name}: the checkpoint or the predictor differs."
            )
            return


def network_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what scores were computed with, from their attributes."""
    digests = sorted(attributes.get("checkpoints", {}).values())
    kept = ("predictor", "ensemble", "objects")
    return {"checkpoints": digests, **{key: attributes.get(key) for key in kept}}


def read_checkpoint_info(settings: LocalizeSettings) -> PickingInfo | None:
    """Read the picking info of the user's checkpoints, which overrides the scores' own."""
    if settings.checkpoint is None:
        return None
    from octopi.models import checkpoint  # noqa: PLC0415  torch is slow to import, rarely needed

    infos = [checkpoint.read(path)[1] for path in settings.checkpoint]
    return combine_infos(settings.checkpoint, infos).picking


def find_scores(run: Run, settings: LocalizeSettings) -> ScoreLocation:
    """Find the tomogram that a run's score map lies beside, or its segmentation.

    Raises:
        NotInProjectError: the run has none.
        DataError: the segmentation spans the box of no tomogram.
        SettingError: it has score maps of several tomograms, or several segmentations.
    """
    query = SegmentationQuery.parse(settings.input)
    if settings.source == "segmentation":
        segmentation = run.find_segmentation(query)
        check_covers_tomogram(run, segmentation, run.open_segmentation(segmentation).grid)
        return segmentation
    name, score_maps = score_map_name(query), run.score_maps()
    tomograms = [
        tomogram
        for tomogram, map_name in score_maps
        if map_name == name and _is_selected(tomogram, settings)
    ]
    if not tomograms:
        available = [f"{map_name} of {tomogram}" for tomogram, map_name in score_maps]
        raise NotInProjectError(f"Run {run.name}", "score map", name, available)
    if len(tomograms) > 1:
        raise SettingError(
            f"Run {run.name} has score maps {name} of {shorten_list(tomograms)}. "
            "Say which: tomo_type=… voxel_spacing=…"
        )
    return tomograms[0]


def _is_selected(tomogram: TomogramQuery, settings: LocalizeSettings) -> bool:
    """Return whether a tomogram has the type and the spacing that the user named."""
    if settings.tomo_type not in (None, tomogram.tomo_type):
        return False
    spacing = settings.voxel_spacing
    return spacing is None or same_spacing(tomogram.voxel_spacing, spacing)


def describe(
    project: Project,
    located: Sequence[tuple[Run, ScoreLocation]],
    settings: LocalizeSettings,
    localizer: Localizer,
    checkpoint_info: PickingInfo | None,
) -> list[str]:
    """Describe, for a dry run, what would be done; in lines.

    Wrong settings and stored values raise the errors that they would raise in the work.
    """
    objects, replaced = "", 0
    for run, location in located:
        info = checkpoint_info or read_picking_info(run, location, settings)
        radii = particle_radii(info, project.objects)
        thresholds = info.thresholds_at(settings.beta, settings.thresholds)
        objects = objects or ", ".join(f"{name} from {thresholds[name]:.3g}" for name in radii)
        queries = {PicksQuery(name, settings.user_id, settings.session_id) for name in radii}
        replaced += len(queries & set(run.picks()))
    skipped = len(project.select(settings.runs)) - len(located)
    return [
        f"would run  {len(located)} runs: {', '.join(run.name for run, _ in located)}",
        f"skipped    {skipped} runs without {settings.input}",
        f"localizer  {type(localizer).__name__}",
        f"objects    {objects}",
        f"written    picks of every object as {settings.user_id}/{settings.session_id}, in "
        f"{', '.join(project.overlays)}; {replaced} files are replaced",
    ]


def read_scores(run: Run, location: ScoreLocation, settings: LocalizeSettings) -> ScoreMap:
    """Read a run's score map; the labels of a segmentation become scores of 1."""
    if isinstance(location, TomogramQuery):
        return read_score_map(run, location, _score_map_name(settings))
    segmentation, grid, attributes = run.read_segmentation(location)
    labels = particle_labels(attributes, run.objects)
    values = np.empty((len(labels), *segmentation.shape), dtype=np.uint8)
    for channel, (name, label) in enumerate(labels.items()):
        values[channel] = (segmentation == label) * np.uint8(255)
        if text := odd_share(np.count_nonzero(values[channel]), segmentation.size):
            logger.warning("Run %s: in %s, %s %s", run.name, location, name, text)
    return ScoreMap(values, grid, PickingInfo.from_label_volume(attributes, labels))


def read_picking_info(run: Run, location: ScoreLocation, settings: LocalizeSettings) -> PickingInfo:
    """Read what picking needs to know of a run's scores, and no voxel."""
    attributes = read_attributes(run, location, settings)
    if isinstance(location, TomogramQuery):
        return PickingInfo.from_score_map(attributes)
    return PickingInfo.from_label_volume(attributes, particle_labels(attributes, run.objects))


def read_attributes(
    run: Run, location: ScoreLocation, settings: LocalizeSettings
) -> dict[str, Any]:
    """Read what is stored with a run's scores."""
    if isinstance(location, TomogramQuery):
        return run.score_map_attributes(location, _score_map_name(settings))
    return run.segmentation_attributes(location)


def _score_map_name(settings: LocalizeSettings) -> str:
    return score_map_name(SegmentationQuery.parse(settings.input))


def particle_labels(
    attributes: Mapping[str, Any], objects: Mapping[str, PickableObject]
) -> dict[str, int]:
    """Return the labels to pick: those stored with a label volume, or the project's particles."""
    labels = volume_labels(attributes, objects)
    if attributes.get("labels"):
        return labels
    return {name: label for name, label in labels.items() if objects[name].is_particle}


def build_localizer(settings: LocalizeSettings, info: PickingInfo, run: Run) -> Localizer:
    """Build the localizer that the thresholds were calibrated with, or the one the user chose.

    Args:
        settings: of the command.
        info: of the checkpoint or the scores.
        run: that the scores are of, for errors.
    """
    origin = f"Run {run.name}: {settings.source} {settings.input}"
    if settings.checkpoint is not None:
        origin = f"The checkpoint {shorten_list(settings.checkpoint, item_length=300)}"
    if not info.localizer and "_target_" not in settings.localizer:
        raise SettingError(
            "Nothing says how to localize: choose localizer=peaks, watershed or components."
        )
    localizer: Localizer
    node, localizer = build_part(
        settings.localizer, info.localizer, LOCALIZER, origin=origin, trust=settings.trust
    )
    if info.localizer and node != info.localizer:
        logger.warning("The thresholds were calibrated with another localizer.")
    if settings.accelerator == "gpu":
        use_gpu(localizer)
    return localizer


def use_gpu(localizer: Localizer) -> None:
    """Let the localizer find local maxima on the GPU.

    Raises:
        SettingError: it is not `Peaks`.
        ResourceError: torch sees no GPU.
    """
    from octopi.inference.gpu_peaks import gpu_finder  # noqa: PLC0415  torch is slow to import

    if not isinstance(localizer, Peaks):
        raise SettingError("accelerator=gpu needs localizer=peaks; others work on the CPU alone.")
    localizer.find_maxima = gpu_finder()


main = command("localize", localize)

if __name__ == "__main__":
    main()
