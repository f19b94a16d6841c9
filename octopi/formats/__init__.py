"""File formats of other programs: picks for RELION, Warp, Dynamo and spreadsheets; MRC."""

from octopi.formats.particles import Format, Particles

__all__ = ["Format", "Particles"]
