"""Run one case of a folder of cases, and demand of each dry run, and of check, what the work says.

    python both_ways.py CASE.py

A case is a program that runs commands by the function `run` of its neighbour, `_tiny.py` or
`_faults.py`. Ends with 1 and a line for each command whose dry run, or `check`, judges otherwise
than the command itself. What strikes work that has begun, no check can know: where the neighbour
is `_faults.py`, a command that was killed, found the disk full or had changed files before it
failed is not compared.
"""

import contextlib
import importlib.util
import re
import runpy
import sys
from pathlib import Path
from typing import Any

CHECKED = ("create_targets", "train")  # that start where `check` says so
OF_CHECK = ("tomo_types", "runs", "voxel_spacing", "project")  # settings that it has too
NO_DRY_RUN = ("check", "doctor")
ELSEWHERE = (2, 4, 7)  # exit codes of a setting, the job folder, another process: not of data
NEIGHBOURS = ("_faults", "_tiny")
FULL = "No space left"


def main(case: Path) -> int:
    """Run a case; return 1 where a check and the work disagree."""
    sys.path[:0] = [str(case.parent), str(case.parents[1])]  # what it and its neighbours import
    name = next(name for name in NEIGHBOURS if importlib.util.find_spec(name))
    neighbour = importlib.import_module(name)
    run, disagreements = neighbour.run, []

    def run_both_ways(verb: str, *words: Any, **options: Any) -> Any:
        texts = list(map(str, words))
        plain = not any(word.startswith(("-", "dry_run")) for word in texts)
        befores = {}
        if plain and verb not in NO_DRY_RUN:
            befores["its dry run"] = run(verb, *words, "dry_run=true", **options)
        if plain and verb in CHECKED and "segmentations=" not in " ".join(texts):
            shared = [word for word in texts if word.split("=")[0].split(".")[0] in OF_CHECK]
            befores["check"] = run("check", *shared, **options)
        files = _files(options["folder"])
        done = run(verb, *words, **options)
        if (
            name == "_faults"
            and done.code
            and (done.code < 0 or FULL in done.said or _files(options["folder"]) != files)
        ):
            return done
        for kind, before in befores.items():
            if kind == "check" and (before.code or done.code in ELSEWHERE):
                continue
            if bool(before.code) != bool(done.code) or (
                kind != "check" and _message(before) != _message(done)
            ):
                disagreements.append(
                    f"{verb} {' '.join(texts)}: {kind} ends with {before.code} "
                    f"({_message(before)}), the work with {done.code} ({_message(done)})"
                )
        return done

    neighbour.run = run_both_ways
    with contextlib.suppress(SystemExit):
        runpy.run_path(str(case), run_name="__main__")
    sys.stdout.write("\n".join(disagreements) + "\n")
    return int(bool(disagreements))


def _message(answer: Any) -> str:
    """Return what a command said at its end, from `octopi:` on."""
    if hasattr(answer, "message"):
        return str(answer.message)
    return (re.findall(r"^octopi: .*", answer.said, re.MULTILINE) or [""])[-1]


def _files(folder: Path) -> dict[Path, int]:
    """Return when each file below a folder was changed, but for what a command said."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".said")
    return {path: path.stat().st_mtime_ns for path in files}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
