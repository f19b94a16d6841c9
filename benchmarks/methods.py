"""Methods of training compared with the recipe: a list of overrides for `octopi compare`.

    python benchmarks/methods.py --seeds 1 2 3 --cpu-seconds 3600

Needs ../shared/data/phantom-dev, or another folder with a make_config.py beside it (--data).
Started again, it trains only what is missing. The table is in OUT/comparison/comparison.md.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from accuracy import DATA

# Each is the recipe with these overrides; --only chooses some by their place, from 0.
METHODS = [
    "mix=mixup",
    "mix=cutmix",
    "augment=fourier ~augment.spectrum ~augment.defocus",
    "augment=fourier ~augment.wedge ~augment.defocus",
    "augment=fourier ~augment.wedge ~augment.spectrum",
    "loss.weights=frequency",
    "loss.label_smoothing=0.1",
    "model=segresnet",
    "model=unet_plus_plus model.deep_supervision=true",
    "callbacks=swa",
    "data.crop_size=[32,96,96]",
    "model=unet",
    "loss=tversky",
    "num_folds=2",
]


def main() -> None:
    """Make the project and its targets where they are missing, and compare the methods."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark/methods"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cpu-seconds", type=float, default=3600)
    parser.add_argument("--only", type=int, nargs="+", default=range(len(METHODS)))
    parser.add_argument("--base", default="experiment=czii", help="overrides of the recipe")
    arguments = parser.parse_args()
    if not (arguments.data / "make_config.py").exists():
        sys.exit(f"{arguments.data} is not there: this benchmark needs the phantom's data.")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = out / "phantom.json"
    environment = os.environ | {"OCTOPI_PROJECT": str(config)}
    if not config.exists():
        maker = [sys.executable, arguments.data / "make_config.py", out / "overlay", config]
        subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
    methods = ",".join(f'"{METHODS[number]}"' for number in arguments.only)
    target_keys = ("experiment=", "targets.", "data.working_spacing=")
    commands = {
        "create_targets": [t for t in shlex.split(arguments.base) if t.startswith(target_keys)],
        "compare": [
            f'base="{arguments.base}"',
            f"methods=[{methods}]",
            f"seeds={arguments.seeds}",
            f"cpu_seconds={arguments.cpu_seconds}",
            f"hydra.run.dir={out / 'comparison'}",
        ],
    }
    for verb, overrides in commands.items():
        command = [sys.executable, "-m", f"octopi.{verb}", *overrides]
        subprocess.run(command, check=True, cwd=out, env=environment)


if __name__ == "__main__":
    main()
