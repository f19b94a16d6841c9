"""What is annotated in a run, as its target says."""

from collections.abc import Mapping

from octopi.geometry import Points
from octopi.project.objects import has_unknown_voxels
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.project.run import Run
from octopi.targets import drop_unknown


def read_true_picks(
    run: Run, queries: Mapping[str, PicksQuery], target: SegmentationQuery
) -> dict[str, Points]:
    """Read the particles that a run's target was painted from; leave out those in unknown voxels.

    Args:
        run: of the target.
        queries: object name -> its picks; those that the run lacks are left out.
        target: of the run.
    """
    attributes = run.segmentation_attributes(target)
    missing = attributes.get("not_annotated", ())
    picks = run.read_existing_picks({n: q for n, q in queries.items() if n not in missing})
    if not has_unknown_voxels(attributes):
        return picks
    labels, grid, _ = run.read_segmentation(target)
    return drop_unknown(picks, labels, grid)
