"""Run one case of a folder of cases, and demand of each dry run, and of check, what the work says.

    python both_ways.py CASE.py

A case is a program that runs commands by the function `run` of its neighbour `_tiny.py`. Ends with
1 and a line for each command whose dry run, or `check`, judges otherwise than the command itself.
"""

import contextlib
import runpy
import sys
from pathlib import Path
from typing import Any

CHECKED = ("create_targets", "train")  # that start where `check` says so
OF_CHECK = ("tomo_types", "runs", "voxel_spacing", "project")  # settings that it has too
NO_DRY_RUN = ("check", "doctor")
SETTING = 2  # exit code of a setting, which `check` is not asked about


def main(case: Path) -> int:
    """Run a case; return 1 where a check and the work disagree."""
    sys.path[:0] = [str(case.parent), str(case.parents[1])]  # what it and its neighbours import
    import _tiny

    run, disagreements = _tiny.run, []

    def run_both_ways(verb: str, *words: Any, **options: Any) -> Any:
        texts = list(map(str, words))
        plain = not any(word.startswith(("-", "dry_run", "hydra.run.dir")) for word in texts)
        befores = {}
        if plain and verb not in NO_DRY_RUN:
            befores["its dry run"] = run(verb, *words, "dry_run=true", **options)
        if plain and verb in CHECKED and "segmentations=" not in " ".join(texts):
            shared = [word for word in texts if word.split("=")[0].split(".")[0] in OF_CHECK]
            befores["check"] = run("check", *shared, **options)
        done = run(verb, *words, **options)
        for name, before in befores.items():
            if name == "check" and (before.code or done.code == SETTING):
                continue
            if bool(before.code) != bool(done.code) or (
                name != "check" and before.message != done.message
            ):
                disagreements.append(
                    f"{verb} {' '.join(texts)}: {name} ends with {before.code} ({before.message}), "
                    f"the work with {done.code} ({done.message})"
                )
        return done

    _tiny.run = run_both_ways
    with contextlib.suppress(SystemExit):
        runpy.run_path(str(case), run_name="__main__")
    sys.stdout.write("\n".join(disagreements) + "\n")
    return int(bool(disagreements))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
