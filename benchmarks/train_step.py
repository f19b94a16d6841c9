"""A training step on both sides: cutting and augmenting crops, and computing with them.

python benchmarks/train_step.py [--peer PEER/bin/python]

Both sides train the same network (1.1 M parameters, Tversky loss, AdamW, moving average of the
weights) on 4 crops of 64³ a step, in one process with fixed threads. Data is everything between
two steps; compute is forward, loss, backward, optimizer and average. Validation is not part of it.
"""

import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parts.jobs import NET, octopi, peer_octopi, picks_words, watched
from parts.side_by_side import Benchmark, Clock, Figure, Sizes, Turn, main
from parts.synthetic import SESSION, TOMO_TYPE, USER, VOXEL_SPACING, config_of, write_project

WARM_UP = 2  # steps


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
    """Run a short training and measure it; the tomograms are cached before its first step."""
    watch = watched(folder, sizes, steps=WARM_UP + sizes["steps"])
    return _told(watch.data[WARM_UP:], watch.compute[WARM_UP:])


def peer(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Run the peer's own transforms on one tomogram per step, and its own training step."""
    import warnings
    from importlib import import_module

    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(sizes["threads"])
    generators = import_module("octopi.datasets.generators")
    helpers = import_module("octopi.datasets.helpers")
    augment = import_module("octopi.datasets.augment")
    config, target = str(config_of(folder, "peer")), ("targets", "1", "octopi")
    uri = f"{TOMO_TYPE}@{VOXEL_SPACING}"
    module = generators.CopickDataModule(config, [uri], *target)
    name, session, user = target
    found = helpers.get_class_info(
        config, list(module.allRunIDs), (name, session, user), VOXEL_SPACING
    )
    classes = found[0]
    draw = augment.get_random_transforms((sizes["crop"],) * 3, sizes["crops"], classes, 0.0)
    load = augment.get_transforms()
    where = helpers.build_target_uri(name, session, user, VOXEL_SPACING)
    items = [
        {"run": run, "root": config, "vol_uri": uri, "target_uri": where}
        for run in module.allRunIDs
    ]
    trainer = _peer_trainer(classes)
    data, compute = [], []
    for step in range(WARM_UP + sizes["steps"]):
        clock = Clock()
        crops = draw(load(items[step % len(items)]))
        batch = {
            key: torch.stack([torch.as_tensor(crop[key]) for crop in crops])
            for key in ("image", "label")
        }
        data.append(clock.read())
        trainer.train_loader = [batch]
        clock = Clock()
        trainer.train_update()
        compute.append(clock.read())
    return _told(data[WARM_UP:], compute[WARM_UP:])


def _peer_trainer(classes: int) -> Any:
    """Build the peer's trainer, with its own network, optimizer and average."""
    from importlib import import_module

    import torch
    from monai.losses.tversky import TverskyLoss

    models = import_module("octopi.models.properties.common")
    training = import_module("octopi.pytorch.trainer")
    node = {"architecture": "Unet", "num_classes": classes, **NET}
    net = models.get_model("Unet").build_model(node)
    loss = TverskyLoss(include_background=True, to_onehot_y=True, softmax=True, alpha=0.3, beta=0.7)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-3)
    return training.ModelTrainer(net, torch.device("cpu"), loss, None, optimizer)


def _told(
    data: Sequence[tuple[float, float]], compute: Sequence[tuple[float, float]]
) -> dict[str, float]:
    """Return the median step."""
    out = {}
    for name, steps in (("data", data), ("compute", compute)):
        out[f"{name}.seconds"] = statistics.median(seconds for seconds, _ in steps)
        out[f"{name}.cpu"] = statistics.median(cpu for _, cpu in steps)
    out["share"] = out["data.cpu"] / out["compute.cpu"]
    return out


BENCHMARK = Benchmark(
    script=__file__,
    title="Training step on 184×630×630 tomograms, 4 crops of 64³, augmentation, 1.1 M parameters",
    sizes={
        "shape": [184, 630, 630],
        "runs": 2,
        "particles_per_object": 150,
        "crop": 64,
        "crops": 4,
        "steps": 8,
    },
    small={"shape": [72, 160, 160], "particles_per_object": 10, "crop": 32, "steps": 3},
    turns=[
        Turn(
            "step",
            figures=[
                Figure("data.cpu", "data of a step", "CPU s", must="≤ 0.15"),
                Figure("data.seconds", "data of a step, wall", "s"),
                Figure("share", "data of a step / its compute", "", aim="≤ 0.1"),
                Figure("compute.cpu", "compute of a step", "CPU s", must="≤ 1.0×", aim="≤ 0.6×"),
                Figure("compute.seconds", "compute of a step, wall", "s"),
                Figure("process.gb", "training, peak memory", "GB"),
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
