"""Turn score maps into scored picks, one set per object.

Run it as `octopi localize` or `python -m octopi.localize`; no network is needed, so thresholds
can be changed and picks made again in seconds.
"""

import functools
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
from octopi.errors import DataError, NotInProjectError, SettingError, did_you_mean
from octopi.geometry import same_spacing
from octopi.localization import LOCALIZER
from octopi.localization.localizer import Localizer
from octopi.localization.peaks import Peaks
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    TomogramQuery,
    check_name,
    check_replaces_only_own_picks,
    keep_runs_with,
    score_map_name,
)
from octopi.project.objects import PickableObject, unknown_labels
from octopi.project.score_map import ScoreMap, particle_channels, particle_radii
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)

ScoreLocation = (
    TomogramQuery | SegmentationQuery
)  # scores lie beside a tomogram, or are a segmentation


def localize(settings: LocalizeSettings, _job: Job) -> None:
    """Every run with scores has picks of every object, with scores; none found is written too."""
    for kind in ("user_id", "session_id"):
        check_name(kind, getattr(settings, kind))
    if settings.source not in ("scores", "segmentation"):
        raise SettingError(f"source is scores or segmentation, not {settings.source}.")
    if settings.accelerator not in ("cpu", "gpu"):
        raise SettingError(f"accelerator is cpu or gpu, not {settings.accelerator}.")
    if settings.num_workers < 1:
        raise SettingError(f"num_workers must be 1 or more, not {settings.num_workers}.")
    stored = checkpoint_attributes(settings)
    project: Project = build(settings.project, "project")
    score_locations = keep_runs_with(
        project.select(settings.runs),
        lambda run: find_scores(run, settings),
        named=settings.runs is not None,
    )
    runs = [run for run, _ in score_locations]
    user_and_session = (settings.user_id, settings.session_id)
    check_replaces_only_own_picks(
        runs,
        lambda query: (query.user_id, query.session_id) == user_and_session,
        overwrite=settings.overwrite,
    )
    project.check_writable(touch=not settings.dry_run)
    if settings.dry_run:
        log_dry_run("localize", rehearsal(project, score_locations, stored, settings))
        return
    attributes = {**read_score_attributes(*score_locations[0], settings), **stored}
    localizer = make_localizer(
        settings, attributes, origin=_origin(settings, score_locations[0][0])
    )
    with tqdm(total=len(runs), desc="localize", unit="run") as bar:

        def work(run_and_location: tuple[Run, ScoreLocation]) -> dict[str, int]:
            counts = localize_run(*run_and_location, settings, stored, localizer)
            bar.update()
            return counts

        counts = map_in_threads(work, score_locations, num_threads=settings.num_workers)
    totals = sum(map(Counter, counts), Counter())
    total = ", ".join(f"{name} {totals[name]}" for name in counts[0])
    logger.info(
        "Picks of %d runs as %s/%s: %s.", len(runs), settings.user_id, settings.session_id, total
    )


def localize_run(
    run: Run,
    where: ScoreLocation,
    settings: LocalizeSettings,
    stored: Mapping[str, Any],
    localizer: Localizer,
) -> dict[str, int]:
    """The picks of every object are in the run; returns how many.

    Args:
        run: that has scores.
        where: they are, see `find_scores`.
        settings: of the command.
        stored: facts of a checkpoint, which stand before the scores' own.
        localizer: finds the candidates.
    """
    scores = read_scores(run, where, settings)
    facts = {**scores.attributes, **stored}
    radii = particle_radii(facts, run.objects)
    thresholds = choose_thresholds(settings, facts, list(radii))
    candidates = localizer(
        particle_channels(scores, radii), grid=scores.grid, radii=radii, floors=thresholds
    )
    counts = {}
    for name, points in candidates.items():
        picks = points.above(thresholds[name])
        run.write_picks(PicksQuery(name, settings.user_id, settings.session_id), picks)
        counts[name] = len(picks)
    return counts


