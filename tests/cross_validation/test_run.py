"""What each fold of a training is told."""

from hydra import compose, initialize_config_dir

from octopi.config.check import check_settings
from octopi.config.files import CONF_DIR
from octopi.config.settings import TrainSettings
from octopi.cross_validation.run import fold_limits, fold_overrides


def settings_of(overrides):
    overrides = ["tomo_types=[denoised]", "num_folds=4", *overrides]
    with initialize_config_dir(str(CONF_DIR)):
        return check_settings(compose("train", overrides=overrides), TrainSettings)


def test_folds_share_cpu_seconds_evenly_and_time_by_how_many_train_at_once():
    settings = settings_of(["max_cpu_seconds=1000", "trainer.max_time=00:01:00:00"])
    assert fold_limits(settings, num_slots=2) == [
        'trainer.max_time="00:00:30:00"',
        "max_cpu_seconds=250.0",
    ]
    assert fold_limits(settings_of([]), num_slots=2) == []


def test_a_fold_has_its_own_limits_only():
    whole = ["max_cpu_seconds=1000", "seed=2", "resume=job", "data.fold=null"]
    overrides = fold_overrides(whole, 3, ["max_cpu_seconds=250.0"])
    assert overrides == [
        "seed=2", "fold=3", "trainer.enable_progress_bar=false", "max_cpu_seconds=250.0"
    ]  # fmt: skip
