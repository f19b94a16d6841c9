"""`octopi --help` on both sides.

python benchmarks/help.py [--peer PEER/bin/python]
"""

import sys
from pathlib import Path

from parts.side_by_side import Benchmark, Figure, Sizes, Turn, main, spawn


def help_of(folder: Path, _sizes: Sizes) -> dict[str, float]:
    """Measure the help of this side's console script."""
    spent = spawn([str(Path(sys.executable).with_name("octopi")), "--help"], folder / "help.txt")
    return {"seconds": spent.seconds, "cpu": spent.cpu, "gb": spent.gigabytes}


BENCHMARK = Benchmark(
    script=__file__,
    title="octopi --help",
    sizes={},
    small={},
    turns=[
        Turn(
            "help",
            figures=[
                Figure("seconds", "octopi --help", "s", must="≤ 0.3", aim="≤ 0.15"),
                Figure("cpu", "octopi --help, CPU", "CPU s"),
                Figure("gb", "octopi --help, peak memory", "GB"),
            ],
            ours=help_of,
            peer=help_of,
            repeats=11,
            warm_up=1,
        )
    ],
)

if __name__ == "__main__":
    main(BENCHMARK)
