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

from octopi.errors import ResourceError
from octopi.system import resources
from octopi.system.files import sqlite_path

OK, WARNING, PROBLEM = "ok", "warning", "problem"
MALICIOUS = {"2.6.2", "2.6.3"}  # of lightning and pytorch-lightning, GHSA-w37p-236h-pfx3
SERVER_TIMEOUT = 5  # seconds for a server


@dataclass(frozen=True)
class CheckLine:
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


def of_python(bounds: str, version: str = platform.python_version()) -> CheckLine:
    """Whether this Python is one that octopi is made for."""
    if SpecifierSet(bounds).contains(version, prereleases=True):
        return CheckLine("python", OK, f"{version} at {sys.executable}")
    return CheckLine("python", PROBLEM, f"{version} is not {bounds}: make an environment with one.")


def check_packages(requirements: Iterable[str], installed: Mapping[str, str]) -> list[CheckLine]:
    """Whether each package that octopi needs is there, in a version that it takes.

    Args:
        requirements: as in pyproject.toml.
        installed: version of each package, by name.
    """
    faults, fine = [], []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, version = requirement.name, installed.get(_plain(requirement.name))
        if version is None:
            text = f"{name} is missing: pip install '{requirement.name}{requirement.specifier}'"
            faults.append(CheckLine("packages", PROBLEM, text))
        elif not requirement.specifier.contains(version, prereleases=True):
            text = f"{name} {version} is not {requirement.specifier}: pip install " + (
                f"'{requirement.name}{requirement.specifier}'"
            )
            faults.append(CheckLine("packages", PROBLEM, text))
        else:
            fine.append(f"{name} {version}")
    return faults or [CheckLine("packages", OK, f"{len(fine)} as asked: {', '.join(fine)}")]


def of_lightning(installed: Mapping[str, str]) -> CheckLine:
    """Whether one of the malicious versions of Lightning is installed."""
    for name in ("lightning", "pytorch-lightning"):
        if installed.get(name) in MALICIOUS:
            text = (
                f"{name} {installed[name]} steals credentials (GHSA-w37p-236h-pfx3). Uninstall it, "
                "replace every key and token this account holds, then: "
                "pip install 'pytorch-lightning>=2.6.6'"
            )
            return CheckLine("lightning", PROBLEM, text)
    return CheckLine("lightning", OK, "not one of the malicious versions")


def check_other_octopi(
    package_folder: Path, search_path: Sequence[str], versions: Sequence[str], here: Path
) -> CheckLine:
    """Whether another package named octopi could be run in our place.

    Args:
        package_folder: folder of this package.
        search_path: as in sys.path.
        versions: of all installed distributions named octopi.
        here: the working folder.
    """
    cure = "Install octopi 2 into an environment of its own (python -m venv)."
    if len(set(versions)) > 1:
        shown = " and ".join(sorted(set(versions)))
        return CheckLine("octopi", PROBLEM, f"versions {shown} are installed together. {cure}")
    for entry in search_path:
        other = Path(entry or here, "octopi")
        if (
            other.is_dir()
            and (other / "__init__.py").exists()
            and other.resolve() != package_folder
        ):
            first = (
                "comes before"
                if not _found_first(package_folder, search_path, entry)
                else "is beside"
            )
            state = PROBLEM if first == "comes before" else WARNING
            return CheckLine(
                "octopi", state, f"{other} {first} this octopi in {package_folder}. {cure}"
            )
    if (here / "octopi" / "__init__.py").exists() and (here / "octopi").resolve() != package_folder:
        text = f"python -m octopi.train started in {here} would run the octopi that lies there."
        return CheckLine("octopi", WARNING, f"{text} Work in another folder.")
    script = shutil.which("octopi")
    beside = Path(sys.executable).parent
    if script and Path(script).parent.resolve() != beside.resolve():
        text = f"the octopi on the PATH is {script}, not that of {beside}. Activate one of them."
        return CheckLine("octopi", WARNING, text)
    return CheckLine("octopi", OK, f"{', '.join(versions) or 'not installed'} at {package_folder}")


def _found_first(ours: Path, search_path: Sequence[str], entry: str) -> bool:
    """Whether our package is found before what lies at an entry of the search path."""
    for earlier in search_path:
        if earlier == entry:
            return False
        if Path(earlier, "octopi").resolve() == ours:
            return True
    return False


