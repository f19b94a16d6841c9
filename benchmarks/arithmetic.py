"""Which arithmetic pays: float32, bf16, channels_last and torch.compile, in a step and in a window.

python benchmarks/arithmetic.py

The same network, crops and window each time, on the GPU where there is one. octopi takes what wins
here: see `octopi.models.precision`. What torch cannot compile has no figure.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parts.jobs import NET
from parts.side_by_side import Benchmark, Figure, Sizes, Turn, main

SMALL_NET = {"channels": [4, 8], "strides": [2]}  # which is compiled in seconds
WAYS = {
    "float32": "float32",
    "bf16": "bf16",
    "channels_last": "bf16, channels_last",
    "compiled": "bf16, torch.compile",
}


def step(_folder: Path, sizes: Sizes) -> dict[str, float]:
    """Forward, loss and backward of a batch of crops, in each way."""
    import torch

    def work(net: Any, image: Any) -> Callable[[], None]:
        target = torch.zeros(image.shape[0], *image.shape[2:], dtype=torch.long)
        target = target.to(image.device)

        def once() -> None:
            loss = torch.nn.functional.cross_entropy(net(image).float(), target)
            loss.backward()
            net.zero_grad()

        return once

    crop = [sizes["crop"]] * 3
    return _each_way([sizes["crops"], 1, *crop], sizes, work, train=True)


def window(_folder: Path, sizes: Sizes) -> dict[str, float]:
    """Measure the scores of one window, in each arithmetic."""
    import torch

    def work(net: Any, image: Any) -> Callable[[], None]:
        def once() -> None:
            with torch.inference_mode():
                net(image)

        return once

    return _each_way([1, 1, *sizes["window"]], sizes, work, train=False)


def _each_way(
    shape: list[int], sizes: Sizes, work: Callable[[Any, Any], Callable[[], None]], *, train: bool
) -> dict[str, float]:
    """Median seconds by way, and what compiling took."""
    import torch
    from monai.networks.nets.unet import UNet

    torch.manual_seed(0)
    torch.set_num_threads(sizes["threads"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out: dict[str, float] = {}
    for way in WAYS:
        net: Any = UNet(spatial_dims=3, in_channels=1, out_channels=6, **sizes["net"])
        net = net.to(device).train(train)
        image = torch.randn(shape, device=device)
        if way == "channels_last":
            net = net.to(memory_format=torch.channels_last_3d)
            image = image.to(memory_format=torch.channels_last_3d)
        if way == "compiled":
            net = torch.compile(net, dynamic=False)
        with torch.autocast(device.type, torch.bfloat16, enabled=way != "float32"):
            once = work(net, image)
            began = time.perf_counter()
            try:
                once()
            except RuntimeError as error:  # what inductor cannot compile
                print(f"{way}: {type(error).__name__}: {str(error)[:300]}")
                continue
            if way == "compiled":
                out["compiling"] = time.perf_counter() - began
            out[way] = statistics.median(_timed(once, device) for _ in range(sizes["times"]))
    return out


def _timed(once: Callable[[], None], device: Any) -> float:
    import torch

    began = time.perf_counter()
    once()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _figures(work: str) -> list[Figure]:
    figures = [Figure(key, f"{work}, {told}", "s") for key, told in WAYS.items()]
    return [*figures, Figure("compiling", f"{work}, compiling it", "s")]


BENCHMARK = Benchmark(
    script=__file__,
    title="A training step and a window of inference in float32, bf16, channels_last, compiled",
    sizes={"net": NET, "crop": 64, "crops": 4, "window": [96, 160, 160], "times": 5},
    small={"net": SMALL_NET, "crop": 32, "crops": 1, "window": [32, 64, 64], "times": 2},
    turns=[
        Turn("step", _figures("a step of 4 × 64³"), step, why_no_peer="it asks what octopi takes"),
        Turn("window", _figures("a window"), window, why_no_peer="it asks what octopi takes"),
    ],
)

if __name__ == "__main__":
    main(BENCHMARK)
