"""Versions of octopi and of the packages that decide its results."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

PACKAGES = ("octopi", "torch", "pytorch-lightning", "monai", "copick", "hydra-core", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def git_commit() -> str | None:
    """Return the commit of this code, with a '+' if it was changed; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
            encoding="utf-8",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
