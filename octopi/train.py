"""Train a network on the targets of a copick project and keep the best, ready to use.

Run it as `octopi train model=unet loss=tversky` or `python -m octopi.train …`.
"""

from typing import TYPE_CHECKING

from octopi.cli.job import Command, log_dry_run
from octopi.config.settings import TrainSettings
from octopi.sweeps.sweeper import OctopiSweeper
from octopi.system import ranks
from octopi.system.job_folder import Job

if TYPE_CHECKING:
    from torch import nn

MODULE = "octopi.train"  # run with `python -m` for each of several trainings


def train(
    settings: TrainSettings, job: Job, *, loss: "nn.Module | None" = None
) -> float | tuple[float | None, ...] | None:
    """Train a network and keep the best weights; return the values of the objectives.

    With `num_folds` and no `fold`, train all folds; the model is their ensemble.

    Args:
        settings: of the whole training.
        job: its folder and overrides.
        loss: used in place of what `settings.loss` describes.
    """
    ranks.prepare_secondary()
    ranks.check_tasks(settings.trainer.get("devices", 1), settings.trainer.get("num_nodes", 1))
    if settings.trains_all_folds:
        ranks.check_one_device(settings.trainer)
    # torch and Lightning take seconds to import, which --help must not wait for.
    from octopi.cross_validation.run import train_folds  # noqa: PLC0415
    from octopi.training import dry_run, folder, run  # noqa: PLC0415

    if settings.dry_run:
        folder.check_folder(job.folder, settings)
        training = run.build_training(settings, job.folder, loss=loss)
        log_dry_run("train", dry_run.describe_training(settings, job, training))
        return None
    with folder.training_folder(job, settings) as own_folder:
        if settings.trains_all_folds:
            metrics = train_folds(settings, own_folder, job.overrides, module=MODULE)
        else:
            metrics = run.run_training(settings, own_folder, loss=loss)
        return own_folder.finish(settings, metrics)


main = Command("train", train, plugins=[OctopiSweeper], opens_folder=True)

if __name__ == "__main__":
    main()
