"""Check this machine and environment; every line that is not ok says what to do."""

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
from packaging.utils import canonicalize_name

from octopi.errors import OctopiError, ResourceError
from octopi.system import resources
from octopi.system.files import sqlite_path

OK, WARNING, PROBLEM = "ok", "warning", "problem"
MALICIOUS = {"2.6.2", "2.6.3"}  # of lightning and pytorch-lightning, GHSA-w37p-236h-pfx3
SERVER_TIMEOUT = 5  # seconds


@dataclass(frozen=True)
class CheckLine:
    """The result of one check.

    Args:
        name: what was checked.
        state: ok, warning or problem.
        text: what was found and, unless ok, what to do.
    """

    name: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:<8} {self.name:<10} {self.text}"


def check_python(bounds: str, version: str = platform.python_version()) -> CheckLine:
    """Check that octopi supports this version of Python."""
    if SpecifierSet(bounds).contains(version, prereleases=True):
        return CheckLine("python", OK, f"{version} at {sys.executable}")
    return CheckLine("python", PROBLEM, f"{version} is not {bounds}: make an environment with one.")


def check_packages(requirements: Iterable[str], installed: Mapping[str, str]) -> list[CheckLine]:
    """Check that each package that octopi needs is installed in a version that it supports.

    Args:
        requirements: as in pyproject.toml.
        installed: version of each package, by name.
    """
    faults, fine = [], []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, version = requirement.name, installed.get(canonicalize_name(requirement.name))
        if version is not None and requirement.specifier.contains(version, prereleases=True):
            fine.append(f"{name} {version}")
            continue
        fault = "is missing" if version is None else f"{version} is not {requirement.specifier}"
        text = f"{name} {fault}: pip install '{name}{requirement.specifier}'"
        faults.append(CheckLine("packages", PROBLEM, text))
    return faults or [CheckLine("packages", OK, f"{len(fine)} as required: {', '.join(fine)}")]


def check_lightning(installed: Mapping[str, str]) -> CheckLine:
    """Check that none of the malicious versions of Lightning is installed."""
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
    package_folder: Path,
    search_path: Sequence[str],
    versions: Sequence[str],
    working_folder: Path,
) -> CheckLine:
    """Check that no other package named octopi could run in place of this one.

    Args:
        package_folder: folder of this package.
        search_path: as in sys.path.
        versions: of all installed distributions named octopi.
        working_folder: of this process.
    """
    advice = "Install octopi 2 into an environment of its own (python -m venv)."
    script, bin_folder = shutil.which("octopi"), Path(sys.executable).parent
    state, text = OK, f"{', '.join(versions) or 'not installed'} at {package_folder}"
    packages = [Path(entry or working_folder, "octopi") for entry in search_path]
    others = [p for p in packages if _is_package(p) and p.resolve() != package_folder]
    if len(set(versions)) > 1:
        state = PROBLEM
        text = f"versions {' and '.join(sorted(set(versions)))} are installed together. {advice}"
    elif others:
        resolved = [package.resolve() for package in packages]
        earlier = resolved[: packages.index(others[0])]
        state, where = (
            (WARNING, "is beside") if package_folder in earlier else (PROBLEM, "comes before")
        )
        text = f"{others[0]} {where} this octopi in {package_folder}. {advice}"
    elif _is_package(local := working_folder / "octopi") and local.resolve() != package_folder:
        state = WARNING
        text = (
            f"python -m octopi.train started in {working_folder} would run the octopi that lies "
            "there. Work in another folder."
        )
    elif script and Path(script).parent.resolve() != bin_folder.resolve():
        state = WARNING
        text = (
            f"the octopi on the PATH is {script}, not that of {bin_folder}. Activate one of them."
        )
    return CheckLine("octopi", state, text)


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").exists()


