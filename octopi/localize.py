"""Turn score maps into scored picks, one set per object.

Run it as `octopi localize` or `python -m octopi.localize`; no network is needed, so thresholds
can be changed and picks made again in seconds.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build, build_part
from octopi.config.settings import LocalizeSettings
from octopi.data.cache import map_in_threads
from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.geometry import same_spacing
from octopi.localization import LOCALIZER
from octopi.localization.localizer import Localizer
from octopi.localization.peaks import Peaks
from octopi.models.checkpoint_info import combine_infos
from octopi.picking import PickingInfo
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
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)

ScoreLocation = TomogramQuery | SegmentationQuery  # that a score map lies beside, or label volume


def localize(settings: LocalizeSettings, _job: Job) -> None:
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
        with tqdm(total=len(runs), desc="localize", unit="run") as bar:

            def work(run_and_location: tuple[Run, ScoreLocation]) -> dict[str, int]:
                counts = localize_run(*run_and_location, settings, localizer, checkpoint_info)
                bar.update()
                return counts

            counts = map_in_threads(work, located, num_threads=settings.num_workers)
    totals = sum(map(Counter, counts), Counter())
    total = ", ".join(f"{name} {totals[name]}" for name in counts[0])
    logger.info("Picks of %d runs as %s: %s.", len(runs), output, total)


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


def localize_run(
    run: Run,
    location: ScoreLocation,
    settings: LocalizeSettings,
    localizer: Localizer,
    checkpoint_info: PickingInfo | None,
) -> dict[str, int]:
    """Write the picks of every object in a run; return how many of each.

    Args:
        run: to pick in.
        location: of its scores, see `find_scores`.
        settings: of the command.
        localizer: finds the candidates.
        checkpoint_info: overrides what is stored with the scores.
    """
    scores = read_scores(run, location, settings)
    info = checkpoint_info or scores.info
    radii = particle_radii(info, run.objects)
    thresholds = info.thresholds_at(settings.beta, settings.thresholds)
    candidates = localizer(
        particle_channels(scores, radii), grid=scores.grid, radii=radii, floors=thresholds
    )
    attributes = read_attributes(run, location, settings)
    origin = {key: attributes[key] for key in ORIGIN if key in attributes}
    origin["source"] = f"{settings.source} {settings.input}"
    counts = {}
    for name, points in candidates.items():
        picks = points.above(thresholds[name])
        query = PicksQuery(name, settings.user_id, settings.session_id)
        run.write_picks(query, picks, origin=origin)
        counts[name] = len(picks)
    for query in other_picks(run, location, settings, checkpoint_info):
        run.delete_picks(query)
    return counts


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