def rehearsal(
    project: Project,
    found_in: Sequence[tuple[Run, ScoreLocation]],
    stored: Mapping[str, Any],
    settings: LocalizeSettings,
) -> list[str]:
    """What a dry run tells; wrong settings and stored facts are raised as the work would."""
    lines, replaced = [], 0
    for run, where in found_in:
        facts = {**read_score_attributes(run, where, settings), **stored}
        radii = particle_radii(facts, project.objects)
        thresholds = choose_thresholds(settings, facts, list(radii))
        if not lines:
            localizer = make_localizer(settings, facts, origin=_origin(settings, run))
            lines.append(f"localizer  {type(localizer).__name__}")
            shown = (f"{name} from {thresholds[name]:.3g}" for name in radii)
            lines.append(f"objects    {', '.join(shown)}")
        queries = [PicksQuery(name, settings.user_id, settings.session_id) for name in radii]
        for query in queries:
            run.check_can_write(query)
        replaced += len(set(queries) & set(run.picks()))
    left = len(project.select(settings.runs)) - len(found_in)
    return [
        f"would run  {len(found_in)} runs: {', '.join(run.name for run, _ in found_in)}",
        f"skipped    {left} runs without {settings.input}",
        *lines,
        f"written    picks of every object as {settings.user_id}/{settings.session_id}, in "
        f"{', '.join(project.overlays)}; {replaced} files are replaced",
    ]


def checkpoint_attributes(settings: LocalizeSettings) -> dict[str, Any]:
    """Thresholds and radii of a checkpoint, where one is given: they stand before the map's."""
    if settings.checkpoint is None:
        return {}
    from octopi.models import checkpoint  # noqa: PLC0415  torch is slow to import and rarely needed here

    segment = settings.checkpoint
    paths = [segment] if isinstance(segment, str) else list(segment)
    recipes = [checkpoint.read(path)[1] for path in paths]
    checkpoint.check_same_objects(paths, recipes)
    return {
        "objects": recipes[0].object_names,
        "radii": recipes[0].radii,
        "thresholds": checkpoint.ensemble_thresholds(recipes),
        "beta": recipes[0].beta,
        "localizer": recipes[0].localizer,
    }


def find_scores(run: Run, settings: LocalizeSettings) -> ScoreLocation:
    """Where a run's scores are: beside which tomogram, or which segmentation."""
    input_query = SegmentationQuery.parse(settings.input)
    if settings.source == "segmentation":
        fit = [
            query
            for query in run.segmentations()
            if query.name_user_session == input_query.name_user_session
        ]
        if not fit:
            raise NotInProjectError(
                f"Run {run.name}", "segmentation", input_query, run.segmentations()
            )
        return fit[0]
    name = score_map_name(input_query)
    score_maps = run.score_maps()
    tomograms = [
        query
        for query, held_name in score_maps
        if held_name == name
        and settings.tomo_type in (None, query.tomo_type)
        and (
            settings.voxel_spacing is None
            or same_spacing(query.voxel_spacing, settings.voxel_spacing)
        )
    ]
    if not tomograms:
        shown = [f"{held_name} of {query}" for query, held_name in score_maps]
        raise NotInProjectError(f"Run {run.name}", "score map", name, shown)
    if len(tomograms) > 1:
        raise SettingError(
            f"Run {run.name} has score maps {name} of {', '.join(map(str, tomograms))}. "
            "Say which: tomo_type=… voxel_spacing=…"
        )
    return tomograms[0]


def read_scores(run: Run, query: ScoreLocation, settings: LocalizeSettings) -> ScoreMap:
    """The run's score map; a segmentation counts as certain wherever it has a label."""
    if isinstance(query, TomogramQuery):
        name = score_map_name(SegmentationQuery.parse(settings.input))
        return ScoreMap(*run.read_score_map(query, name))
    segmentation, grid, attributes = run.read_segmentation(query)
    facts = label_volume_attributes(attributes, run.objects)
    labels = facts["labels"]
    if unknown := unknown_labels(np.unique(segmentation), labels):
        raise DataError(
            f"Run {run.name}, {query}: the labels {unknown} belong to no object. Known: {labels}."
        )
    values = np.empty((len(labels), *segmentation.shape), dtype=np.uint8)
    for channel, k in enumerate(labels.values()):
        values[channel] = (segmentation == k) * np.uint8(255)
    return ScoreMap(values, grid, facts)


