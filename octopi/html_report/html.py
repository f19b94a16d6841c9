"""Render one HTML file from a template, a style sheet, a script and the content they show."""

import base64
import hashlib
import html
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pydantic_core

from octopi.errors import DataError, shorten
from octopi.system.resources import check_writable


def choose_page_path(
    output: str | None, default: Path | str, *, may_replace: Callable[[Path], bool], other: str
) -> Path:
    """Choose the path of a page.

    Args:
        output: path that the user typed.
        default: path to take where there is none.
        may_replace: whether a file is a page that may be replaced.
        other: what other files are, such as "no report of octopi".

    Raises:
        DataError: there is something that may not be replaced.
        ResourceError: no file can be made there.
    """
    path = Path(default if output is None else output).absolute()
    if os.path.lexists(path) and not (path.is_file() and may_replace(path)):
        raise DataError(
            f"{shorten(path, 200)} exists, and is {other}. It is not replaced: move it away, or "
            "choose another file with output=…"
        )
    check_writable(path.parent, "Choose another file with output=…")
    return path


def render_page(
    content: Mapping[str, Any],
    blocks: Mapping[str, Any],
    *,
    title: str,
    parts: Sequence[str] = ("octopi.html_report/page",),
) -> str:
    """Render a page, which loads nothing and runs no script but its own.

    Args:
        content: what the page begins with.
        blocks: id -> what is decoded only when it is shown, such as pictures.
        title: of the page; any text.
        parts: package and name of its files; the first is the template and, after that of the
            theme, the script; the style is that of all.
    """
    script = _read("octopi.html_report/theme", "js") + _read(parts[0], "js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values = {
        "title": html.escape(title),
        "digest": digest,
        "style": "".join(_read(part, "css") for part in reversed(parts)),
        "script": script,
        "content": _json(content),
        "blocks": "\n".join(
            f'<script type="application/json" id="{name}">{_json(block)}</script>'
            for name, block in blocks.items()
        ),
    }
    # One pass, so that an @@ in the content is never taken for a part of the template.
    pieces = _read(parts[0], "html").split("@@")
    return "".join(values[p] if i % 2 else p for i, p in enumerate(pieces))


def _read(part: str, ending: str) -> str:
    package, _, name = part.partition("/")
    return (files(package) / f"{name}.{ending}").read_text(encoding="utf-8")


def _json(content: Any) -> str:
    """Write the content as JSON that cannot end the element it stands in."""
    # NaN and infinity, which JSON does not have, become null
    text = pydantic_core.to_json(content, inf_nan_mode="null").decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
