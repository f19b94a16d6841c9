"""The steps of `segment` for one tomogram: tell whether it is done, read, predict and write."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from octopi.config.settings import SegmentSettings
from octopi.data.cache import prepare_volume, working_grid
from octopi.errors import DataError, ResourceError, shorten_list
from octopi.geometry import Grid
from octopi.inference.ensemble import Ensemble
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


@dataclass(frozen=True)
class Segmenter:
    """Predicts in tomograms, and writes what the settings ask for.

    Args:
        settings: of the command.
        ensemble: that predicts.
    """

    settings: SegmentSettings
    ensemble: Ensemble

    def on_device(self, device: torch.device) -> Self:
        """Move the network to a device."""
        return dataclasses.replace(self, ensemble=self.ensemble.on_device(device))

    @property
    def score_map(self) -> str:
        """The name under which score maps are stored."""
        return score_map_name(output_query(self.settings))

    @property
    def working_spacing(self) -> float | None:
        """The spacing (Å) to which tomograms are resampled; None = they stay as they are."""
        info = self.ensemble.info
        return info.working_spacing or (info.voxel_spacing if self.settings.voxel_spacing else None)

    def grid(self, task: TomogramTask) -> Grid:
        """Return the grid on which a tomogram is predicted."""
        return working_grid(task.run.tomogram_grid(task.tomogram), self.working_spacing)

    def is_done(self, task: TomogramTask) -> bool:
        """Return whether all that the user requested exists.

        Raises:
            SettingError: it was made of something else, or in another way.
        """
        run, settings, name = task.run, self.settings, self.score_map
        outputs: dict[str, Mapping[str, Any]] = {}
        if settings.scores and run.has_score_map(task.tomogram, name):
            outputs[f"score map {name}"] = run.score_map_attributes(task.tomogram, name)
        query = output_query(settings)
        segmentations = run.segmentations_of(query) if settings.segmentation else []
        outputs |= {f"segmentation {q}": run.segmentation_attributes(q) for q in segmentations}
        for output, attributes in outputs.items():
            self.check_is_current(output, attributes, task)
        num_requested = settings.scores + max(len(segmentations), settings.segmentation)
        return len(outputs) == num_requested

    def check_is_current(
        self, output: str, attributes: Mapping[str, Any], task: TomogramTask
    ) -> None:
        """Raise SettingError unless an output is what this command would write.

        Args:
            output: kind and name.
            attributes: stored with it.
            task: that it belongs to.
        """
        made_by = ", ".join(attributes.get("checkpoints", {})) or "another program"
        where = f"Run {task.run.name}: the {output} of {made_by}"
        current = {
            **self.ensemble.attributes,
            "tomogram": str(task.tomogram),
            "working_spacing": self.working_spacing,
        }
        check_same_provenance(where, _comparable(attributes), _comparable(current))
        if has_changed(task.run, task.tomogram, attributes):
            check_same_provenance(
                where, {"tomogram": "another"}, {"tomogram": "the one that is there now"}
            )

    def check_replaces_no_others(self, tasks: Iterable[TomogramTask]) -> None:
        """Raise DataError if features of another program have the name of the score maps."""
        settings, name = self.settings, self.score_map
        others = [
            f"{task.run.name} {task.tomogram}"
            for task in tasks
            if settings.scores and task.run.is_foreign_score_map(task.tomogram, name)
        ]
        if others and settings.overwrite != EDITED:
            raise DataError(
                f"The features {name} of {shorten_list(others)} would be replaced, and octopi did "
                "not write them. Write elsewhere with another session_id=…, or lose them: "
                f"overwrite={EDITED}."
            )

    def read(self, task: TomogramTask) -> TaskVolume:
        """Read a tomogram and prepare it as in training."""
        grid = self.grid(task)
        volume = task.run.read_tomogram(task.tomogram)
        provenance = identify_tomogram(task.run, task.tomogram, volume)
        where = f"Run {task.run.name}: tomogram {task.tomogram}"
        return TaskVolume(task, prepare_volume(volume, grid, where=where), grid, provenance)

    def predict(self, prepared: TaskVolume) -> TaskVolume:
        """Compute the score map of a tomogram."""
        try:
            scores = self.ensemble.predict(prepared.values)
        except torch.OutOfMemoryError as error:
            window = self.ensemble.predictor.window_size or list(prepared.values.shape)
            raise ResourceError(
                f"Run {prepared.task.run.name}: the GPU is too small even for windows of {window} "
                "voxels, the smallest that predictor.halo leaves. Does another program use it? "
                "Else use accelerator=cpu."
            ) from error
        return dataclasses.replace(prepared, values=scores)

    def write(self, scored: TaskVolume) -> str:
        """Write the score map, a segmentation of it or both; return the run's name."""
        run, tomogram, grid = scored.task.run, scored.task.tomogram, scored.grid
        settings, info = self.settings, self.ensemble.info
        attributes = {
            **self.ensemble.attributes,
            **scored.provenance,
            "working_spacing": self.working_spacing,
        }
        if settings.scores:
            run.write_score_map(
                tomogram, self.score_map, scored.values, grid=grid, attributes=attributes
            )
        if settings.segmentation:
            query = output_query(settings, float(np.mean(grid.spacing)))
            check_still_not_edited(run, query, overwrite=settings.overwrite)
            labels = info.net_output.segmentation(scored.values)
            attributes["labels"] = info.labels
            run.write_segmentation(query, labels, grid=grid, attributes=attributes)
        finish(run)
        return run.name


def output_query(
    settings: SegmentSettings, voxel_spacing: float | None = None
) -> SegmentationQuery:
    """Make the query of what is written, its voxel spacing in Å."""
    return SegmentationQuery(settings.name, settings.user_id, settings.session_id, voxel_spacing)


def _comparable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    digests = attributes.get("checkpoints", {}).values()
    kept = ("ensemble", "predictor", "tomogram", "working_spacing")
    return {
        **{key: attributes.get(key) for key in kept},
        "checkpoints": ", ".join(sorted(digest[:8] for digest in digests)),
    }
