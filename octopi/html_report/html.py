"""Render one HTML file from a template, a style sheet, a script and the content they show."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any


def render_page(
    content: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]], *, title: str
) -> str:
    """Render the page, which loads nothing and runs no script but its own.

    Args:
        content: what the page begins with.
        blocks: the pictures of each run, decoded when the run is chosen.
        title: of the page; any text.
    """
    script, style = _part("page.js"), _part("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "title": html.escape(title),
        "digest": digest,
        "style": style,
        "script": script,
        "content": _json(content),
        "blocks": "\n".join(
            f'<script type="application/json" id="run-{number}">{_json(block)}</script>'
            for number, block in enumerate(blocks)
        ),
    }
    # One pass, so that an @@ in the content is never taken for a part of the template.
    pieces = _part("page.html").split("@@")
    return "".join(parts[p] if i % 2 else p for i, p in enumerate(pieces))


def _part(name: str) -> str:
    return (files("octopi.html_report") / name).read_text(encoding="utf-8")


def _json(content: Any) -> str:
    """Write the content as JSON that cannot end the element it stands in."""
    text = json.dumps(_finite(content), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _finite(content: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content
