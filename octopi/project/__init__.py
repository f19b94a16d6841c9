"""Copick projects: their tomograms, picks, segmentations and score maps.

No other package imports copick.
"""

from octopi.project.annotations import (
    OWN_USER,
    find_in_runs,
    find_picks,
    find_tomograms,
    refuse_others_picks,
)
from octopi.project.objects import PickableObject
from octopi.project.project import Project, open_project
from octopi.project.queries import (
    PicksQuery,
    SegmentationQuery,
    TomogramQuery,
    check_name,
    check_run_name,
    score_map_name,
)
from octopi.project.run import Run

__all__ = [
    "OWN_USER",
    "PickableObject",
    "PicksQuery",
    "Project",
    "Run",
    "SegmentationQuery",
    "TomogramQuery",
    "check_name",
    "check_run_name",
    "find_in_runs",
    "find_picks",
    "find_tomograms",
    "open_project",
    "refuse_others_picks",
    "score_map_name",
]
