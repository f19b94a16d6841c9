"""What is annotated in a run, as its target says."""

from collections.abc import Mapping
from typing import Any

from octopi.geometry import Points
from octopi.project.objects import has_unknown_voxels
from octopi.project.queries import PickSets, SegmentationQuery
from octopi.project.run import Run
from octopi.project.united_picks import read_united_picks
from octopi.targets import drop_unknown


def read_target_attributes(run: Run, target: SegmentationQuery | None) -> Mapping[str, Any]:
    """Read what is stored with a run's target; return {} where it has none."""
    if target is None or not run.segmentations_of(target):
        return {}
    return run.segmentation_attributes(target)


def read_true_picks(
    run: Run, sets: Mapping[str, PickSets], target: SegmentationQuery | None
) -> dict[str, Points]:
    """Read the particles of a run; leave out those in voxels that its target leaves unknown.

    Args:
        run: of the picks.
        sets: object name -> sets of its picks; objects that the run lacks are left out.
        target: of the run; it may have none.
    """
    attributes = read_target_attributes(run, target)
    missing = attributes.get("not_annotated", ())
    rejected = {n: PickSets.parse(text) for n, text in attributes.get("rejected", {}).items()}
    annotated = {name: of_object for name, of_object in sets.items() if name not in missing}
    united = read_united_picks(run, annotated, rejected, attributes.get("object_radii", {}))
    picks = {name: one.points for name, one in united.items() if one.points is not None}
    if target is None or not has_unknown_voxels(attributes):
        return picks
    labels, grid, _ = run.read_segmentation(target)
    return drop_unknown(picks, labels, grid)
