"""How a command runs: compose, settle, work, and leave with an exit code that tells the truth.

0 done, 1 our mistake, 2 usage or config, 3 data, 4 resources, 5 diverged, 130 Ctrl-C,
143 terminated after a checkpoint.
"""

import errno
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from octopi.config import CONF_DIR, ROOTS, settle
from octopi.errors import OctopiError
from octopi.help import wants_help, write_help

logger = logging.getLogger(__name__)

_RESOURCE_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOMEM,
    errno.EMFILE,
}


class Stopped(BaseException):
    """A signal ended the work after everything worth keeping was written."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def command(verb: str, work: Callable[[Any], Any]) -> Callable[[], NoReturn]:
    """The program behind `python -m octopi.VERB` and `octopi VERB`."""

    def main() -> NoReturn:
        if wants_help(sys.argv[1:]):
            write_help(verb)
            sys.exit(0)
        sys.exit(_run(verb, work))

    return main


def job_folder() -> Path:
    """The folder this job may write its own files into."""
    from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415  keeps `import octopi.job` quick

    return Path(HydraConfig.get().runtime.output_dir)


def _run(verb: str, work: Callable[[Any], Any]) -> int:
    import hydra  # noqa: PLC0415
    from hydra.errors import HydraException  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as they are, in single and multiruns

    @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=verb)
    def task(cfg: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415

        try:
            overrides = list(HydraConfig.get().overrides.task)
            return work(settle(cfg, ROOTS[verb], overrides=overrides))
        except BaseException as error:
            if not isinstance(error, Stopped | KeyboardInterrupt):
                _log_traceback()
            raise

    try:
        task()
    except (HydraException, OmegaConfBaseException) as error:
        return _report(str(error.__cause__ or error) if _is_compact(error) else str(error), 2)
    except Stopped as stop:
        return _report(str(stop), stop.exit_code)
    except KeyboardInterrupt:
        return _report("Interrupted.", 130)
    except OctopiError as error:
        return _report(str(error), error.exit_code)
    except MemoryError as error:
        return _report(f"Out of memory: {error}", 4)
    except OSError as error:
        if error.errno in _RESOURCE_ERRNOS:
            return _report(f"{error.strerror}: {error.filename or ''}", 4)
        return _report_mistake(error)
    except Exception as error:  # noqa: BLE001  the last line of defence before a bare traceback
        if "out of memory" in str(error).lower():
            return _report(f"Out of memory: {str(error).splitlines()[0]}", 4)
        return _report_mistake(error)
    return 0


def _is_compact(error: BaseException) -> bool:
    return not str(error).strip()


def _log_traceback() -> None:
    """The traceback goes to the job's log file, not to the screen."""
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, "The job failed.", (), sys.exc_info()
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _report(message: str, exit_code: int) -> int:
    lines = [line.rstrip() for line in message.strip().splitlines() if line.strip()]
    sys.stderr.write(
        "\n".join(["octopi: " + lines[0] if lines else "octopi: failed", *lines[1:20]])
    )
    sys.stderr.write("\n")
    return exit_code


def _report_mistake(error: BaseException) -> int:
    first = str(error).strip().splitlines()[:1]
    return _report(
        f"{type(error).__name__}: {first[0] if first else ''}\n"
        "This looks like a mistake in octopi. The traceback is in the job's log file; "
        "please report it.",
        1,
    )
