"""Wait for what other processes do."""

import time
from collections.abc import Callable
from typing import Any


def wait_until(
    condition: Callable[[], Any], *, seconds: float = 120, seconds_between: float = 0.02
) -> Any:
    """Return the condition's value as soon as it is true, of looks with some seconds between."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"It did not happen in {seconds} s."
        time.sleep(seconds_between)
    return value