def of_torch() -> list[CheckLine]:
    """Which device computes, and in what precision."""
    try:
        import torch  # noqa: PLC0415  may be what is broken

        from octopi.models.precision import computes_bf16  # noqa: PLC0415
    except (ImportError, OSError) as error:
        text = f"torch cannot be imported ({error}): install it again."
        return [CheckLine("torch", PROBLEM, text)]
    lines = [CheckLine("torch", OK, str(torch.__version__))]
    driver = shutil.which("nvidia-smi")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(number)
            precision = "bf16" if computes_bf16("cuda") else "float32 (no bf16 in hardware)"
            text = (
                f"{gpu.name}, {resources.format_bytes(gpu.total_memory)}, computes in {precision}"
            )
            lines.append(CheckLine("gpu", OK, f"{text}, CUDA {torch.version.cuda}"))
    elif driver:
        why = "is built for CPUs" if torch.version.cuda is None else "finds the driver too old"
        text = (
            f"{driver} is there but torch sees no GPU: it {why}. Install torch for your driver, or "
            "update that: https://pytorch.org/get-started/locally"
        )
        lines.append(CheckLine("gpu", WARNING, text))
    else:
        precision = "bf16" if computes_bf16("cpu") else "float32"
        lines.append(CheckLine("gpu", OK, f"none; the CPU computes in {precision}"))
    return lines


def of_machine(cores: int, memory: int, needed: float) -> list[CheckLine]:
    """Cores and RAM that this process may use.

    Args:
        cores: that it may keep busy.
        memory: bytes it can take.
        needed: bytes that a training should have.
    """
    held = f"{resources.format_bytes(memory)} free for this process"
    ram = CheckLine("memory", OK, held)
    if memory < needed:
        text = f"{held}, below {resources.format_bytes(needed)}: ask the queue for more, "
        ram = CheckLine(
            "memory", WARNING, text + "or train with smaller crops and data.num_workers=0"
        )
    return [CheckLine("cores", OK, f"{cores} of {os.cpu_count()} for this process"), ram]


def check_folder(what: str, path: Path, needed: float, cure: str) -> CheckLine:
    """Whether files can be written to a folder, and how many bytes."""
    try:
        resources.check_writable(path, cure)
    except ResourceError as error:
        return CheckLine(what, PROBLEM, str(error))
    free = resources.free_space(path)
    text = f"{path.absolute()}: {resources.format_bytes(free)} free"
    if free < needed:
        return CheckLine(what, WARNING, f"{text}, below {resources.format_bytes(needed)}. {cure}")
    return CheckLine(what, OK, text)


def check_tracking_store(uri: str) -> CheckLine:
    """Whether MLflow's store can be reached; without it trainings go on all the same."""
    cure = "Trainings go on without it; set logger.tracking_uri to one that answers."
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_TIMEOUT):
                return CheckLine("mlflow", OK, f"{uri} answers")
        except (OSError, ValueError) as error:
            return CheckLine("mlflow", WARNING, f"{uri} does not answer ({error}). {cure}")
    path = sqlite_path(uri)
    if path is None:
        return CheckLine("mlflow", OK, f"{uri}: not looked at")
    try:
        resources.check_writable(path.parent, cure)
        if path.exists():
            address = f"{path.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
    except (ResourceError, sqlite3.Error) as error:
        return CheckLine("mlflow", WARNING, f"{path} cannot be used ({error}). {cure}")
    return CheckLine(
        "mlflow", OK, f"{path}" if path.exists() else f"{path} is made when first used"
    )


def of_slurm(sbatch: str | None, installed: Mapping[str, str]) -> CheckLine:
    """Whether trainings can be queued."""
    if sbatch is None:
        return CheckLine("slurm", OK, "none here: sweeps run as processes")
    if "hydra-submitit-launcher" not in installed:
        return CheckLine("slurm", WARNING, f"{sbatch}; to use it: pip install 'octopi[slurm]'")
    return CheckLine("slurm", OK, f"{sbatch}; hydra/launcher=submitit_slurm uses it")


def installed() -> dict[str, str]:
    """Version of each installed distribution, the first of a name on the search path."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(_plain(name), distribution.version)
    return versions


def versions_of(name: str) -> list[str]:
    """The versions of every installed distribution of a name."""
    distribution = importlib.metadata.distributions(name=name)
    return sorted({found.version for found in distribution})


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
