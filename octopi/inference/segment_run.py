"""The steps of `segment` for one tomogram: tell whether it is done, read, predict and write."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from octopi.config.settings import SegmentSettings
from octopi.data.cache import prepare_volume, working_grid
from octopi.errors import DataError, ResourceError, shorten_list
from octopi.geometry import Grid
from octopi.inference.ensemble import Ensemble
from octopi.models.checkpoint_info import CheckpointInfo
from octopi.project.edits import EDITED, check_still_not_edited
from octopi.project.provenance import check_same_provenance, has_changed, identify_tomogram
from octopi.project.queries import SegmentationQuery, TomogramQuery, score_map_name
from octopi.project.run import Run
from octopi.project.shared_work import finish


@dataclass(frozen=True)
class TomogramTask:
    """One tomogram to predict in."""

    run: Run
    tomogram: TomogramQuery


@dataclass(frozen=True)
class TaskVolume:
    """A task's prepared tomogram (z, y, x), or its score map (c, z, y, x), on the working grid.

    Args:
        task: whose volume.
        values: of every voxel.
        grid: of the values.
        provenance: what identifies the tomogram, see `identify_tomogram`.
    """

    task: TomogramTask
    values: NDArray
    grid: Grid
    provenance: Mapping[str, str]


def output_query(
    settings: SegmentSettings, voxel_spacing: float | None = None
) -> SegmentationQuery:
    """Make the query of what is written, its voxel spacing in Å."""
    return SegmentationQuery(settings.name, settings.user_id, settings.session_id, voxel_spacing)


def is_done(task: TomogramTask, settings: SegmentSettings, ensemble: Ensemble) -> bool:
    """Return whether all that the user requested exists.

    Raises:
        SettingError: it was made of something else, or in another way.
    """
    run, query = task.run, output_query(settings)
    outputs: dict[str, Mapping[str, Any]] = {}
    name = score_map_name(query)
    if settings.scores and run.has_score_map(task.tomogram, name):
        outputs[f"score map {name}"] = run.score_map_attributes(task.tomogram, name)
    segmentations = run.segmentations_of(query) if settings.segmentation else []
    outputs |= {f"segmentation {q}": run.segmentation_attributes(q) for q in segmentations}
    for output, attributes in outputs.items():
        check_is_current(output, attributes, task, settings, ensemble)
    num_requested = settings.scores + max(len(segmentations), settings.segmentation)
    return len(outputs) == num_requested


def check_replaces_no_others(tasks: Iterable[TomogramTask], settings: SegmentSettings) -> None:
    """Raise DataError if features of another program have the name of the score maps."""
    name = score_map_name(output_query(settings))
    others = [t for t in tasks if settings.scores and t.run.is_foreign_score_map(t.tomogram, name)]
    if others and settings.overwrite != EDITED:
        raise DataError(
            f"The features {name} of {shorten_list(f'{t.run.name} {t.tomogram}' for t in others)} "
            "would be replaced, and octopi did not write them. Write elsewhere with another "
            f"session_id=…, or lose them: overwrite={EDITED}."
        )


def check_is_current(
    output: str,
    attributes: Mapping[str, Any],
    task: TomogramTask,
    settings: SegmentSettings,
    ensemble: Ensemble,
) -> None:
    """Raise SettingError unless an output is what this command would write.

    Args:
        output: kind and name.
        attributes: stored with it.
        task: that it belongs to.
        settings: of the command.
        ensemble: that would write it.
    """
    made_by = ", ".join(attributes.get("checkpoints", {})) or "another program"
    where = f"Run {task.run.name}: the {output} of {made_by}"
    current = {
        **ensemble.attributes,
        "tomogram": str(task.tomogram),
        "working_spacing": working_spacing(settings, ensemble.info),
    }
    check_same_provenance(where, _comparable(attributes), _comparable(current))
    if has_changed(task.run, task.tomogram, attributes):
        check_same_provenance(
            where, {"tomogram": "another"}, {"tomogram": "the one that is there now"}
        )


def _comparable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    digests = attributes.get("checkpoints", {}).values()
    kept = ("ensemble", "predictor", "tomogram", "working_spacing")
    return {
        **{key: attributes.get(key) for key in kept},
        "checkpoints": ", ".join(sorted(digest[:8] for digest in digests)),
    }


def working_spacing(settings: SegmentSettings, info: CheckpointInfo) -> float | None:
    """Return the spacing (Å) to which tomograms are resampled; None = they stay as they are."""
    return info.working_spacing or (info.voxel_spacing if settings.voxel_spacing else None)


def task_grid(task: TomogramTask, settings: SegmentSettings, info: CheckpointInfo) -> Grid:
    """Return the grid on which a tomogram is predicted."""
    grid = task.run.tomogram_grid(task.tomogram)
    return working_grid(grid, working_spacing(settings, info))


def read_volume(task: TomogramTask, settings: SegmentSettings, info: CheckpointInfo) -> TaskVolume:
    """Read a tomogram and prepare it as in training."""
    grid = task_grid(task, settings, info)
    volume = task.run.read_tomogram(task.tomogram)
    provenance = identify_tomogram(task.run, task.tomogram, volume)
    where = f"Run {task.run.name}: tomogram {task.tomogram}"
    return TaskVolume(task, prepare_volume(volume, grid, where=where), grid, provenance)


def predict(prepared: TaskVolume, ensemble: Ensemble) -> TaskVolume:
    """Compute the score map of a tomogram."""
    try:
        scores = ensemble.predict(prepared.values)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"Run {prepared.task.run.name}: the GPU is too small even for windows of "
            f"{ensemble.predictor.window_size or list(prepared.values.shape)} voxels, the smallest "
            "that predictor.halo leaves. Does another program use it? Else use accelerator=cpu."
        ) from error
    return dataclasses.replace(prepared, values=scores)


def write_scores(scored: TaskVolume, settings: SegmentSettings, ensemble: Ensemble) -> str:
    """Write the score map, a segmentation of it or both; return the run's name."""
    run, tomogram, grid = scored.task.run, scored.task.tomogram, scored.grid
    attributes = {
        **ensemble.attributes,
        **scored.provenance,
        "working_spacing": working_spacing(settings, ensemble.info),
    }
    if settings.scores:
        name = score_map_name(output_query(settings))
        run.write_score_map(tomogram, name, scored.values, grid=grid, attributes=attributes)
    if settings.segmentation:
        query = output_query(settings, float(np.mean(grid.spacing)))
        check_still_not_edited(run, query, overwrite=settings.overwrite)
        run.write_segmentation(
            query,
            ensemble.info.net_output.segmentation(scored.values),
            grid=grid,
            attributes={**attributes, "labels": ensemble.info.labels},
        )
    finish(run)
    return run.name
