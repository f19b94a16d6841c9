"""A search that is killed twice, and folds whose thresholds are calibrated together.

    python benchmarks/exploration.py search
    python benchmarks/exploration.py folds

On the simulated phantom (see accuracy.py), small nets and few epochs. Prints one JSON line; tables
and pictures are in the folder that --out names.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data" / "phantom-dev"
TRAIN = "TS_01,TS_02,TS_03,TS_04"
SHORT = ["experiment=czii", f"runs=[{TRAIN}]", "trainer.check_val_every_n_epoch=1"]
SEARCH = [
    "search=unet",
    "fold=0",
    "data.crop_size=[32,64,64]",
    "data.crops_per_step=2",
    "data.steps_per_epoch=25",
    "trainer.max_epochs=4",
    "optim.lr_scheduler.warmup_steps=10",
    "callbacks.weight_averaging.decay=0.95",
    "predictor.num_sides=1",
    "pruner.n_startup_trials=3",
    "pruner.n_warmup_steps=1",
]
FOLDS = [
    "fold=0,1,2",
    "num_folds=3",
    "data.steps_per_epoch=50",
    "trainer.max_epochs=6",
    "trainer.check_val_every_n_epoch=6",
    "optim.lr_scheduler.warmup_steps=40",
    "callbacks.weight_averaging.decay=0.98",
    "predictor.num_sides=4",
]


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["search", "folds"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/exploration"))
    parser.add_argument("--trials", type=int, default=12)
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = out / "phantom.json"
    maker = [sys.executable, str(args.data / "make_config.py"), str(out / "overlay"), str(config)]
    subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
    os.environ["OCTOPI_PROJECT"] = str(config)
    os.chdir(out)
    targets = [sys.executable, "-m", "octopi.create_targets", "experiment=czii", f"runs=[{TRAIN}]"]
    subprocess.run(targets, check=True)
    print(json.dumps(search(out, args.trials) if args.what == "search" else folds(out)))


def sweep(folder: Path, words: list[str]) -> subprocess.Popen:
    """Start a sweep."""
    command = [sys.executable, "-m", "octopi.train", "-m", *SHORT, *words]
    return subprocess.Popen([*command, f"hydra.sweep.dir={folder}"])


def digests(folder: Path) -> dict[str, str]:
    """List every file of every finished trial."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for trial in folder.glob("trial_*")
        if (trial / "outcome.json").exists()
        for path in sorted(trial.rglob("*"))
        if path.is_file()
    }


def search(out: Path, trials: int) -> dict[str, object]:
    """Run a search that is killed after a third and after two thirds of its trials."""
    folder, began = out / "search", time.monotonic()
    words = [*SEARCH, f"hydra.sweeper.n_trials={trials}"]
    kept, unchanged = {}, True
    for part in (1, 2):
        process = sweep(folder, words)
        while len(list(folder.glob("trial_*/outcome.json"))) < part * trials // 3:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(20)  # trainings whose sweep is gone write a checkpoint and stop
        now = digests(folder)
        unchanged &= kept.items() <= now.items()
        kept = now
    code = sweep(folder, words).wait()
    results = yaml.safe_load((folder / "optimization_results.yaml").read_text(encoding="utf-8"))
    return {
        "benchmark": "search",
        "exit_code": code,
        "trials": results["trials"],
        "finished_trials_unchanged": unchanged and kept.items() <= digests(folder).items(),
        "best": results.get("best"),
        "seconds": round(time.monotonic() - began),
    }


def folds(out: Path) -> dict[str, object]:
    """Three folds; each is scored at thresholds that it had no part in."""
    folder, began = out / "folds", time.monotonic()
    code = sweep(folder, FOLDS).wait()
    scores = json.loads((folder / "results.json").read_text(encoding="utf-8"))["scores"]
    pooled = {
        way: {
            "weighted": report["pooled"]["total"],
            "interval": report["pooled"]["interval"],
            "mean_f1": report["pooled"]["mean_f1"],
        }
        for way, report in scores.items()
    }
    seconds = round(time.monotonic() - began)
    return {"benchmark": "folds", "exit_code": code, "scores": pooled, "seconds": seconds}


if __name__ == "__main__":
    main()
