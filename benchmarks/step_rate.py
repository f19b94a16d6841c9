r"""How near a training step of a network comes to the processor's matrix products.

    python benchmarks/step_rate.py unet_deep mednext
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
        python benchmarks/step_rate.py --float32

Names are choices of `model=`. One thread, two crops of 32×64×64, forward, loss and backward, turn
about; medians. A line for each: CPU seconds, GFLOP, GFLOP a CPU-second, and the same of a matrix
product of 2,048² in float32.
"""

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from octopi.cli.python_api import compose
from octopi.config.build import build
from octopi.models.precision import autocast

CLASSES, CROPS, EDGE = 7, (2, 1, 32, 64, 64), 2048


def main() -> None:
    """Time the networks turn about."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["unet_deep"])
    parser.add_argument("--float32", action="store_true", help="also where bf16 is faster")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    way = contextlib.nullcontext() if arguments.float32 else autocast(torch.device("cpu"))
    works = {name: step_of(build_net(name), way) for name in arguments.models}
    left, right = torch.randn(EDGE, EDGE), torch.randn(EDGE, EDGE)
    works["product"] = lambda: left @ right
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(2 + arguments.repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn > 1:  # two to warm up
                seconds[name].append(time.process_time() - start)
    product_rate = 2 * EDGE**3 / statistics.median(seconds["product"]) / 1e9
    for name in arguments.models:
        with FlopCounterMode(display=False) as counter:
            works[name]()
        gflop, median = counter.get_total_flops() / 1e9, statistics.median(seconds[name])
        row = {"cpu_seconds": median, "gflop": gflop, "rate": gflop / median}
        row |= {"product_rate": product_rate, "share": gflop / median / product_rate}
        rounded = {key: round(value, 3) for key, value in row.items()}
        print(json.dumps({"model": name, **rounded}))


def build_net(name: str) -> nn.Module:
    """Build a network of seven classes."""
    settings, _ = compose("train", ["project.config=none", f"model={name}"])
    return build(settings.model, "model", out_channels=CLASSES)


def step_of(net: nn.Module, way: contextlib.AbstractContextManager[object]) -> Callable[[], None]:
    """Return what computes a step of a network, in float32 or where `way` says so in 16 bits."""
    image, target = torch.randn(CROPS), torch.zeros(CROPS[0], *CROPS[2:], dtype=torch.long)

    def step() -> None:
        with way:
            logits = net(image)
        net.zero_grad()
        nn.functional.cross_entropy(logits.float(), target).backward()

    return step


if __name__ == "__main__":
    main()
