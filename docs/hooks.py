"""What the site takes from the code at build: command help, costs of networks, lists of files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from octopi.cli.help import command_summary, help_text
from octopi.config.files import COMMANDS, choices

ROOT = Path(__file__).resolve().parents[1]
NUM_CLASSES = 6  # five objects and the background
CROP = (64, 64, 64)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The pictures of the benchmarks are pictures of the site too."""
    for name in ("parallel.png", "folds.png"):
        path = str(ROOT / "benchmarks" / "exploration" / name)
        files.append(File.generated(config, f"images/{name}", abs_src_path=path))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with every `{{ name }}` replaced by what the code says."""
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: PARTS[found[1]](), markdown)


def commands() -> str:
    """The help of every command."""
    return "\n\n".join(
        f"## {verb}\n\n{command_summary(verb)}\n\n```text\n{help_text(verb).rstrip()}\n```"
        for verb in COMMANDS
    )


def models() -> str:
    """Every choice of the group model, with what it costs."""
    from octopi.cli.python_api import compose  # noqa: PLC0415  slow to import, and only this page needs it
    from octopi.config.build import build  # noqa: PLC0415
    from octopi.models.properties import network_costs  # noqa: PLC0415

    lines = ["| `model=` | parameters | GFLOP | what |", "|---|---:|---:|---|"]
    for name in choices("model"):
        settings: Any = compose("train", ["project.config=none", f"model={name}"])[0]
        costs = network_costs(build(settings.model, "model", out_channels=NUM_CLASSES), CROP)
        parameters, flop = costs["parameters"] / 1e6, costs["inference_gflop"]
        lines.append(f"| `{name}` | {parameters:.1f} | {flop:,.0f} | {described(name)} |")
    return "\n".join(lines)


def described(model: str) -> str:
    """The first line of a model's file, without what the table says anyway."""
    first = (ROOT / "conf" / "model" / f"{model}.yaml").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ").split(";")[0]


def outputs() -> str:
    """The README of the outputs folder, without its heading."""
    return (ROOT / "outputs" / "README.md").read_text(encoding="utf-8").partition("\n")[2].strip()


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "models": models,
    "outputs": outputs,
}
