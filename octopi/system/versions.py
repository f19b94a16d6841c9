"""Versions of octopi and of what decides its results."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

PACKAGES = ("octopi", "torch", "pytorch-lightning", "monai", "copick", "hydra-core", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def git_commit() -> str | None:
    """The commit this code is at, with a '+' where it has been changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
            encoding="utf-8",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
