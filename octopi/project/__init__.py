"""Copick projects: their tomograms, picks, segmentations and score maps.

No other package imports copick.
"""

from octopi.project.objects import PickableObject
from octopi.project.picks_selection import (
    OCTOPI_USER,
    Source,
    choose_pick_sets,
    choose_picks,
    find_pick_sets,
    find_picks,
    is_annotation,
    keep_known,
)
from octopi.project.project import Project, open_project
from octopi.project.queries import (
    PickSets,
    PicksQuery,
    SegmentationQuery,
    TomogramQuery,
    check_name,
    check_run_name,
    score_map_name,
    select_tomogram,
)
from octopi.project.run import Run
from octopi.project.selection import (
    check_covers_tomogram,
    find_segmentations,
    find_tomograms,
    is_denoised,
    keep_runs_with,
    readable_grids,
    select_training_tomograms,
    several_types_message,
    tomogram_for_display,
)

__all__ = [
    "OCTOPI_USER",
    "PickSets",
    "PickableObject",
    "PicksQuery",
    "Project",
    "Run",
    "SegmentationQuery",
    "Source",
    "TomogramQuery",
    "check_covers_tomogram",
    "check_name",
    "check_run_name",
    "choose_pick_sets",
    "choose_picks",
    "find_pick_sets",
    "find_picks",
    "find_segmentations",
    "find_tomograms",
    "is_annotation",
    "is_denoised",
    "keep_known",
    "keep_runs_with",
    "open_project",
    "readable_grids",
    "score_map_name",
    "select_tomogram",
    "select_training_tomograms",
    "several_types_message",
    "tomogram_for_display",
]
