"""Hide passwords in what is logged and stored."""

import re
from collections.abc import Mapping
from typing import Any


def mask_passwords(content: Any) -> Any:
    """Replace the passwords in all addresses of the content (text, lists, mappings) by stars."""
    if isinstance(content, Mapping):
        return {key: mask_passwords(value) for key, value in content.items()}
    if isinstance(content, list):
        return [mask_passwords(value) for value in content]
    if isinstance(content, str):
        return re.sub(r"(\w://[^\s:/@]*):[^\s/]+@", r"\1:***@", content)
    return content
