"""Localizers: find a point with a score for each particle in a score map."""

from octopi.localization.components import Components
from octopi.localization.localizer import Localizer
from octopi.localization.peaks import Peaks
from octopi.localization.watershed import Watershed
from octopi.stored_parts import Kind, names_of

__all__ = ["LOCALIZER"]

LOCALIZER = Kind("localizer", Localizer, names_of(Peaks, Watershed, Components))
