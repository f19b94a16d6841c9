"""The commands and job scripts that docs/clusters.md shows, for the tests that run them."""

import re
import shlex
from pathlib import Path

from tiny import TINY

TEXT = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
SCRIPTS = [block for block in BLOCKS if block.startswith("#!/bin/bash\n")]
# What makes a search of networks small, and leaves them to the search.
SMALL = [word for word in TINY if not word.startswith("model.")]


def find_command(*words: str) -> list[str]:
    """Return the arguments of the command of octopi on the page that has these words."""
    texts = [block.replace("\\\n", " ") for block in BLOCKS if block not in SCRIPTS]
    lines = [shlex.split(line) for text in texts for line in text.splitlines()]
    found = [line[1:] for line in lines if line[0] == "octopi" and all(w in line for w in words)]
    assert len(found) == 1, found
    return found[0]
