"""What of this machine and environment would hinder octopi; every finding says what to do."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sqlite3
import sys
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from octopi import machine
from octopi.errors import ResourceError

OK, WARNING, PROBLEM = "ok", "warning", "problem"
MALICIOUS = {"2.6.2", "2.6.3"}  # of lightning and pytorch-lightning, GHSA-w37p-236h-pfx3
SQLITE = "sqlite:///"
PATIENCE = 5  # seconds for a server


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Args:
        what: was looked at.
        state: ok, warning or problem.
        text: what is there and, unless ok, what to do.
    """

    what: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:<8} {self.what:<10} {self.text}"


def of_python(bounds: str, version: str = platform.python_version()) -> Finding:
    """Whether this Python is one that octopi is made for."""
    if SpecifierSet(bounds).contains(version, prereleases=True):
        return Finding("python", OK, f"{version} at {sys.executable}")
    return Finding("python", PROBLEM, f"{version} is not {bounds}: make an environment with one.")


def of_packages(requirements: Iterable[str], installed: Mapping[str, str]) -> list[Finding]:
    """Whether each package that octopi needs is there, in a version that it takes.

    Args:
        requirements: as in pyproject.toml.
        installed: version of each package, by name.
    """
    faults, fine = [], []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, held = requirement.name, installed.get(_plain(requirement.name))
        if held is None:
            text = f"{name} is missing: pip install '{requirement.name}{requirement.specifier}'"
            faults.append(Finding("packages", PROBLEM, text))
        elif not requirement.specifier.contains(held, prereleases=True):
            text = f"{name} {held} is not {requirement.specifier}: pip install " + (
                f"'{requirement.name}{requirement.specifier}'"
            )
            faults.append(Finding("packages", PROBLEM, text))
        else:
            fine.append(f"{name} {held}")
    return faults or [Finding("packages", OK, f"{len(fine)} as asked: {', '.join(fine)}")]


def of_lightning(installed: Mapping[str, str]) -> Finding:
    """Whether one of the malicious versions of Lightning is installed."""
    for name in ("lightning", "pytorch-lightning"):
        if installed.get(name) in MALICIOUS:
            text = (
                f"{name} {installed[name]} steals credentials (GHSA-w37p-236h-pfx3). Uninstall it, "
                "replace every key and token this account holds, then: "
                "pip install 'pytorch-lightning>=2.6.6'"
            )
            return Finding("lightning", PROBLEM, text)
    return Finding("lightning", OK, "not one of the malicious versions")


def of_namesakes(
    ours: Path, search_path: Sequence[str], versions: Sequence[str], here: Path
) -> Finding:
    """Whether another package named octopi could be run in our place.

    Args:
        ours: folder of this package.
        search_path: as in sys.path.
        versions: of all installed distributions named octopi.
        here: the working folder.
    """
    cure = "Install octopi 2 into an environment of its own (python -m venv)."
    if len(set(versions)) > 1:
        shown = " and ".join(sorted(set(versions)))
        return Finding("octopi", PROBLEM, f"versions {shown} are installed together. {cure}")
    for entry in search_path:
        other = Path(entry or here, "octopi")
        if other.is_dir() and (other / "__init__.py").exists() and other.resolve() != ours:
            first = "comes before" if not _found_first(ours, search_path, entry) else "is beside"
            state = PROBLEM if first == "comes before" else WARNING
            return Finding("octopi", state, f"{other} {first} this octopi in {ours}. {cure}")
    if (here / "octopi" / "__init__.py").exists() and (here / "octopi").resolve() != ours:
        text = f"python -m octopi.train started in {here} would run the octopi that lies there."
        return Finding("octopi", WARNING, f"{text} Work in another folder.")
    script = shutil.which("octopi")
    beside = Path(sys.executable).parent
    if script and Path(script).parent.resolve() != beside.resolve():
        text = f"the octopi on the PATH is {script}, not that of {beside}. Activate one of them."
        return Finding("octopi", WARNING, text)
    return Finding("octopi", OK, f"{', '.join(versions) or 'not installed'} at {ours}")


def _found_first(ours: Path, search_path: Sequence[str], entry: str) -> bool:
    """Whether our package is found before what lies at an entry of the search path."""
    for earlier in search_path:
        if earlier == entry:
            return False
        if Path(earlier, "octopi").resolve() == ours:
            return True
    return False


