"""The site builds without a network, and the commands on its pages run as they are written.

Only sizes are made smaller, so that it takes minutes; `adding-models.md` has a test of its own.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from processes import run_command
from scored_project import decide

from octopi.config.files import COMMANDS
from octopi.config.overrides import last_value

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^( *)```bash\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)
RECIPE = re.compile(r"^\t\$\(BIN\)/octopi (.*)$", flags=re.MULTILINE)
FIRST = ["create_targets tomo_types=[denoised]"]
MODEL = "train tomo_types=[denoised] hydra.run.dir=outputs/before"
PICKS = [
    *FIRST,
    MODEL,
    "segment checkpoint=outputs/before/best_model.pth",
    "localize thresholds=0.01",
]
# The commands that a reader of each page has run before.
BEFORE = {
    "index.md": [],
    "own-data.md": [],
    "models-and-losses.md": FIRST,
    "exploration.md": FIRST,
    "cross-validation.md": FIRST,
    "clusters.md": FIRST,
    "did-it-help.md": FIRST,
    "score.md": PICKS,
    "incomplete-picks.md": FIRST,
    "correct-and-retrain.md": PICKS,
}
SIZES = {
    "n_trials=50": "n_trials=2",
    "n_trials=20": "n_trials=1",
    "choice(8,16)": "choice(2,4)",
    "seed=1,2,3": "seed=1",
    "seeds=[1,2,3]": "seeds=[1]",
    "cpu_seconds=900": "cpu_seconds=1",
    "[16,32,32]": "[4,8,8]",
}
SMALL = {
    "trainer.max_epochs": "1",
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": "false",
    "data.steps_per_epoch": "2",
    "data.num_workers": "0",
    "data.crop_size": "[24,48,48]",
    "data.crops_per_step": "2",
}
TRAINED = {"model.channels": "[4,8,8]", "model.strides": "[2,2]"}
SEARCHED = {"model.base_channels": "2", "model.num_layers": "2", "model.num_hidden_layers": "0"}


def commands_of(page):
    """Yield the commands of a page, with smaller sizes."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for old, new in SIZES.items():
        text = text.replace(old, new)
    for indent, block in BLOCK.findall(text):
        commands = textwrap.dedent(indent + block.removeprefix(indent))
        yield from commands.replace("\\\n", " ").splitlines()


def make_small(overrides):
    """Add overrides that make a training take seconds."""
    typed = {override.split("=")[0] for override in overrides}
    if "search" in typed:
        net = SEARCHED
    else:
        net = {} if {"experiment", "model.channels", "init_from", "resume"} & typed else TRAINED
    added = {key: value for key, value in {**SMALL, **net}.items() if key not in typed}
    return overrides + [f"{key}={value}" for key, value in added.items()]


@dataclass
class Shell:
    """Run commands as a shell in the reader's folder would; return their exit codes."""

    folder: Path
    octopi_command: Callable[..., int]
    monkeypatch: pytest.MonkeyPatch

    def run(self, line):
        first, *words = shlex.split(line, comments=True)
        programs = {
            "octopi": self.octopi,
            "export": self.export,
            "make": self.make,
            ".": self.source,
        }
        if first in programs:
            return programs[first](*words)
        with self.monkeypatch.context() as patch:  # a variable before a command
            name, _, value = first.partition("=")
            patch.setenv(name, str(self.folder / value))
            return self.run(shlex.join(words))

    def octopi(self, verb, *overrides):
        if "--help" in (verb, *overrides):
            command = [sys.executable, "-m", "octopi.console.main", verb, *overrides]
            return subprocess.run(command, check=False).returncode
        if verb == "review" and (path := last_value(overrides, "decisions")):
            (page,) = self.folder.glob("outputs/review/project-*.html")
            decide(page, {0: "accept", 1: "reject", 2: "relabel"}, name=path)
            shutil.move(self.folder / "outputs/review" / path, self.folder)
        if verb == "compare":
            small = make_small(["trainer.max_epochs=1"])
            overrides = [
                f"{word} {' '.join(small)}" if word.startswith("base=") else word
                for word in overrides
            ]
        if verb == "train":
            overrides = make_small([*overrides])
        starts_trainings = verb in ("train", "compare")
        return (run_command if starts_trainings else self.octopi_command)(verb, *overrides)

    def export(self, setting):
        name, _, value = setting.partition("=")
        self.monkeypatch.setenv(name, str(self.folder / value))
        return 0

    def source(self, script):
        return int(script != ".venv/bin/activate")  # what `make env` makes

    def make(self, target):
        makefile = expand((ROOT / "Makefile").read_text(encoding="utf-8"))
        assert f"\n{target}: env\n" in makefile
        return max(self.run(f"octopi {command}") for command in RECIPE.findall(makefile))


