"""Look at this machine and environment, and say what would hinder octopi and what to do.

Run it as `octopi doctor` or `python -m octopi.doctor`; nothing is written.
"""

import importlib.metadata
import logging
import shutil
import sys
from pathlib import Path

import octopi
from octopi.checks import environment
from octopi.checks.environment import PROBLEM, WARNING, CheckLine
from octopi.cli.job import command
from octopi.config.files import CONF_DIR
from octopi.config.settings import DoctorSettings
from octopi.errors import ResourceError
from octopi.system import resources
from octopi.system.files import read_yaml
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)


def doctor(settings: DoctorSettings, _job: Job) -> None:
    """The log has a line for everything looked at; a ResourceError has the problems."""
    findings = examine(settings)
    states = [finding.state for finding in findings]
    logger.info("octopi's doctor says:\n%s", "\n".join(map(str, findings)))
    if PROBLEM in states:
        problem_lines = "\n".join(f"  {f.what}: {f.text}" for f in findings if f.state == PROBLEM)
        raise ResourceError(f"{states.count(PROBLEM)} problems:\n{problem_lines}")
    logger.info("No problems, %d warnings.", states.count(WARNING))


def examine(settings: DoctorSettings) -> list[CheckLine]:
    """Everything that is looked at."""
    survey = Path(octopi.__file__).resolve().parent
    installed_packages = environment.installed()
    about = importlib.metadata.metadata("octopi")
    cache = settings.cache_dir or read_yaml(CONF_DIR / "data" / "default.yaml")["cache_dir"]
    uri = settings.tracking_uri or read_yaml(CONF_DIR / "logger" / "mlflow.yaml")["tracking_uri"]
    disk, memory = settings.disk_gb * 1e9, settings.memory_gb * 1e9
    return [
        environment.of_python(about["Requires-Python"]),
        *environment.check_packages(
            importlib.metadata.requires("octopi") or [], installed_packages
        ),
        environment.of_lightning(installed_packages),
        environment.check_other_octopi(
            survey, sys.path, environment.versions_of("octopi"), Path.cwd()
        ),
        *environment.of_torch(),
        *environment.of_machine(resources.num_cores(), resources.memory(), memory),
        environment.check_folder(
            "outputs", Path(settings.outputs), disk, "Work in another folder, or hydra.run.dir=…"
        ),
        environment.check_folder(
            "cache", Path(cache), disk, "Set data.cache_dir to another folder."
        ),
        environment.check_tracking_store(uri),
        environment.of_slurm(shutil.which("sbatch"), installed_packages),
    ]


main = command("doctor", doctor)

if __name__ == "__main__":
    main()
