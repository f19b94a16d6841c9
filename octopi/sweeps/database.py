"""The database of a search's study, waited for while its server restarts."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.storages import RDBStorage

from octopi.errors import is_database_error
from octopi.system.passwords import mask_passwords

logger = logging.getLogger(__name__)

PATIENCE = 600.0  # seconds that a sweep waits for its database
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before another try; doubled each time
CONNECT_TIMEOUT = 10  # seconds
# What Optuna's cache and `Study` call, which stand before this storage.
RETRIED_METHODS = (
    *("create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr"),
    *("get_study_id_from_name", "get_study_name_from_id", "get_study_directions"),
    *("get_study_user_attrs", "get_study_system_attrs", "get_all_studies", "get_trial"),
    *("_create_new_trial", "_get_trials", "_get_best_trial_id", "_set_trial_param"),
    *("get_trial_id_from_study_id_trial_number", "set_trial_state_values"),
    *("set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr"),
)


class PatientDatabase(RDBStorage):
    """Optuna's storage in a server, which tries again while that cannot be reached.

    Args:
        url: of the database.
        patience: seconds after which it gives up.
    """

    def __init__(self, url: str, patience: float) -> None:
        self.patience = patience
        is_postgres = url.startswith("postgresql")
        connect = {"connect_timeout": CONNECT_TIMEOUT} if is_postgres else {}
        # a connection that the server has closed is replaced before it is used
        super().__init__(url, engine_kwargs={"pool_pre_ping": True, "connect_args": connect})

    def try_until_answered(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns, after several tries if the server cannot be reached."""
        start, wait, is_again = time.monotonic(), FIRST_WAIT, False
        while True:
            try:
                value = call()
            except optuna.exceptions.UpdateFinishedTrialError:
                if not is_again:
                    raise
                return True  # the try before had succeeded, and only its answer was lost
            except Exception as error:
                if not is_database_error(error) or time.monotonic() - start >= self.patience:
                    raise
                if not is_again:
                    reason = describe_failure(error)
                    logger.warning("The database of the search does not answer: %s", reason)
                is_again = True
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if is_again:
                    logger.info("The database of the search answers again.")
                return value


def describe_failure(error: Exception) -> str:
    """Say in a line, without passwords, why a database failed."""
    return mask_passwords(str(error.__cause__ or error).partition("\n")[0])


def _make_patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @functools.wraps(method)
    def call(self: PatientDatabase, *args: Any, **kwargs: Any) -> Any:
        return self.try_until_answered(functools.partial(method, self, *args, **kwargs))

    return call


for _name in RETRIED_METHODS:
    setattr(PatientDatabase, _name, _make_patient(_name))
