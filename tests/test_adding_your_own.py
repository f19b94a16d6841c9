"""`docs/adding-your-own.md` does what it says; only sizes change."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from tiny import RUNS, TINY

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "adding-your-own.md").read_text(
    encoding="utf-8"
)
FILE = re.compile(r"Here is\s+`([\w.]+)`:\n\n```python\n(.*?)```", flags=re.DOTALL)
COMMANDS = re.compile(r"```bash\n(.*?)```", flags=re.DOTALL)
PARTS = "augment sampler painter loss schedule localizer scorer callback logger"
SMALL = [*RUNS, *TINY]


def test_every_part_has_an_example_of_at_most_twenty_lines():
    files = dict(FILE.findall(PAGE))
    assert set(files) == {f"my_{part}.py" for part in PARTS.split()}
    for name, text in files.items():
        assert len([line for line in text.splitlines() if line.strip()]) <= 20, name


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(here, octopi_command, monkeypatch):
    monkeypatch.syspath_prepend(here)
    for name, text in FILE.findall(PAGE):
        (here / name).write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
    assert octopi_command("create_targets") == 0
    lines = [line for block in COMMANDS.findall(PAGE) for line in block.splitlines()]
    for number, line in enumerate(lines):
        verb, *arguments = shlex.split(line.removeprefix("octopi "))
        if verb == "train":
            folder = [] if "hydra.run.dir" in line else [f"hydra.run.dir=job_{number}"]
            typed = {argument.split("=")[0] for argument in arguments}
            small = [word for word in SMALL if word.split("=")[0] not in typed]
            arguments += [*small, *folder]
        assert octopi_command(verb, *arguments) == 0, line
    assert "train/loss" in (here / "lines.txt").read_text(encoding="utf-8")
    assert "train/weights" in (here / "lines.txt").read_text(encoding="utf-8")
