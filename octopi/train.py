"""Train a network on the targets of a copick project and keep the best, ready to use.

Run it as `octopi train model=unet loss=tversky` or `python -m octopi.train …`.
"""

from octopi import head_start
from octopi.exploration.sweeper import OctopiSweeper
from octopi.job import Job, command
from octopi.settings import TrainSettings


def train(settings: TrainSettings, job: Job) -> float | tuple[float | None, ...] | None:
    """The job's folder holds the best model; returns its objectives, by default `best_metric`."""
    from octopi import training_job  # noqa: PLC0415  torch and Lightning: seconds of imports

    return training_job.train(settings, job)


main = command("train", train, plugins=[OctopiSweeper], meanwhile=head_start.fill_cache)

if __name__ == "__main__":
    main()
