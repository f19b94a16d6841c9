"""Segmentation on both sides with one and the same network, and of a whole tomogram by command.

python benchmarks/segment.py [--peer PEER/bin/python]

A volume in memory becomes a label volume, normalisation included; the network has random weights
and the predictor is the one a training puts beside its checkpoint. 1.7.0 refuses to segment
without CUDA, so its Predictor is told that there is a device and given the CPU; all else is its own
code, with its own defaults (windows of 96³ that overlap by half).
"""

from functools import partial
from pathlib import Path

from parts.jobs import NET, octopi, write_checkpoint
from parts.side_by_side import Benchmark, Clock, Figure, Sizes, Turn, main, spawn
from parts.synthetic import RADII, VOXEL_SPACING, config_of, write_configs, write_project

MODEL = "best_model.pth"


def prepare(folder: Path, sizes: Sizes) -> None:
    """Both sides' network, the volume and a project with the whole tomogram are there."""
    import numpy as np

    rng = np.random.default_rng(0)
    np.save(folder / "volume.npy", rng.standard_normal(sizes["shape"], dtype=np.float32))
    write_checkpoint(folder / MODEL, radii=RADII, seed=0)
    write_project(folder, sizes["whole_shape"], num_runs=1, per_object=5)


def prepare_peer(folder: Path, sizes: Sizes) -> None:
    """Write the peer's network."""
    from importlib import import_module

    import torch
    import yaml

    write_configs(folder, RADII)
    node = {"architecture": "Unet", "num_classes": len(RADII) + 1, "dim_in": sizes["peer_window"]}
    node |= NET
    torch.manual_seed(0)
    net = import_module("octopi.models.properties.common").get_model("Unet").build_model(node)
    torch.save(net.state_dict(), folder / "peer.pth")
    labels = {name: label for label, name in enumerate(RADII, start=1)}
    (folder / "peer.yaml").write_text(
        yaml.safe_dump({"model": node, "labels": labels}), encoding="utf-8"
    )


def ours(sides: int, folder: Path, sizes: Sizes) -> dict[str, float]:
    """Segment a volume in memory."""
    import numpy as np
    import torch

    from octopi.config.build import build
    from octopi.data.cache import prepare_volume
    from octopi.geometry import Grid
    from octopi.models import checkpoint

    torch.set_num_threads(sizes["threads"])
    volume = np.load(folder / "volume.npy")
    net, info = checkpoint.load(folder / MODEL)
    predictor = build({**info.predictor, "num_sides": sides}, "predictor")
    grid = Grid.cubic(volume.shape, VOXEL_SPACING)
    clock = Clock()
    scores = predictor(net, prepare_volume(volume, grid), divisor=info.size_divisor)
    labels = info.net_output.segmentation(scores)
    seconds, cpu = clock.read()
    assert labels.shape == volume.shape
    return {"seconds": seconds, "cpu": cpu, "passes": passes(volume.shape, predictor, info)}


def passes(shape: tuple[int, ...], predictor: object, info: object) -> float:
    """Voxels that go through the network for each voxel of the volume, by one side."""
    import math
    from typing import Any

    from octopi.inference.windows import num_windows

    told: Any = predictor
    known: Any = info
    looks, size = num_windows(shape, told.window_size, divisor=known.size_divisor, halo=told.halo)
    return looks * math.prod(size) / math.prod(shape)


def peer(sides: int, folder: Path, sizes: Sizes) -> dict[str, float]:
    """Do the same with the peer's Predictor."""
    import math
    from importlib import import_module

    import numpy as np
    import torch
    from monai.data.utils import dense_patch_slices

    torch.set_num_threads(sizes["threads"])
    torch.cuda.device_count = lambda: 1
    volume = np.load(folder / "volume.npy")
    predictor = import_module("octopi.pytorch.inference").Predictor(
        str(config_of(folder, "peer")),
        str(folder / "peer.yaml"),
        str(folder / "peer.pth"),
        ntta=sides,
        device=torch.device("cpu"),
    )
    clock = Clock()
    labels = predictor.predict(volume)
    seconds, cpu = clock.read()
    assert labels.shape == volume.shape
    window = [sizes["peer_window"]] * 3
    padded = [max(n, w) for n, w in zip(volume.shape, window, strict=True)]
    step = [w if n == w else w // 2 for n, w in zip(padded, window, strict=True)]
    looks = len(dense_patch_slices(padded, window, step))
    return {
        "seconds": seconds,
        "cpu": cpu,
        "passes": looks * math.prod(window) / math.prod(volume.shape),
    }


def whole(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Segment a whole tomogram by command, from the project to its score map."""
    words = [f"checkpoint={folder / MODEL}", "overwrite=true", "accelerator=cpu"]
    spent = spawn(octopi("segment", folder, *words), folder / "segment.txt")
    return {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}


BENCHMARK = Benchmark(
    script=__file__,
    title="Segmentation of 64×256×256 voxels in memory, and of a 184×630×630 tomogram by command",
    sizes={"shape": [64, 256, 256], "whole_shape": [184, 630, 630], "peer_window": 96},
    small={"shape": [32, 128, 128], "whole_shape": [64, 160, 160], "peer_window": 64},
    turns=[
        Turn(
            "once",
            figures=[
                Figure("cpu", "segment, no TTA", "CPU s", must="≤ 0.33×", aim="≤ 0.2×"),
                Figure("seconds", "segment, no TTA, wall", "s"),
                Figure("passes", "segment, volume passes", "", aim="≤ 1.2"),
                Figure("process.gb", "segment, no TTA, peak memory", "GB"),
            ],
            ours=partial(ours, 1),
            peer=partial(peer, 1),
        ),
        Turn(
            "tta",
            figures=[
                Figure("cpu", "segment, 4 TTA", "CPU s", must="≤ 0.33×", aim="≤ 0.2×"),
                Figure("seconds", "segment, 4 TTA, wall", "s"),
                Figure("process.gb", "segment, 4 TTA, peak memory", "GB"),
            ],
            ours=partial(ours, 4),
            peer=partial(peer, 4),
        ),
        Turn(
            "whole",
            figures=[
                Figure("seconds", "segment a whole tomogram", "s", must="≤ 240", aim="≤ 100"),
                Figure("cpu", "segment a whole tomogram, CPU", "CPU s"),
                Figure("gb", "segment a whole tomogram, memory", "GB", must="≤ 3", aim="≤ 2"),
            ],
            ours=whole,
            why_no_peer="1.7.0 refuses to segment without CUDA",
            repeats=2,
        ),
    ],
    prepare=prepare,
    prepare_peer=prepare_peer,
)

if __name__ == "__main__":
    main(BENCHMARK)
