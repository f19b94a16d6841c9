"""File formats of other programs: picks for RELION, Warp, Dynamo and spreadsheets; MRC."""

from octopi.formats.base import Format, Particles

__all__ = ["Format", "Particles"]