def read_score_attributes(
    run: Run, query: ScoreLocation, settings: LocalizeSettings
) -> dict[str, Any]:
    """What is known of the run's scores; no voxel is read."""
    if isinstance(query, TomogramQuery):
        name = score_map_name(SegmentationQuery.parse(settings.input))
        return run.score_map_attributes(query, name)
    return label_volume_attributes(run.segmentation_attributes(query), run.objects)


def label_volume_attributes(
    attributes: Mapping[str, Any], objects: Mapping[str, PickableObject]
) -> dict[str, Any]:
    """What is known of a label volume: what was stored with it, or the copick config's labels."""
    labels = attributes.get("labels") or copick_labels(objects)
    return {"objects": list(labels), "thresholds": {}, **attributes, "labels": labels}


def copick_labels(objects: Mapping[str, PickableObject]) -> dict[str, int]:
    """Object name -> label as the copick config numbers them."""
    return {
        name: obj.label
        for name, obj in objects.items()
        if obj.label is not None and obj.is_particle
    }


def make_localizer(
    settings: LocalizeSettings, facts: Mapping[str, Any], *, origin: str
) -> Localizer:
    """Build the localizer that the thresholds were calibrated with, or the one asked for.

    Args:
        settings: of the command.
        facts: what is stored with scores or checkpoint.
        origin: where the facts are stored, for errors.
    """
    stored = facts.get("localizer")
    if not stored and "_target_" not in settings.localizer:
        raise SettingError(
            "Nothing says how to localize: choose localizer=peaks, watershed or components."
        )
    localizer: Localizer
    node, localizer = build_part(
        settings.localizer, stored, LOCALIZER, origin=origin, trust=settings.trust
    )
    if stored and node != stored:
        logger.warning("The thresholds were calibrated with another localizer.")
    if settings.accelerator == "gpu":
        use_gpu(localizer)
    return localizer


def _origin(settings: LocalizeSettings, run: Run) -> str:
    """Where thresholds and localizer are stored, as errors name it."""
    if settings.checkpoint is not None:
        return f"The checkpoint {settings.checkpoint}"
    return f"Run {run.name}: {settings.source} {settings.input}"


def use_gpu(localizer: Localizer) -> None:
    """The localizer looks for summits on the GPU; an error where it or the machine cannot."""
    import torch  # noqa: PLC0415  slow to import and rarely needed here

    from octopi.inference.gpu_peaks import find_local_maxima_gpu  # noqa: PLC0415
    from octopi.models.precision import choose_device_type  # noqa: PLC0415

    if not isinstance(localizer, Peaks):
        raise SettingError("accelerator=gpu needs localizer=peaks; others work on the CPU alone.")
    choose_device_type("gpu")
    localizer.find_tops = functools.partial(find_local_maxima_gpu, device=torch.device("cuda"))


def choose_thresholds(
    settings: LocalizeSettings, facts: Mapping[str, Any], object_names: list[str]
) -> dict[str, float]:
    """The score from which a candidate of each object is a pick."""
    requested = settings.thresholds
    if isinstance(requested, Mapping):
        for name in requested:
            if name not in object_names:
                raise SettingError(
                    f"thresholds names {name}.{did_you_mean(name, object_names)} "
                    f"Objects: {', '.join(object_names)}."
                )
    elif requested is not None:
        requested = dict.fromkeys(object_names, float(requested))
    thresholds = {**dict.fromkeys(object_names, 0.5), **stored_thresholds(settings, facts)}
    thresholds |= requested or {}
    for name, value in thresholds.items():
        if not 0 <= float(value) <= 1:
            raise SettingError(f"The threshold of {name} must lie in 0 … 1, not {value}.")
    return thresholds


def stored_thresholds(settings: LocalizeSettings, facts: Mapping[str, Any]) -> dict[str, float]:
    """Those calibrated for the β asked for, or the checkpoint's own; none for label volumes."""
    thresholds_by_beta = facts["thresholds"]
    if not thresholds_by_beta:
        return {}
    wanted = f"{facts['beta'] if settings.beta is None else settings.beta:g}"
    if wanted not in thresholds_by_beta:
        raise SettingError(
            f"There are no thresholds for beta={wanted}. There are for: "
            f"{', '.join(thresholds_by_beta)}."
        )
    return thresholds_by_beta[wanted]


main = command("localize", localize)

if __name__ == "__main__":
    main()