@pytest.fixture
def shell(here, octopi_command, monkeypatch):
    config = (here / "project.json").read_text(encoding="utf-8")
    (here / "my_project.json").write_text(config, encoding="utf-8")
    assert f"{here}/overlay" in config
    shutil.copytree(here / "overlay", here / "new")  # the same tomograms, results of their own
    (here / "new_project.json").write_text(
        config.replace(f"{here}/overlay", f"{here}/new"), encoding="utf-8"
    )
    (here / "mrcs").mkdir()
    noise = np.random.default_rng(0).normal(size=(16, 24, 24)).astype(np.float32)
    mrcfile.write(here / "mrcs" / "TS_09_20.00Apx.mrc", noise, voxel_size=20.0)
    return Shell(here, octopi_command, monkeypatch)


def expand(makefile):
    """Replace DEMO and MODEL in the Makefile by their values."""
    for name in ("DEMO", "MODEL"):
        definition = re.search(rf"^{name} := (.*)$", makefile, flags=re.MULTILINE)
        assert definition is not None
        makefile = makefile.replace(f"$({name})", definition[1])
    return makefile


def test_every_page_with_commands_is_tested():
    pages = {
        path.name for path in DOCS.glob("*.md") if "```bash" in path.read_text(encoding="utf-8")
    }
    assert pages == {*BEFORE, "adding-models.md", "adding-your-own.md"}


def test_every_replaced_size_is_on_a_page():
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in BEFORE)
    assert [old for old in SIZES if old not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", BEFORE)
def test_the_commands_of_a_page_run(shell, page):
    for command in BEFORE[page]:
        assert shell.run(f"octopi {command}") == 0, command
    for line in commands_of(page):
        fine = (0, 4) if line == "octopi doctor" else (0,)  # 4: this machine lacks something
        assert shell.run(line) in fine, line


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site; return its folder."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    unreachable = "http://127.0.0.1:9"
    quiet = {"NO_MKDOCS_2_WARNING": "1", "http_proxy": unreachable, "https_proxy": unreachable}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_holds_every_command_and_network(site):
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert all(f'id="{verb}"' in commands for verb in COMMANDS)
    models = (site / "models-and-losses.html").read_text(encoding="utf-8")
    for path in (ROOT / "conf" / "model").glob("*.yaml"):
        assert f"<code>{path.stem}</code>" in models


@pytest.mark.slow
def test_the_site_documents_the_functions_from_docstrings(site):
    page = (site / "python.html").read_text(encoding="utf-8")
    for name in (
        "octopi.workflows.train",
        "octopi.losses.FocalTverskyLoss",
        "octopi.geometry.Grid",
    ):
        assert f'id="{name}"' in page


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"?(https?://[^\s\">]+)")
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page


@pytest.mark.slow
def test_the_site_can_be_searched(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    titles = {path.read_text(encoding="utf-8").splitlines()[0] for path in DOCS.glob("*.md")}
    assert {title.removeprefix("# ") for title in titles} <= {e["title"] for e in index["docs"]}


def test_the_picture_of_the_layers_follows_the_import_contracts():
    spec = importlib.util.spec_from_file_location("layers", DOCS / "layers.py")
    assert spec is not None
    assert spec.loader is not None
    layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    drawn = layers.draw_layers((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert drawn == layers.PICTURE.read_text(encoding="utf-8"), "run python docs/layers.py"
    packages = {path.stem for path in (ROOT / "octopi").iterdir() if path.suffix in ("", ".py")}
    names = set(re.findall(r">(\w+)</text>", drawn))
    assert packages - {"__init__", "__pycache__"} <= names


def test_every_path_that_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[\w-]+/)+[\w.-]*|\w+\.(?:py|toml))`", text)
    paths = [path for path in paths if not re.search(r"NAME|VERB", path)]
    bases = [ROOT, ROOT / "octopi"]
    assert len(paths) > 20
    assert [p for p in paths if not any((base / p).exists() for base in bases)] == []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link).exists(), link
