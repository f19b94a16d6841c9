"""Pictures of a search, drawn into its folder at any time: PNGs, and one page for the mouse."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from optuna import Study

from octopi.exploration import interactive, stills
from octopi.exploration.findings import Findings
from octopi.provenance import write_text

PAGE = "pictures.html"
# Names are shown as they are, never read as formulas.
STYLE: Any = {"text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}


def draw(folder: Path, study: Study, objectives: Sequence[str]) -> list[Path]:
    """The folder holds every picture that can be drawn by now, and no other; returns them."""
    found = Findings(study, objectives)
    drawn = [_still(folder / f"{name}.png", found, name) for name in stills.PICTURES]
    text = interactive.page(found)
    path = folder / PAGE
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, text)
    return [path for path in (folder / PAGE, *drawn) if path is not None and path.exists()]


def _still(path: Path, found: Findings, name: str) -> Path | None:
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A letter that the font lacks is a box in the picture, not a fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = stills.PICTURES[name](found)
        if figure is None:
            path.unlink(missing_ok=True)
            return None
        part = path.with_name(f".{path.name}.part")
        figure.savefig(part, dpi=110, format="png")
        part.replace(path)
    return path