def check_torch() -> list[CheckLine]:
    """Check that torch works; name the devices that compute, and their precision."""
    try:
        import torch  # noqa: PLC0415  the import is what is checked

        from octopi.models import devices, precision  # noqa: PLC0415  imports torch
    except (ImportError, OSError) as error:
        text = f"torch cannot be imported ({error}): install it again."
        return [CheckLine("torch", PROBLEM, text)]
    lines = [CheckLine("torch", OK, str(torch.__version__))]
    dtype = precision.half_precision("cuda" if torch.cuda.is_available() else "cpu")
    arithmetic = str(dtype or torch.float32).removeprefix("torch.")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(number)
            text = (
                f"{gpu.name}, {resources.format_bytes(gpu.total_memory)}, computes in {arithmetic}"
            )
            lines.append(CheckLine("gpu", OK, f"{text}, CUDA {torch.version.cuda}"))
    elif reason := devices.explain_missing_gpu():
        lines.append(CheckLine("gpu", WARNING, reason))
    else:
        lines.append(CheckLine("gpu", OK, f"none; the CPU computes in {arithmetic}"))
    return lines


def check_machine(cores: int, memory: int, needed: float) -> list[CheckLine]:
    """Check the cores and the memory that this process may use.

    Args:
        cores: number that it may use.
        memory: bytes that it can take.
        needed: bytes that a training should have.
    """
    state, text = OK, f"{resources.format_bytes(memory)} free for this process"
    if memory < needed:
        state = WARNING
        text += (
            f", below {resources.format_bytes(needed)}: ask the queue for more, or train with "
            "smaller crops and data.num_workers=0"
        )
    return [
        CheckLine("cores", OK, f"{cores} of {os.cpu_count()} for this process"),
        CheckLine("memory", state, text),
    ]


def check_folder(name: str, path: Path, needed: float, advice: str) -> CheckLine:
    """Check that a folder can be written and has as many free bytes as needed."""
    try:
        resources.check_writable(path, advice)
    except ResourceError as error:
        return CheckLine(name, PROBLEM, str(error))
    free = resources.free_space(path)
    text = f"{path.absolute()}: {resources.format_bytes(free)} free"
    if free < needed:
        return CheckLine(name, WARNING, f"{text}, below {resources.format_bytes(needed)}. {advice}")
    return CheckLine(name, OK, text)


def check_sharing(config: str | Sequence[str] | None) -> list[CheckLine]:
    """Check by which means the overlays of a project keep processes apart; make and remove a file.

    Args:
        config: copick configs; None = there is no project to check.
    """
    if not config:
        return []
    try:
        from octopi.project import open_project  # noqa: PLC0415  copick may be missing

        folders = open_project(config).folders_to_share()
        results = [(folder.path, *folder.describe_sharing()) for folder in folders]
    except (ImportError, OctopiError) as error:
        return [CheckLine("sharing", WARNING, f"not checked: {error}")]
    return [
        CheckLine("sharing", OK if is_exclusive else WARNING, f"{path}: {text}")
        for path, is_exclusive, text in results
    ]


def check_tracking_store(uri: str) -> CheckLine:
    """Check that MLflow's store can be reached; trainings go on without it."""
    advice = "Trainings go on without it; set logger.tracking_uri to one that answers."
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_TIMEOUT):
                return CheckLine("mlflow", OK, f"{uri} answers")
        except (OSError, ValueError) as error:
            return CheckLine("mlflow", WARNING, f"{uri} does not answer ({error}). {advice}")
    path = sqlite_path(uri)
    if path is None:
        return CheckLine("mlflow", OK, f"{uri}: not checked")
    try:
        resources.check_writable(path.parent, advice)
        if path.exists():
            read_only = f"{path.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(read_only, uri=True)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
    except (ResourceError, sqlite3.Error) as error:
        return CheckLine("mlflow", WARNING, f"{path} cannot be used ({error}). {advice}")
    return CheckLine(
        "mlflow", OK, f"{path}" if path.exists() else f"{path} is created on first use"
    )


def check_slurm(sbatch: str | None, installed: Mapping[str, str]) -> CheckLine:
    """Check that trainings can be queued where there is a queue.

    Args:
        sbatch: path of Slurm's program; None = there is none.
        installed: version of each package, by name.
    """
    if sbatch is None:
        return CheckLine("slurm", OK, "none here: sweeps run as processes")
    if "hydra-submitit-launcher" not in installed:
        return CheckLine("slurm", WARNING, f"{sbatch}; to use it: pip install 'octopi[slurm]'")
    return CheckLine("slurm", OK, f"{sbatch}; hydra/launcher=submitit_slurm uses it")


def installed_packages() -> dict[str, str]:
    """Return the version of each installed distribution; of one name, the first on the path."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(canonicalize_name(name), distribution.version)
    return versions
