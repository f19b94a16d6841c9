"""`docs/adding-models.md` does what it says; only sizes and the voxel spacing change."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from processes import run_command

from octopi.models import checkpoint

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "adding-models.md").read_text(
    encoding="utf-8"
)
FILES = {"my_nets.py", "my_conf/model/my_net.yaml", "my_conf/search/my_net.yaml"}
BLOCK = re.compile(r"```(\w+)\n(.*?)```", flags=re.DOTALL)
FILE = re.compile(r"Here is\s+`([\w/.]+)`:\n\n```\w+\n(.*?)```", flags=re.DOTALL)

SIZES = {
    "width=16": "width=4",
    "width=32": "width=6",
    "choice(8, 16, 32)": "choice(2, 4)",
    "model.width=8|16": "model.width=2|4",
    "choice(4, 8, 16)": "choice(1, 2)",
    "choice([48,48,48], [64,64,64])": "choice([16,16,16], [16,32,32])",
    '"width": 16': '"width": 4',
    '"dim_in": 64': '"dim_in": 16',
    '"denoised", 10.0': '"denoised", 20.0',
    "num_epochs=100": "num_epochs=1",
    "trainer.max_epochs=200": "trainer.max_epochs=2",
    "n_trials=20": "n_trials=2",
}
# Added to each training on the page; a search is told its number of crops by its space.
SMALL = ["data.steps_per_epoch=2", "data.num_workers=0", "trainer.max_epochs=1"]
SMALL_CROPS = ["data.crop_size=[16,32,32]", "data.crops_per_step=2"]


def small(text):
    for old, new in SIZES.items():
        text = text.replace(old, new)
    return text


def read_command(line):
    """Return the command of a line of the page and its arguments, with those that make it small."""
    verb, *arguments = shlex.split(line.removeprefix("octopi "))
    if verb == "train":
        extra = SMALL if "-m" in arguments or "best" in line else [*SMALL, *SMALL_CROPS]
        typed = {argument.split("=")[0] for argument in arguments}
        arguments += [argument for argument in extra if argument.split("=")[0] not in typed]
    return verb, arguments


def test_every_size_is_on_the_page():
    assert [old for old in SIZES if old not in PAGE] == []


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(here, octopi_command, monkeypatch):
    monkeypatch.syspath_prepend(here)
    assert octopi_command("create_targets", "tomo_types=[denoised]") == 0
    files = {block: name for name, block in FILE.findall(PAGE)}
    assert set(files.values()) == FILES
    for language, block in BLOCK.findall(PAGE):
        if block in files:
            path = here / files[block]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(small(block), encoding="utf-8")
        elif language == "python":
            exec(compile(small(block), "adding-models.md", "exec"), {})
        else:
            for line in small(block).splitlines():
                verb, arguments = read_command(line)
                run = run_command if "-m" in arguments else octopi_command
                assert run(verb, *arguments) == 0, line
    for folder, width in [("mine", 4), ("mine_too", 4), ("wide", 6)]:
        _, recipe = checkpoint.read(here / "outputs" / folder / "best_model.pth")
        assert recipe.net["_target_"] == "my_nets.MyNet"
        assert recipe.net["width"] == width
    results = yaml.safe_load(
        (here / "outputs/search/optimization_results.yaml").read_text(encoding="utf-8")
    )
    best = here / "outputs" / "search" / results["best"]["folder"]
    _, found = checkpoint.read(best / "best_model.pth")
    _, again = checkpoint.read(here / "outputs" / "best" / "best_model.pth")
    assert again.net == found.net
