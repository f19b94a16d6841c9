"""Check this machine and environment; say what would hinder octopi, and what to do.

Run it as `octopi doctor` or `python -m octopi.doctor`; nothing is written, but for a file that is
removed at once, to try the storage of the project.
"""

import importlib.metadata
import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import octopi
from octopi.checks import environment
from octopi.checks.environment import PROBLEM, WARNING, CheckLine
from octopi.cli.job import Command
from octopi.config.files import CONF_DIR
from octopi.config.settings import DoctorSettings
from octopi.errors import ResourceError
from octopi.system import resources
from octopi.system.files import read_yaml
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)


def doctor(settings: DoctorSettings, _job: Job) -> None:
    """Check this machine and environment; log a line for each check.

    Raises:
        ResourceError: there are problems; it names them.
    """
    lines = check_environment(settings)
    problems = [line for line in lines if line.state == PROBLEM]
    num_warnings = sum(line.state == WARNING for line in lines)
    logger.info("Environment check:\n%s", "\n".join(map(str, lines)))
    if problems:
        text = "\n".join(f"  {line.name}: {line.text}" for line in problems)
        raise ResourceError(f"{len(problems)} problems:\n{text}")
    logger.info("No problems, %d warnings.", num_warnings)


def check_environment(settings: DoctorSettings) -> list[CheckLine]:
    """Make every check."""
    packages = environment.installed_packages()
    metadata = importlib.metadata.metadata("octopi")
    requirements = importlib.metadata.requires("octopi") or []
    cache = settings.cache_dir or read_yaml(CONF_DIR / "data" / "default.yaml")["cache_dir"]
    uri = settings.tracking_uri or read_yaml(CONF_DIR / "logger" / "mlflow.yaml")["tracking_uri"]
    config = settings.project["config"]  # that of a synthetic project is a mapping
    disk, memory = settings.disk_gb * 1e9, settings.memory_gb * 1e9
    return [
        environment.check_python(metadata["Requires-Python"]),
        *environment.check_packages(requirements, packages),
        environment.check_lightning(packages),
        environment.check_other_octopi(
            Path(octopi.__file__).resolve().parent,
            sys.path,
            sorted({d.version for d in importlib.metadata.distributions(name="octopi")}),
            Path.cwd(),
        ),
        *environment.check_torch(),
        *environment.check_machine(resources.num_cores(), resources.memory(), memory),
        environment.check_folder(
            "outputs", Path(settings.outputs), disk, "Work in another folder, or hydra.run.dir=…"
        ),
        environment.check_folder(
            "cache", Path(cache), disk, "Set data.cache_dir to another folder."
        ),
        *environment.check_sharing(None if isinstance(config, Mapping) else config),
        environment.check_tracking_store(uri),
        environment.check_slurm(shutil.which("sbatch"), packages),
    ]


main = Command("doctor", doctor)

if __name__ == "__main__":
    main()
