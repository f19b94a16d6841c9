"""Accuracy of octopi 1.7.0 on the phantom, with the same runs, scorer and compute as accuracy.py.

    python benchmarks/peer_accuracy.py --peer PEER/bin/python --seed 1

PEER is a virtual environment of its own with octopi==1.7.0: both packages import as `octopi`. Its
own pipeline runs end to end with the settings its documentation recommends for such data; picks
are scored by `octopi evaluate scorer=czii` of this repository. 1.7.0 refuses to segment without
CUDA, so its Predictor is told that there is a device and given the CPU; all else is its own code.
Prints one JSON line.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data" / "phantom-dev"
SEGMENT = """
import sys, torch
torch.cuda.device_count = lambda: 1
from octopi.pytorch.inference import Predictor
config, folder, runs = sys.argv[1:]
predictor = Predictor(config, f"{folder}/model_config.yaml", f"{folder}/best_model.pth",
                      ntta=4, device=torch.device("cpu"))
predictor.batch_predict(runIDs=runs.split(","), voxel_spacing=10.012, tomo_algorithm="denoised")
"""
SEEDED = "import sys, torch, numpy, random; s = int(sys.argv.pop(1)); torch.manual_seed(s); "
SEEDED += "numpy.random.seed(s); random.seed(s); from octopi.main import routines as m; m()"


def main() -> None:
    """Run the peer's four commands and our scorer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/peer_accuracy"))
    parser.add_argument("--train", default="TS_01,TS_02,TS_03,TS_04")
    parser.add_argument("--validate", default="TS_04", help="also trained on: nothing is held out")
    parser.add_argument("--test", default="TS_05,TS_06")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=160, help="4 steps each, as 4 runs train")
    args = parser.parse_args()
    out = (args.out / f"seed{args.seed}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = out / "phantom.json"
    maker = [sys.executable, str(args.data / "make_config.py"), str(out / "overlay"), str(config)]
    subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
    seconds = {name: timed(words, out) for name, words in commands(args, out, config).items()}
    print(json.dumps(result(args, out, config, seconds)))


def commands(args: argparse.Namespace, out: Path, config: Path) -> dict[str, list[str]]:
    """Return the peer's command lines."""
    octopi = [str(args.peer), "-c", SEEDED, str(args.seed)]
    uri = ["--tomo-uri", "denoised@10.012"]
    own = ["-c", str(config)]
    labels = json.loads(config.read_text(encoding="utf-8"))["pickable_objects"]
    targets = [
        word
        for item in labels
        if item["is_particle"]
        for word in ("-t", f"{item['name']}:data-portal/1")
    ]
    net = ["--channels", "48,64,80,80", "--strides", "2,2,1", "--dim-in", "64", "-bs", "4"]
    length = ["-nepochs", str(args.epochs), "--val-interval", str(max(1, args.epochs // 4))]
    split = ["-truns", args.train, "-vruns", args.validate]
    model = out / "model"
    return {
        "create_targets": [*octopi, "create-targets", *own, *targets, *uri, "-runs", args.train],
        "train": [*octopi, "train", *own, *uri, *split, *net, *length, "-o", str(model)],
        "segment": [str(args.peer), "-c", SEGMENT, str(config), str(model), args.test],
        "localize": [
            *octopi,
            "localize",
            *own,
            "-vs",
            "10.012",
            "--runIDs",
            args.test,
            "-np",
            "1",
        ],
    }


def timed(words: list[str], out: Path) -> dict[str, float]:
    """Wall and CPU seconds of a command."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (out / "output.txt").open("a", encoding="utf-8") as log:
        subprocess.run(words, check=True, cwd=out, env=own, stdout=log, stderr=subprocess.STDOUT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(time.monotonic() - began, 1), "cpu": round(cpu, 1)}


def result(
    args: argparse.Namespace, out: Path, config: Path, seconds: dict[str, dict[str, float]]
) -> dict[str, object]:
    """Score this run with our scorer."""
    words = ["experiment=czii", "scorer=czii", f"runs=[{args.test}]"]
    subprocess.run(
        [sys.executable, "-m", "octopi.evaluate", *words, f"hydra.run.dir={out / 'evaluate'}"],
        check=True,
        env=os.environ | {"OCTOPI_PROJECT": str(config)},
        cwd=out,
    )
    report = json.loads((out / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    return {
        "benchmark": "peer_accuracy",
        "seed": args.seed,
        "weighted_f4": round(report["total"], 4),
        "mean_f1": round(report["mean_f1"], 4),
        "f1": {name: round(s["f1"], 3) for name, s in report["scores"].items()},
        "f4": {name: round(s["fbeta"], 3) for name, s in report["scores"].items()},
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
