"""Draw the layers of octopi's packages from the import contracts in pyproject.toml.

python docs/layers.py          writes docs/images/layers.svg, the picture in CONTRIBUTING.md
"""

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "layers.svg"
LAYERS, COPICK, PURE, HYDRA = range(4)  # of the contracts, in the order of pyproject.toml
COLORS = {  # fill of a box, and what the legend says of it
    "plain": ("#eef1f5", "imports only what is in a lower row"),
    "pure": ("#d5efdc", "neither torch nor copick nor Hydra"),
    "copick": ("#fde3c4", "the only package that imports copick and zarr"),
    "hydra": ("#d9e6fb", "may import Hydra"),
}
WIDTH, MARGIN, GAP, HEIGHT, CHARACTER = 860, 16, 8, 26, 7.5  # pixels


def draw_layers(pyproject: str) -> str:
    """Draw each layer as a row of boxes, a package or module each, the highest layer first."""
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    kinds = _kinds(contracts)
    parts, y = [], MARGIN
    for layer in contracts[LAYERS]["layers"]:
        x = MARGIN
        for name in layer.split(" | "):
            width = round(len(name) * CHARACTER + 18)
            if x + width > WIDTH - MARGIN:
                x, y = MARGIN, y + HEIGHT + GAP // 2
            parts.append(_box(x, y, width, name, kinds.get(name, "plain")))
            x += width + GAP
        y += HEIGHT + GAP
        parts.append(f'<path d="M{MARGIN} {y - GAP // 2}H{WIDTH - MARGIN}" stroke="#d0d5db"/>')
    parts.pop()
    for kind, (_, meaning) in COLORS.items():
        y += HEIGHT
        parts.append(_box(MARGIN, y - 8, 26, "", kind, height=16))
        parts.append(_text(MARGIN + 36, y + 4, meaning, anchor="start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + MARGIN}" '
        f'width="{WIDTH}" font-family="system-ui, sans-serif" font-size="12.5">\n'
        f'<rect width="{WIDTH}" height="{y + MARGIN}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _kinds(contracts: list[dict]) -> dict[str, str]:
    """Return the kind of each package that a contract names."""
    pure = {name.split(".")[1]: "pure" for name in contracts[PURE]["source_modules"]}
    allowed = {
        kind: [line.split(" -> ")[0] for line in contracts[number]["ignore_imports"]]
        for kind, number in (("copick", COPICK), ("hydra", HYDRA))
    }
    return pure | {
        importer.split(".")[1]: kind
        for kind, importers in allowed.items()
        for importer in importers
        if importer.endswith("*")  # whole packages; single modules stay as their package is
    }


def _box(x: int, y: int, width: int, text: str, kind: str, *, height: int = HEIGHT) -> str:
    fill = COLORS[kind][0]
    rect = (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" '
        f'fill="{fill}" stroke="#b6bfca"/>'
    )
    return rect + _text(x + width / 2, y + height / 2 + 4.5, text, anchor="middle")


def _text(x: float, y: float, text: str, *, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="#1b1f24">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(
        draw_layers((ROOT / "pyproject.toml").read_text(encoding="utf-8")), encoding="utf-8"
    )
