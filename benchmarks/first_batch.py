"""From the start of a training to its first batch: imports, network, cache, crops.

python benchmarks/first_batch.py [--peer PEER/bin/python]

Both sides run their real `train` command on 6 tomograms, 5 of which train, and end when the first
batch is there. The second job finds what the first one left behind.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from parts.jobs import PEER_MAIN, net_words, octopi, peer_octopi, picks_words
from parts.side_by_side import Benchmark, Figure, Sizes, Spent, Turn, main, spawn
from parts.synthetic import SESSION, TOMO_TYPE, USER, VOXEL_SPACING, config_of, write_project

NOTE = "first_batch.json"
# The peer's train command, which notes when its data begins and ends at the first batch.
PEER = (
    """
import sys, time
from pathlib import Path
note, parts = sys.argv[1:3]
sys.argv = ["octopi", *sys.argv[3:]]
sys.path.append(parts)
from octopi.datasets import generators
from octopi.pytorch import trainer
from parts.stopwatch import end_at_first_batch
spent = []
create = generators.CopickDataModule.create
def noted(*args, **named):
    spent.append(time.process_time())
    return create(*args, **named)
def stop(self):
    next(iter(self.train_loader))
    end_at_first_batch(Path(note), spent[0])
generators.CopickDataModule.create = noted
trainer.ModelTrainer.train_update = stop
"""
    + PEER_MAIN
)


def prepare(folder: Path, sizes: Sizes) -> None:
    """Write the project and our targets."""
    write_project(
        folder, sizes["shape"], num_runs=sizes["runs"], per_object=sizes["particles_per_object"]
    )
    subprocess.run(octopi("create_targets", folder, *picks_words()), check=True)


def prepare_peer(folder: Path, _sizes: Sizes) -> None:
    """Write the peer's targets."""
    words = ["-puid", USER, "-psid", SESSION, "-rs", "0.5", "-uri", f"{TOMO_TYPE}@{VOXEL_SPACING}"]
    subprocess.run(peer_octopi("create-targets", folder, *words), check=True)


def ours(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Run a job with an empty cache, then one with a full cache."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    crop = [sizes["crop"]] * 3
    words = [
        *net_words(),
        "loss=tversky",
        f"data.cache_dir={folder / 'cache'}",
        f"data.crop_size={crop}".replace(" ", ""),
        f"data.crops_per_step={sizes['crops']}",
        "trainer.accelerator=cpu",
        "trainer.enable_progress_bar=false",
        "+callbacks.first_batch._target_=parts.stopwatch.FirstBatch",
        f"+callbacks.first_batch.path={folder / NOTE}",
    ]
    command = octopi("train", folder, *words)
    return _twice(command, folder, cwd=Path(__file__).parent)


def peer(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Do the same with the peer."""
    config, parts = str(config_of(folder, "peer")), str(Path(__file__).parent)
    words = ["--tomo-uri", f"{TOMO_TYPE}@{VOXEL_SPACING}", "--dim-in", str(sizes["crop"])]
    words += ["-bs", str(sizes["crops"]), "-o", str(folder / "peer-model")]
    start = [sys.executable, "-c", PEER, str(folder / NOTE), parts]
    return _twice([*start, "train", "-c", config, *words], folder, cwd=folder)


def _twice(command: list[str], folder: Path, *, cwd: Path) -> dict[str, float]:
    """Measure what the command takes the first and the second time."""
    out: dict[str, float] = {}
    for name in ("first", "second"):
        spent: Spent = spawn(command, folder / f"{name}.txt", cwd=cwd)
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        (folder / NOTE).unlink()
        shutil.rmtree(folder / "jobs" / "train", ignore_errors=True)
        out[f"{name}.seconds"] = spent.seconds
        out[f"{name}.cpu"] = spent.cpu
        out[f"{name}.gb"] = spent.gigabytes
        out[f"{name}.before"] = note["cpu_before_data"]
    return out


BENCHMARK = Benchmark(
    script=__file__,
    title="From the start of a training on 6 tomograms of 184×630×630 to its first batch",
    sizes={
        "shape": [184, 630, 630],
        "runs": 6,
        "particles_per_object": 150,
        "crop": 64,
        "crops": 4,
    },
    small={"shape": [72, 160, 160], "particles_per_object": 10},
    turns=[
        Turn(
            "first_batch",
            figures=[
                Figure("second.before", "imports and network, before data", "CPU s", aim="≤ 3"),
                Figure("first.seconds", "first batch, nothing cached", "s", must="≤ 0.7×"),
                Figure("first.cpu", "first batch, nothing cached, CPU", "CPU s"),
                Figure("second.seconds", "first batch of the next job", "s", must="≤ 0.7×"),
                Figure("second.cpu", "first batch of the next job, CPU", "CPU s"),
                Figure("first.gb", "first batch, peak memory", "GB"),
            ],
            ours=ours,
            peer=peer,
        )
    ],
    prepare=prepare,
    prepare_peer=prepare_peer,
)

if __name__ == "__main__":
    main(BENCHMARK)
