"""The commands from Python: `train`, `segment`, `localize` and `evaluate`, with published names.

Arguments become the overrides that `octopi VERB` takes in a shell; the folder of a job is the same.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

import octopi.evaluate
import octopi.localize
import octopi.segment
import octopi.train
from octopi.arguments import TARGET
from octopi.cli.python_api import (
    Config,
    OneOrMoreNames,
    QueryTriple,
    as_name_list,
    compose,
    compose_and_run,
    config_paths,
    query_text,
    resolve_choice,
    run_in_folder,
)
from octopi.cli.python_training import (
    describe_loss,
    model_overrides,
    read_target_info,
    run_selection_overrides,
    training_overrides,
)
from octopi.config.overrides import override_text, override_texts
from octopi.errors import SettingError
from octopi.project import open_project
from octopi.system.files import read_json
from octopi.system.job_folder import RESULTS_FILE, SCORES_FILE, Job

PREDICTIONS = ("predict", "octopi", "1")


def train(  # noqa: PLR0913, PLR0917  the published signature
    config: Config,
    target_info: QueryTriple,
    tomo_algorithm: OneOrMoreNames,
    voxel_size: float,
    loss_function: nn.Module,
    model_config: Mapping[str, Any],
    model_weights: str | Path | None = None,
    trainRunIDs: OneOrMoreNames = None,  # noqa: N803  octopi 1's name
    validateRunIDs: OneOrMoreNames = None,  # noqa: N803  octopi 1's name
    model_save_path: str | Path = "results",
    best_metric: str = "fBeta2",
    num_epochs: int = 1000,
    use_ema: bool = True,  # noqa: FBT001, FBT002  octopi 1's argument
) -> dict[str, Any]:
    """Train a network; write `best_model.pth`, `model_config.yaml` and `results.json`.

    Args:
        config: path of a copick config; a list or {name: path} for several.
        target_info: (name, user_id, session_id) of the target.
        tomo_algorithm: tomogram type; of several the first is validated on.
        voxel_size: Å, of the tomograms.
        loss_function: takes logits and labels, see `octopi.losses`.
        model_config: `architecture` (a file of `conf/model`) or `_target_` (a class), `dim_in`
            (voxels of a crop: its edge, or z, y, x) and the arguments of the network.
            `num_classes` only checks: the target knows its objects.
        model_weights: checkpoint to start from, also with other objects.
        trainRunIDs: names; None = the target's runs that are not validated on.
        validateRunIDs: names; None = the target's runs that are not trained on; both None: a
            fifth of them.
        model_save_path: folder, made if need be.
        best_metric: what the best model is best at.
        num_epochs: how often all steps of an epoch are done, at most.
        use_ema: whether the weights are averaged over the training.

    Returns:
        The content of `results.json`: loss and metrics of each epoch.
    """
    if not isinstance(loss_function, nn.Module):
        raise SettingError(f"loss_function is a torch module, not {loss_function!r}.")
    overrides = [
        *training_overrides(config, target_info, tomo_algorithm, voxel_size, best_metric),
        *model_overrides(model_config),
        override_text("trainer.max_epochs", num_epochs),
        *([] if use_ema else ["~callbacks.weight_averaging"]),
        *([override_text("init_from", model_weights)] if model_weights else []),
    ]
    settings, _ = compose("train", overrides)
    info = read_target_info(settings, model_config.get("num_classes"))
    overrides += run_selection_overrides(trainRunIDs, validateRunIDs, info=info)
    settings, _ = compose("train", overrides)
    loss = describe_loss(loss_function)
    settings = dataclasses.replace(settings, loss=loss)
    overrides += [
        override_text(f"loss.{key}" if key == TARGET else f"++loss.{key}", value)
        for key, value in loss.items()
    ]
    job = Job(Path(model_save_path).absolute(), overrides)
    run_in_folder("train", octopi.train.train, settings, job, loss=loss_function)
    return read_json(job.folder / RESULTS_FILE)


def segment(
    config: Config,
    checkpoint: str | Path | Sequence[str | Path],
    *,
    tomo_algorithm: str | None = None,
    voxel_size: float | None = None,
    run_ids: OneOrMoreNames = None,
    seg_info: QueryTriple = PREDICTIONS,
    segmentation: bool = False,
    trust: OneOrMoreNames = (),
    overwrite: bool = False,
) -> tuple[str, str, str]:
    """Write a score map for each run; return `seg_info`, by which `localize` finds it.

    Args:
        config: path of a copick config; a list or {name: path} for several.
        checkpoint: `best_model.pth` of a training, or several whose scores are averaged.
        tomo_algorithm: tomogram type; None = the one that was validated on.
        voxel_size: Å; None = the one that was trained on.
        run_ids: names; None = every run with that tomogram.
        seg_info: (name, user_id, session_id) of what is written.
        segmentation: whether label volumes are written, too.
        trust: network classes, beside MONAI's, that the checkpoint may build.
        overwrite: whether finished runs are done again.
    """
    query_text(seg_info, "seg_info")
    name, user_id, session_id = map(str, seg_info)
    settings = {
        "project.config": config_paths(config),
        "checkpoint": checkpoint,
        "tomo_type": tomo_algorithm,
        "voxel_spacing": voxel_size,
        "runs": as_name_list(run_ids),
        "name": name,
        "user_id": user_id,
        "session_id": session_id,
        "segmentation": segmentation,
        "trust": as_name_list(trust),
        "overwrite": overwrite,
    }
    compose_and_run("segment", octopi.segment.segment, override_texts(settings))
    return name, user_id, session_id


def localize(  # noqa: PLR0913  a setting each, and where the project is
    config: Config,
    *,
    seg_info: QueryTriple = PREDICTIONS,
    method: str | None = None,
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    tomo_algorithm: str | None = None,
    voxel_size: float | None = None,
    run_ids: OneOrMoreNames = None,
    beta: float | None = None,
    thresholds: float | Mapping[str, float] | None = None,
    user_id: str = "octopi",
    session_id: str = "1",
    overwrite: bool = False,
) -> dict[str, dict[str, int]]:
    """Pick objects in the score maps of each run.

    Args:
        config: path of a copick config; a list or {name: path} for several.
        seg_info: (name, user_id, session_id) of the score maps.
        method: a file of `conf/localizer`; None = the one that the thresholds were chosen with.
        checkpoint: for its thresholds; None = those stored with the score maps.
        tomo_algorithm: tomogram type; None = the only one with score maps.
        voxel_size: Å; None = the only one with score maps.
        run_ids: names; None = every run with a score map.
        beta: operating point, 0.5, 1, 2 or 4: how much recall outweighs precision.
        thresholds: a chance, or {object: chance}; None = the checkpoint's for that beta.
        user_id: of the picks.
        session_id: of the picks.
        overwrite: whether picks of other objects are deleted; "edited" replaces changed ones too.

    Returns:
        The number of picks: run -> object -> count.
    """
    settings = {
        "project.config": config_paths(config),
        "input": query_text(seg_info, "seg_info"),
        "checkpoint": checkpoint,
        "tomo_type": tomo_algorithm,
        "voxel_spacing": voxel_size,
        "runs": as_name_list(run_ids),
        "beta": beta,
        "thresholds": thresholds,
        "user_id": user_id,
        "session_id": str(session_id),
        "overwrite": overwrite,
    }
    overrides = override_texts(settings)
    if method:
        overrides.append(f"localizer={resolve_choice('localizer', method, 'method')}")
    compose_and_run("localize", octopi.localize.localize, overrides)
    return _count_picks(config, run_ids, (str(user_id), str(session_id)))


def _count_picks(
    config: Config, run_ids: OneOrMoreNames, user_and_session: tuple[str, str]
) -> dict[str, dict[str, int]]:
    """Count the picks of a user and session: run -> object -> count; skip runs without any."""
    counts = {}
    for run in open_project(config_paths(config)).select(as_name_list(run_ids)):
        queries = [q for q in run.picks() if (q.user_id, q.session_id) == user_and_session]
        if queries:
            counts[run.name] = {q.object_name: len(run.read_picks(q)) for q in queries}
    return counts


def evaluate(
    config: Config,
    *,
    user_id: str = "octopi",
    session_id: str = "1",
    truth: Sequence[str] | None = None,
    object_names: OneOrMoreNames = None,
    run_ids: OneOrMoreNames = None,
    method: str = "matched",
    beta: float | None = None,
    tolerance_scale: float | None = None,
    save_path: str | Path | None = None,
) -> dict[str, Any]:
    """Score picks against truth; write `scores.json` and a picture.

    Args:
        config: path of a copick config; a list or {name: path} for several.
        user_id: of the picks to be scored.
        session_id: of the picks to be scored.
        truth: (user_id, session_id) of the true picks; None = the only others there are.
        object_names: None = every object with truth.
        run_ids: names; None = every run with truth.
        method: a file of `conf/scorer`.
        beta: recall weighs β² times precision; None = as in that file.
        tolerance_scale: greatest distance of pick and particle, in parts of the object's radius;
            None = as in that file.
        save_path: folder, made if need be; None = a new one in `outputs/evaluate`.

    Returns:
        The content of `scores.json`: the scores of each object and in total.
    """
    if truth is not None and (isinstance(truth, str) or len(truth) != 2):
        raise SettingError(
            f"truth is (user_id, session_id), as in ('curation', '0'), not {truth!r}."
        )
    settings = {
        "project.config": config_paths(config),
        "user_id": user_id,
        "session_id": str(session_id),
        "truth": truth and f"{truth[0]}/{truth[1]}",
        "objects": as_name_list(object_names),
        "runs": as_name_list(run_ids),
    }
    scorer_settings = {"scorer.beta": beta, "scorer.tolerance_scale": tolerance_scale}
    overrides = [
        f"scorer={resolve_choice('scorer', method, 'method')}",
        *override_texts(settings),
        *override_texts({k: v for k, v in scorer_settings.items() if v is not None}),
    ]
    folder = compose_and_run("evaluate", octopi.evaluate.evaluate, overrides, save_path)
    return read_json(folder / SCORES_FILE)
