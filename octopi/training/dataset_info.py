"""Dataset info: runs, target, tomograms, labels, radii and weights of a training."""

import collections
import dataclasses
import math
from typing import Any

from octopi.config.settings import TrainSettings
from octopi.errors import DataError, shorten_list
from octopi.geometry import Points
from octopi.project import Project
from octopi.project.objects import check_painted_objects, require_labels
from octopi.project.provenance import check_same_painting
from octopi.project.queries import PickSets, SegmentationQuery, TomogramQuery
from octopi.project.run import Run
from octopi.project.selection import select_training_tomograms
from octopi.project.united_picks import read_true_picks


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The description of a dataset that a training needs.

    Args:
        runs: that have the target.
        target: the label volumes.
        tomograms: type and spacing to train on; validation uses the first.
        labels: object name -> label.
        picks: object name -> the sets of picks that its spheres were painted from.
        radii: particle name -> radius in Å.
        weights: particle name -> weight in the total score.
        partial: names of the objects of which not every particle is annotated.
        rejected: names of the objects that have rejected places.
    """

    runs: list[Run]
    target: SegmentationQuery
    tomograms: list[TomogramQuery]
    labels: dict[str, int]
    picks: dict[str, PickSets]
    radii: dict[str, float]
    weights: dict[str, float]
    partial: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()

    @property
    def metrics_note(self) -> str | None:
        """What the metrics of a training are against; None where everything is annotated."""
        if not self.partial:
            return None
        return (
            f"Not all of {shorten_list(sorted(self.partial))} is annotated, and the metrics of "
            "this training are against what is: a particle that nobody annotated counts as a wrong "
            "pick and as wrong voxels. Against all particles, precision, F1 and F-beta are higher."
        )

    def working_spacing(self, settings: TrainSettings) -> float:
        """Return the voxel spacing that a training computes on, Å; without a setting its data's."""
        return settings.data["working_spacing"] or self.tomograms[0].voxel_spacing

    def true_picks(self, run: Run) -> dict[str, Points]:
        """Read the particles of a run that its target was painted from."""
        return read_true_picks(run, self.picks, self.target)

    def particle_volumes(self) -> dict[str, float]:
        """Return the volume of all particles of each object in all runs, Å³."""
        counts = collections.Counter[str]()
        for run in self.runs:
            counts.update({name: len(points) for name, points in self.true_picks(run).items()})
        return {
            name: counts[name] * 4 / 3 * math.pi * radius**3 for name, radius in self.radii.items()
        }

    def content(self) -> dict[str, Any]:
        """Return what tells the dataset from others, wherever its project lies; read no voxel."""
        stored = {run.name: run.segmentation_attributes(self.target) for run in self.runs}
        rejected = {name: of_run.get("rejected_digests") for name, of_run in stored.items()}
        return {
            "labels": self.labels,
            "radii": self.radii,
            "tomograms": list(map(str, self.tomograms)),
            "partial": sorted(self.partial),
            "picks": {name: of_run.get("picks_digests", {}) for name, of_run in stored.items()},
            **({"rejected": rejected} if self.rejected else {}),
        }


def read_dataset_info(project: Project, settings: TrainSettings) -> DatasetInfo:
    """Read the description of a training's dataset from the project.

    Raises:
        DataError: no run has the target, or it does not name its labels, or the targets of the
            runs were painted in different ways.
        SettingError: several tomogram types, none of them named.
    """
    target = SegmentationQuery.parse(settings.target)
    runs = [
        run
        for run in project.select(settings.runs, keep_contents=True)
        if settings.runs is not None or run.segmentations_of(target)
    ]
    if not runs:
        raise DataError(f"No run has the target {target}. Make it: octopi create_targets.")
    attributes = runs[0].segmentation_attributes(target)
    labels = require_labels(attributes, f"Run {runs[0].name}: target {target}")
    for run in runs[1:]:
        if run.segmentations_of(target):
            others = run.segmentation_attributes(target)
            check_same_painting(run.name, others, runs[0].name, attributes)
    spacings = settings.voxel_spacing
    tomograms = select_training_tomograms(
        runs[0],
        tomo_types=settings.tomo_types,
        voxel_spacings=spacings if isinstance(spacings, list) else [spacings],
    )
    picks = {name: PickSets.parse(text) for name, text in attributes["picks"].items()}
    check_painted_objects(picks, project.objects)
    objects = {name: project.objects[name] for name in picks}
    return DatasetInfo(
        runs=runs,
        target=target,
        tomograms=tomograms,
        labels=labels,
        picks=picks,
        radii={n: obj.require_radius() for n, obj in objects.items() if obj.radius is not None},
        weights={name: obj.weight for name, obj in objects.items()},
        partial=frozenset(attributes.get("annotation", {})),
        rejected=frozenset(attributes.get("rejected", {})),
    )
