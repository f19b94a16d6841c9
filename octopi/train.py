"""Train a network on the targets of a copick project and keep the best, ready to use.

Run it as `octopi train model=unet loss=tversky` or `python -m octopi.train …`.
"""

from typing import TYPE_CHECKING

from octopi.exploration.sweeper import OctopiSweeper
from octopi.job import Job, command
from octopi.settings import TrainSettings

if TYPE_CHECKING:
    from torch import nn

MODULE = "octopi.train"  # that `python -m` runs for each of several trainings


def train(
    settings: TrainSettings, job: Job, *, loss: "nn.Module | None" = None
) -> float | tuple[float | None, ...] | None:
    """Train a network and return its objectives, by default `best_metric`.

    With `num_folds` and no `fold`, all folds train and the model is their ensemble.

    Args:
        settings: of the whole training.
        job: where it works.
        loss: used in place of what `settings.loss` describes.
    """
    # torch and Lightning take seconds to import, which --help must not wait for.
    from octopi import rehearsal  # noqa: PLC0415
    from octopi.exploration.crossval import train_folds  # noqa: PLC0415
    from octopi.training.folder import check_folder, training_folder  # noqa: PLC0415
    from octopi.training.run import build_training, run_training  # noqa: PLC0415

    if settings.dry_run:
        check_folder(job.folder, settings)
        rehearsal.describe_training(settings, job, build_training(settings, job.folder))
        return None
    with training_folder(job, settings) as folder:
        if settings.num_folds is not None and settings.fold is None:
            metrics = train_folds(settings, folder, job.overrides, module=MODULE)
        else:
            metrics = run_training(settings, folder, loss=loss)
        return folder.finish(settings, metrics)


main = command("train", train, plugins=[OctopiSweeper], opens_folder=True)

if __name__ == "__main__":
    main()
