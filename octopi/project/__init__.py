"""The only door to copick: the tomograms, picks, segmentations and score maps of projects."""

from octopi.project.annotations import find_picks, find_tomograms
from octopi.project.objects import PickableObject
from octopi.project.project import Project, open_project
from octopi.project.queries import PicksQuery, SegmentationQuery, TomogramQuery, check_name
from octopi.project.run import Run

__all__ = [
    "PickableObject",
    "PicksQuery",
    "Project",
    "Run",
    "SegmentationQuery",
    "TomogramQuery",
    "check_name",
    "find_picks",
    "find_tomograms",
    "open_project",
]
