"""Accuracy of `experiment=czii` on a simulated phantom: train on some runs, score on others.

    python benchmarks/accuracy.py --seed 1 --minutes 30

Needs ../shared/data/phantom-dev, or another folder with a make_config.py beside it (--data).
Prints one JSON line: the challenge's weighted F-beta, the mean F1 and the score of each object, at
thresholds that the scored runs had no part in.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data" / "phantom-dev"


def main() -> None:
    """Run the five commands as a user would, and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/accuracy"))
    parser.add_argument("--train", default="TS_01,TS_02,TS_03,TS_04")
    parser.add_argument("--test", default="TS_05,TS_06")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("words", nargs="*", help="further overrides of the training")
    args = parser.parse_args()
    if not (args.data / "make_config.py").exists():
        sys.exit(f"{args.data} is not there: this benchmark needs the phantom's data.")
    out = (args.out / f"seed{args.seed}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = out / "phantom.json"
    maker = [sys.executable, str(args.data / "make_config.py"), str(out / "overlay"), str(config)]
    subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
    seconds = commands(args, out, config)
    print(json.dumps(result(args, out, seconds)))


def commands(args: argparse.Namespace, out: Path, config: Path) -> dict[str, float]:
    """Wall seconds of each command."""
    limit = f"00:{args.minutes // 60:02}:{args.minutes % 60:02}:00"
    job = out / "train"
    train, test = f"runs=[{args.train}]", f"runs=[{args.test}]"
    model = f"checkpoint={job / 'best_model.pth'}"
    steps = {
        "create_targets": [train],
        "train": [
            train,
            f"seed={args.seed}",
            f"trainer.max_time='{limit}'",
            f"hydra.run.dir={job}",
            *args.words,
        ],
        "segment": [test, model],
        "localize": [test, model, "thresholds_from=training"],
        "evaluate": [test, "scorer=czii", f"hydra.run.dir={out / 'evaluate'}"],
    }
    seconds = {}
    for verb, words in steps.items():
        began = time.monotonic()
        command = [sys.executable, "-m", f"octopi.{verb}", "experiment=czii", *words]
        environment = os.environ | {"OCTOPI_PROJECT": str(config)}
        subprocess.run(command, check=True, cwd=out, env=environment)
        seconds[verb] = round(time.monotonic() - began, 1)
    return seconds


def result(args: argparse.Namespace, out: Path, seconds: dict[str, float]) -> dict[str, object]:
    """Return the figures of this run."""
    report = json.loads((out / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    return {
        "benchmark": "accuracy",
        "seed": args.seed,
        "minutes": args.minutes,
        "weighted_f4": round(report["total"], 4),
        "mean_f1": round(report["mean_f1"], 4),
        "f1": {name: round(s["f1"], 3) for name, s in report["scores"].items()},
        "f4": {name: round(s["fbeta"], 3) for name, s in report["scores"].items()},
        "seconds": seconds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


if __name__ == "__main__":
    main()
