"""What the project says of what is to be learned; light to import."""

import dataclasses

from octopi.config.settings import TrainSettings
from octopi.errors import DataError
from octopi.geometry import Points
from octopi.project import (
    PicksQuery,
    Project,
    Run,
    SegmentationQuery,
    TomogramQuery,
    select_training_tomograms,
)
from octopi.project.objects import require_labels


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What only the data knows.

    Args:
        runs: those that hold the target.
        target: the label volumes.
        tomograms: type and spacing of what is trained on, the one validated on first.
        labels: object name -> label.
        picks: object name -> the picks its spheres were painted from.
        radii: particle name -> radius in Å.
        weights: particle name -> weight in the total score.
    """

    runs: list[Run]
    target: SegmentationQuery
    tomograms: list[TomogramQuery]
    labels: dict[str, int]
    picks: dict[str, PicksQuery]
    radii: dict[str, float]
    weights: dict[str, float]

    def true_picks(self, run: Run) -> dict[str, Points]:
        """The particles of a run that its target was painted from."""
        return run.read_existing_picks(self.picks)


def read_dataset_info(project: Project, settings: TrainSettings) -> DatasetInfo:
    """What the project says of the target, or an error that says what is missing."""
    target = SegmentationQuery.parse(settings.target)
    wanted = target.name_user_session
    runs = [
        run
        for run in project.select(settings.runs)
        if settings.runs is not None
        or any(q.name_user_session == wanted for q in run.segmentations())
    ]
    if not runs:
        raise DataError(f"No run has the target {target}. Make it: octopi create_targets.")
    attributes = runs[0].segmentation_attributes(target)
    labels = require_labels(attributes, f"The target {target} of run {runs[0].name}")
    spacings = settings.voxel_spacing
    tomograms = select_training_tomograms(
        runs[0],
        tomo_types=settings.tomo_types,
        voxel_spacings=spacings if isinstance(spacings, list) else [spacings],
    )
    picks = {name: PicksQuery.parse(text) for name, text in attributes["picks"].items()}
    known = {name: project.objects[name] for name in picks if name in project.objects}
    return DatasetInfo(
        runs=runs,
        target=target,
        tomograms=tomograms,
        labels=labels,
        picks=picks,
        radii={name: obj.radius for name, obj in known.items() if obj.radius is not None},
        weights={name: obj.weight for name, obj in known.items()},
    )