def of_torch() -> list[Finding]:
    """Which device computes, and in what precision."""
    try:
        import torch  # noqa: PLC0415  may be what is broken

        from octopi.devices import computes_bf16  # noqa: PLC0415
    except (ImportError, OSError) as error:
        text = f"torch cannot be imported ({error}): install it again."
        return [Finding("torch", PROBLEM, text)]
    found = [Finding("torch", OK, str(torch.__version__))]
    driver = shutil.which("nvidia-smi")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            held = torch.cuda.get_device_properties(number)
            precision = "bf16" if computes_bf16("cuda") else "float32 (no bf16 in hardware)"
            text = f"{held.name}, {machine.amount(held.total_memory)}, computes in {precision}"
            found.append(Finding("gpu", OK, f"{text}, CUDA {torch.version.cuda}"))
    elif driver:
        why = "is built for CPUs" if torch.version.cuda is None else "finds the driver too old"
        text = (
            f"{driver} is there but torch sees no GPU: it {why}. Install torch for your driver, or "
            "update that: https://pytorch.org/get-started/locally"
        )
        found.append(Finding("gpu", WARNING, text))
    else:
        precision = "bf16" if computes_bf16("cpu") else "float32"
        found.append(Finding("gpu", OK, f"none; the CPU computes in {precision}"))
    return found


def of_machine(cores: int, memory: int, needed: float) -> list[Finding]:
    """Cores and RAM that this process may use.

    Args:
        cores: that it may keep busy.
        memory: bytes it can take.
        needed: bytes that a training should have.
    """
    held = f"{machine.amount(memory)} free for this process"
    ram = Finding("memory", OK, held)
    if memory < needed:
        text = f"{held}, below {machine.amount(needed)}: ask the queue for more, or train with "
        ram = Finding("memory", WARNING, text + "smaller crops and data.num_workers=0")
    return [Finding("cores", OK, f"{cores} of {os.cpu_count()} for this process"), ram]


def of_folder(what: str, path: Path, needed: float, cure: str) -> Finding:
    """Whether files can be written to a folder, and how many bytes."""
    try:
        machine.check_writable(path, cure)
    except ResourceError as error:
        return Finding(what, PROBLEM, str(error))
    free = machine.free_space(path)
    text = f"{path.absolute()}: {machine.amount(free)} free"
    if free < needed:
        return Finding(what, WARNING, f"{text}, below {machine.amount(needed)}. {cure}")
    return Finding(what, OK, text)


def of_tracking(uri: str) -> Finding:
    """Whether MLflow's store can be reached; without it trainings go on all the same."""
    cure = "Trainings go on without it; set logger.tracking_uri to one that answers."
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE):
                return Finding("mlflow", OK, f"{uri} answers")
        except (OSError, ValueError) as error:
            return Finding("mlflow", WARNING, f"{uri} does not answer ({error}). {cure}")
    if not uri.startswith(SQLITE):
        return Finding("mlflow", OK, f"{uri}: not looked at")
    path = Path(uri.removeprefix(SQLITE))
    try:
        machine.check_writable(path.parent, cure)
        if path.exists():
            address = f"{path.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as held:
                held.execute("SELECT count(*) FROM sqlite_master")
    except (ResourceError, sqlite3.Error) as error:
        return Finding("mlflow", WARNING, f"{path} cannot be used ({error}). {cure}")
    return Finding("mlflow", OK, f"{path}" if path.exists() else f"{path} is made when first used")


def of_slurm(sbatch: str | None, installed: Mapping[str, str]) -> Finding:
    """Whether trainings can be queued."""
    if sbatch is None:
        return Finding("slurm", OK, "none here: sweeps run as processes")
    if "hydra-submitit-launcher" not in installed:
        return Finding("slurm", WARNING, f"{sbatch}; to use it: pip install 'octopi[slurm]'")
    return Finding("slurm", OK, f"{sbatch}; hydra/launcher=submitit_slurm uses it")


def installed() -> dict[str, str]:
    """Version of each installed distribution, the first of a name on the search path."""
    found: dict[str, str] = {}
    for held in importlib.metadata.distributions():
        name = held.metadata["Name"]
        if name:
            found.setdefault(_plain(name), held.version)
    return found


def versions_of(name: str) -> list[str]:
    """The versions of every installed distribution of a name."""
    held = importlib.metadata.distributions(name=name)
    return sorted({found.version for found in held})


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
