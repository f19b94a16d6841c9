"""Studies with planted trials, whose best trials and causes of failure are known."""

import random
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from octopi.sweeps.study import open_study
from octopi.sweeps.sweep_file import write_sweep_file

SPACE = {
    "optim.optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
    "model.dropout": FloatDistribution(0.0, 0.3),
    "loss": CategoricalDistribution(["tversky_ce", "focal"]),
    "model.channels": CategoricalDistribution(["[16,32,64]", "[32,64,128,256,512,768,1024]"]),
}
SEARCH_SETTINGS = {"study_name": "octopi", "storage": None, "objectives": ["object_fbeta"]}
FBETA = ["object_fbeta"]
FBETA_AND_COST = ["object_fbeta", "inference_gflop"]


def begin_search(folder: Path, **settings: Any) -> optuna.Study:
    """Make the folder of a search, and open its study."""
    write_sweep_file(folder, SEARCH_SETTINGS | settings)
    return open_study(folder)


def draw_params(rng: random.Random) -> dict[str, Any]:
    loss = rng.choice(SPACE["loss"].choices)
    return {
        "optim.optimizer.lr": 10 ** rng.uniform(-4, -2),
        "model.dropout": rng.uniform(0, 0.3),
        "loss": loss,
        "model.channels": rng.choice(SPACE["model.channels"].choices),
    } | ({"loss.gamma": rng.uniform(0.1, 2)} if loss == "focal" else {})


def trial(params: dict[str, Any], *values: float, **others: Any) -> FrozenTrial:
    space = SPACE | {"loss.gamma": FloatDistribution(0.1, 2.0)}
    return create_trial(
        params=params,
        distributions={name: space[name] for name in params},
        **({"values": values} if values else {}),
        **others,
    )


def empty(*, name: str = "unet", objectives: int = 1, storage: Any = None) -> optuna.Study:
    return optuna.create_study(
        study_name=name, storage=storage, directions=["maximize", "minimize"][:objectives]
    )


def dropout_decides(num_trials: int = 30) -> optuna.Study:
    """The score is the dropout, whatever else is set."""
    rng, study = random.Random(1), empty()
    for _ in range(num_trials):
        params = draw_params(rng)
        curve = {epoch: params["model.dropout"] * epoch / 5 for epoch in range(1, 6)}
        study.add_trial(trial(params, params["model.dropout"], intermediate_values=curve))
    return study


def with_every_state() -> optuna.Study:
    """Four complete trials of which number 2 is best, two pruned, three failed, one running."""
    rng, study = random.Random(2), empty()
    for value in (0.3, 0.5, 0.9, 0.1):
        curve = {1: value / 2, 2: value}
        attrs = {"seconds": 61.4}
        study.add_trial(trial(draw_params(rng), value, intermediate_values=curve, user_attrs=attrs))
    for value in (0.05, 0.02):
        state = TrialState.PRUNED
        study.add_trial(trial(draw_params(rng), state=state, intermediate_values={1: value}))
    for reason in ("out of memory", "diverged: nan at step 17", "diverged: nan at step 203"):
        attrs = {"reason": reason}
        study.add_trial(trial(draw_params(rng), state=TrialState.FAIL, user_attrs=attrs))
    study.add_trial(trial(draw_params(rng), state=TrialState.RUNNING))
    return study


def with_a_front() -> optuna.Study:
    """Trials 0, 1 and 2 are the front; 3 and 4 are beaten."""
    rng, study = random.Random(3), empty(objectives=2)
    for values in ((0.5, 10.0), (0.9, 100.0), (0.7, 30.0), (0.4, 10.0), (0.6, 200.0)):
        study.add_trial(trial(draw_params(rng), *values))
    return study
