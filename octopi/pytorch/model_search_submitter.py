"""A model search from Python: `ModelSearchSubmit` runs `octopi train -m search=…`."""

import codecs
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from octopi.cli.python_api import Config, OneOrMoreNames, compose, query_text, resolve_choice
from octopi.cli.python_training import read_target_info, run_selection_overrides, training_overrides
from octopi.config.overrides import override_text, override_texts, replace_overrides
from octopi.errors import (
    DataError,
    DivergedError,
    ExitCode,
    LockedError,
    OctopiError,
    ResourceError,
    SettingError,
    SweepError,
)
from octopi.system.files import read_yaml
from octopi.system.job_folder import SEARCH_RESULTS_FILE

FOLDER = Path("explore_results")
ERRORS = {
    error.exit_code: error
    for error in (SettingError, DataError, ResourceError, DivergedError, SweepError, LockedError)
}


class ModelSearchSubmit:
    """A search for the network, loss and training that score best on a target.

    The same object, or another with the same arguments, continues the search in its folder,
    `explore_results/EXPERIMENT/MODEL_TARGET-USER-SESSION`.

    Args:
        copick_config: path of a copick config; a list or {name: path} for several.
        target_name: of the target.
        target_user_id: of the target.
        target_session_id: of the target.
        tomo_algorithm: tomogram type; of several the first is validated on.
        voxel_size: Å, of the tomograms.
        Nclass: number of objects + 1 for background; only checks: the target knows its objects.
        model_type: a file of `conf/search`, such as UNet; `models` searches all families.
        best_metric: what the search maximises.
        num_epochs: of each trial, at most.
        num_trials: in all; those that a search has finished before count.
        data_split: part of the runs that train; the others validate.
        random_seed: of the search, the split and every trial.
        val_interval: epochs from one validation to the next.
        tomo_batch_size: batches in an epoch; octopi 1 loaded so many tomograms for each epoch and
            drew one batch of each, here every tomogram is at hand.
        trainRunIDs: names; None = the target's runs that are not validated on.
        validateRunIDs: names; None = the target's runs that are not trained on.
        mlflow_experiment_name: under which MLflow keeps the search, and part of its folder.
        overrides: more of what `octopi train` takes: `data.crop_size=[64,64,64]` is then no longer
            searched, `hydra.sweeper.n_jobs=2` trains two at once.
    """

    def __init__(  # noqa: PLR0913, PLR0917  the published signature
        self,
        copick_config: Config,
        target_name: str,
        target_user_id: str,
        target_session_id: str,
        tomo_algorithm: OneOrMoreNames,
        voxel_size: float,
        Nclass: int,  # noqa: N803  octopi 1's name
        model_type: str,
        best_metric: str = "avg_f1",
        num_epochs: int = 1000,
        num_trials: int = 100,
        data_split: float = 0.8,
        random_seed: int = 42,
        val_interval: int = 10,
        tomo_batch_size: int = 15,
        trainRunIDs: OneOrMoreNames = None,  # noqa: N803  octopi 1's name
        validateRunIDs: OneOrMoreNames = None,  # noqa: N803  octopi 1's name
        mlflow_experiment_name: str = "explore",
        *,
        overrides: Sequence[str] = (),
    ) -> None:
        if not 0 < data_split <= 1:
            raise SettingError(f"data_split is a part of the runs, above 0 to 1, not {data_split}.")
        if num_trials < 1:
            raise SettingError(f"num_trials must be 1 or more, not {num_trials}.")
        self.num_classes = Nclass
        self.train_runs, self.validation_runs = trainRunIDs, validateRunIDs
        search = resolve_choice("search", model_type, "model_type")
        target = (target_name, target_user_id, target_session_id)
        slug = query_text(target, "target").replace(":", "-").replace("/", "-")
        self.folder = (FOLDER / mlflow_experiment_name / f"{search}_{slug}").absolute()
        settings = {
            "trainer.max_epochs": num_epochs,
            "trainer.check_val_every_n_epoch": val_interval,
            "data.steps_per_epoch": tomo_batch_size,
            "data.ratios": [data_split, round(1 - data_split, 6), 0.0],
            "seed": random_seed,
            "hydra.sweeper.n_trials": num_trials,
        }
        defaults = [
            f"search={search}",
            *training_overrides(copick_config, target, tomo_algorithm, voxel_size, best_metric),
            *override_texts(settings),
        ]
        sweep_folder = override_text("hydra.sweep.dir", self.folder)
        self.overrides = replace_overrides(replace_overrides(defaults, *overrides), sweep_folder)
        experiment = override_text("logger.experiment_name", mlflow_experiment_name)
        self.tracker_overrides = ["logger=mlflow", experiment]
        self.settings, _ = compose("train", self.overrides)

    def run_model_search(self) -> dict[str, Any]:
        """Run all trials; return `optimization_results.yaml`, which names the best.

        Trials run in processes of their own, whose output appears here. Interrupted, the search
        stops; called again, it continues.
        """
        info = read_target_info(self.settings, self.num_classes)
        runs = run_selection_overrides(self.train_runs, self.validation_runs, info=info)
        overrides = replace_overrides(self.overrides, *self.tracker_overrides, *runs)
        _run([sys.executable, "-m", "octopi.train", "-m", *overrides])
        return read_yaml(self.folder / SEARCH_RESULTS_FILE)


def _run(command: list[str]) -> None:
    """Run a command and show its output, also in a notebook.

    Raises:
        OctopiError: of the kind that the exit code stands for, with what the command said of it.
    """
    output = ""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            while chunk := process.stdout.read1():  # type: ignore[attr-defined]
                text = decoder.decode(chunk)
                sys.stdout.write(text)
                output = (output + text)[-10_000:]
            code = process.wait()
        except BaseException:  # Ctrl-C in a notebook above all
            process.send_signal(signal.SIGTERM)  # it leaves its trials ready to go on
            process.wait()
            raise
    if code == ExitCode.DONE:
        return
    reason = output.rpartition("octopi: ")[2].strip() or "see its output above"
    if code in ERRORS:
        raise ERRORS[code](reason)
    raise OctopiError(f"The search ended with code {code}: {reason}")
