"""Copick projects: their tomograms, picks, segmentations and score maps.

No other package imports copick.
"""

from octopi.project.project import Project, open_project

__all__ = ["Project", "open_project"]
