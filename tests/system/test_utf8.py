"""A locale that is not UTF-8 changes nothing: what is read, written and said is UTF-8."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import octopi

TESTS = Path(__file__).parents[1]
PACKAGE = Path(octopi.__file__).parent
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SCRIPT = str(Path(sys.executable).with_name("octopi"))


def under_ascii(*command, **options):
    return subprocess.run(
        command,
        env=os.environ | ASCII,
        capture_output=True,
        encoding="utf-8",
        check=False,
        **options,
    )


def test_the_locale_of_these_tests_is_ascii():
    answer = under_ascii(sys.executable, "-c", "import locale; print(locale.getencoding())")
    assert answer.stdout.strip() not in ("", "UTF-8", "utf-8")


@pytest.mark.parametrize("form", [[SCRIPT, "train"], [sys.executable, "-m", "octopi.train"]])
def test_help_is_written_under_an_ascii_locale(form):
    answer = under_ascii(*form, "--help")
    assert answer.returncode == 0, answer.stderr
    assert "GROUP=CHOICE …" in answer.stdout


def test_objects_and_paths_with_accents_work_under_an_ascii_locale(here):
    config = (here / "project.json").read_text(encoding="utf-8")
    (here / "project.json").write_text(config.replace("ribosome", "ribosóm-β"), encoding="utf-8")
    for picks in here.rglob("Picks/curation_0_ribosome.json"):
        content = picks.read_text(encoding="utf-8").replace("ribosome", "ribosóm-β")
        for user in ("curation_0", "octopi_1"):
            named = picks.with_name(as_path(f"{user}_ribosóm-β.json"))
            named.write_text(content.replace("curation", "octopi"), encoding="utf-8")
    folder = as_path("größe")
    words = ["truth=curation/0", "objects=['ribosóm-β']", f"hydra.run.dir='{folder}'"]
    command = [sys.executable, "-m", "octopi.evaluate", *map(as_path, words)]
    answer = under_ascii(*command, cwd=here)
    assert answer.returncode == 0, answer.stderr
    scores = json.loads((here / folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["scores"]["ribosóm-β"]["tp"] == 6
    log = (here / folder / "evaluate.log").read_text(encoding="utf-8")
    assert "ribosóm-β" in log
    assert "ribosóm-β" in answer.stderr


def as_path(text: str) -> str:
    """The text as Python gets it from a path or a command line, under any locale."""
    return os.fsdecode(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=lambda folder: folder.name)
def test_every_text_file_is_opened_with_an_encoding(folder):
    """Ruff's PLW1514 sees only the paths whose type it can infer."""
    without = [
        f"{path}:{call.lineno}"
        for path in folder.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and _takes_the_locales_encoding(call)
    ]
    assert without == []


def _takes_the_locales_encoding(call: ast.Call) -> bool:
    keywords = {keyword.arg for keyword in call.keywords}
    if "encoding" in keywords or not isinstance(call.func, ast.Attribute):
        return False
    mode = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    return (
        call.func.attr in ("read_text", "write_text")
        or (call.func.attr == "open" and mode in ("r", "w", "a"))
        or (call.func.attr in ("run", "Popen", "check_output") and "text" in keywords)
    )
