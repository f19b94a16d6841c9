"""Fill the site's pages with what the code knows: commands, costs of networks, lists of files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from octopi.cli.help import command_summary, help_text
from octopi.config.build import build
from octopi.config.files import COMMANDS, choices
from octopi.config.overrides import compose_config
from octopi.models.properties import network_costs
from octopi.system.files import to_builtin_types

ROOT = Path(__file__).resolve().parents[1]
NUM_CLASSES = 6  # five objects and the background
CROP_SIZE = (64, 64, 64)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pictures of the benchmarks to those of the site."""
    for name in ("parallel.png", "folds.png"):
        path = str(ROOT / "benchmarks" / "exploration" / name)
        files.append(File.generated(config, f"images/{name}", abs_src_path=path))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every `{{ name }}` of a page by the part of that name."""
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: PARTS[match[1]](), markdown)


def commands() -> str:
    """Write the help of every command."""
    return "\n\n".join(
        f"## {verb}\n\n{command_summary(verb)}\n\n```text\n{help_text(verb).rstrip()}\n```"
        for verb in COMMANDS
    )


def models() -> str:
    """Write a table of the choices of the group model, with their costs."""
    lines = ["| `model=` | parameters | GFLOP | what |", "|---|---:|---:|---|"]
    for name in choices("model"):
        node: Any = to_builtin_types(compose_config("train", [f"model={name}"]).model)
        costs = network_costs(build(node, "model", out_channels=NUM_CLASSES), CROP_SIZE)
        parameters, flop = costs["parameters"] / 1e6, costs["inference_gflop"]
        lines.append(f"| `{name}` | {parameters:.1f} | {flop:,.0f} | {describe_model(name)} |")
    return "\n".join(lines)


def describe_model(name: str) -> str:
    """Return the first line of a model's file, up to a semicolon."""
    text = (ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.splitlines()[0].removeprefix("# ").split(";")[0]


def outputs() -> str:
    """Return the README of the outputs folder without its heading."""
    return (ROOT / "outputs" / "README.md").read_text(encoding="utf-8").partition("\n")[2].strip()


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "models": models,
    "outputs": outputs,
}
