"""The commands from Python: `train`, `segment`, `localize` and `evaluate`, with published names.

Arguments become the words that `octopi VERB` takes in a shell; the folder of a job is the same.
"""

import dataclasses
import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

import octopi.evaluate
import octopi.localize
import octopi.segment
import octopi.train
from octopi.cli.python_api import (
    Config,
    OneOrMoreNames,
    QueryTriple,
    as_name_list,
    compose,
    config_paths,
    project_override,
    query_text,
    resolve_choice,
    run_command,
    run_in_folder,
)
from octopi.config.build import build
from octopi.config.overrides import override_text, to_builtin_types
from octopi.errors import SettingError
from octopi.project import open_project
from octopi.stored import dotted_name
from octopi.system.files import read_json
from octopi.system.job_folder import RESULTS_FILE, SCORES_FILE, Job

if TYPE_CHECKING:
    from octopi.training.dataset_info import DatasetInfo

logger = logging.getLogger(__name__)

PREDICTIONS = ("predict", "octopi", "1")


def train(  # noqa: PLR0913, PLR0917  the published signature
    config: Config,
    target_info: QueryTriple,
    tomo_algorithm: OneOrMoreNames,
    voxel_size: float,
    loss_function: nn.Module,
    model_config: Mapping[str, Any],
    model_weights: str | Path | None = None,
    trainRunIDs: OneOrMoreNames = None,  # noqa: N803
    validateRunIDs: OneOrMoreNames = None,  # noqa: N803
    model_save_path: str | Path = "results",
    best_metric: str = "fBeta2",
    num_epochs: int = 1000,
    use_ema: bool = True,  # noqa: FBT001, FBT002
) -> dict[str, Any]:
    """The folder holds `best_model.pth`, `model_config.yaml`, `results.json`; returns the last.

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
    """
    if not isinstance(loss_function, nn.Module):
        raise SettingError(f"loss_function is a torch module, not {loss_function!r}.")
    words = training_overrides(
        config,
        target_info,
        tomo_algorithm=tomo_algorithm,
        voxel_size=voxel_size,
        best_metric=best_metric,
    )
    words += [*model_words(model_config), override_text("trainer.max_epochs", num_epochs)]
    words += [] if use_ema else ["~callbacks.weight_averaging"]
    words += [override_text("init_from", model_weights)] if model_weights else []
    settings, _ = compose("train", words)
    facts = read_target_info(settings, model_config.get("num_classes"))
    words += run_selection_overrides(trainRunIDs, validateRunIDs, facts=facts)
    settings, _ = compose("train", words)
    loss = describe(loss_function)
    words += [
        override_text(f"loss.{k}" if k == "_target_" else f"++loss.{k}", v) for k, v in loss.items()
    ]
    job = Job(Path(model_save_path).absolute(), words)
    settings = dataclasses.replace(settings, loss=loss)
    run_in_folder("train", octopi.train.train, settings, job, loss=loss_function)
    return read_json(job.folder / RESULTS_FILE)


def model_words(model_config: Mapping[str, Any]) -> list[str]:
    """The words that choose a network, its arguments and the crops it is trained on."""
    model_arguments = dict(model_config)
    architecture, target = (
        model_arguments.pop("architecture", None),
        model_arguments.pop("_target_", None),
    )
    if (architecture is None) == (target is None):
        raise SettingError(
            "model_config needs one of 'architecture' (as in 'Unet') and '_target_' (a class of "
            "your own, as in 'my_package.MyNet')."
        )
    chosen = (
        override_text("model._target_", target)
        if architecture is None
        else f"model={resolve_choice('model', architecture, 'architecture')}"
    )
    model_arguments.pop("num_classes", None)
    edges = model_arguments.pop("dim_in", None)
    crop = [edges] * 3 if isinstance(edges, int) else edges
    arguments = [override_text(f"++model.{key}", value) for key, value in model_arguments.items()]
    return [chosen, *arguments, *([override_text("data.crop_size", crop)] if crop else [])]


def describe(loss: nn.Module) -> dict[str, Any]:
    """The loss as settings say it: its class, and the arguments that its attributes still tell."""
    parameters = inspect.signature(type(loss)).parameters.values()
    wanted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    arguments = {
        name: to_builtin_types(getattr(loss, name)) for name in wanted if hasattr(loss, name)
    }
    known_arguments = {name: value for name, value in arguments.items() if _is_plain(value)}
    if missing := [name for name in wanted if name not in known_arguments]:
        logger.warning(
            "%s does not tell its %s: the job's config.yaml does not either.",
            type(loss).__name__,
            ", ".join(missing),
        )
    return {"_target_": dotted_name(type(loss)), **known_arguments}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


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
    """Every run asked for has its score map; returns `seg_info`, by which `localize` finds it.

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
    words = [
        project_override(config),
        *(override_text(key, value) for key, value in settings.items()),
    ]
    run_command("segment", octopi.segment.segment, words, None)
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
    """Every run with score maps has picks; returns run -> object -> how many.

    Args:
        config: path of a copick config; a list or {name: path} for several.
        seg_info: (name, user_id, session_id) of the score maps.
        method: a file of `conf/localizer`; None = the one that the thresholds were chosen with.
        checkpoint: for its thresholds; None = those stored with the score maps.
        tomo_algorithm: tomogram type; None = the only one with score maps.
        voxel_size: Å; None = the only one with score maps.
        run_ids: names; None = every run with a score map.
        beta: operating point, 0.5, 1, 2 or 4: how much recall outweighs precision.
        thresholds: a number, or {object: number}; None = the checkpoint's for that beta.
        user_id: of the picks.
        session_id: of the picks.
        overwrite: whether picks of another user than octopi are replaced.
    """
    settings = {
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
    words = [
        project_override(config),
        *(override_text(key, value) for key, value in settings.items()),
    ]
    words += [f"localizer={resolve_choice('localizer', method, 'method')}"] if method else []
    run_command("localize", octopi.localize.localize, words, None)
    query = (str(user_id), str(session_id))
    runs = open_project(config_paths(config)).select(as_name_list(run_ids))
    picks_by_run = {
        run: [q for q in run.picks() if (q.user_id, q.session_id) == query] for run in runs
    }
    return {
        run.name: {q.object_name: len(run.read_picks(q)) for q in queries}
        for run, queries in picks_by_run.items()
        if queries
    }


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
    """The folder holds `scores.json` and a picture; returns the scores, per object and in total.

    Args:
        config: path of a copick config; a list or {name: path} for several.
        user_id: of the picks to be judged.
        session_id: of the picks to be judged.
        truth: (user_id, session_id) of the true picks; None = the only others there are.
        object_names: None = every object with truth.
        run_ids: names; None = every run with truth.
        method: a file of `conf/scorer`.
        beta: recall weighs β² times precision; None = as in that file.
        tolerance_scale: greatest distance of pick and particle, in parts of the object's radius;
            None = as in that file.
        save_path: folder, made if need be; None = a new one in `outputs/evaluate`.
    """
    if truth is not None and (isinstance(truth, str) or len(truth) != 2):
        raise SettingError(
            f"truth is (user_id, session_id), as in ('curation', '0'), not {truth!r}."
        )
    settings = {
        "user_id": user_id,
        "session_id": str(session_id),
        "truth": truth and f"{truth[0]}/{truth[1]}",
        "objects": as_name_list(object_names),
        "runs": as_name_list(run_ids),
        "scorer.beta": beta,
        "scorer.tolerance_scale": tolerance_scale,
    }
    overrides = {k: v for k, v in settings.items() if v is not None or not k.startswith("scorer.")}
    words = [project_override(config), f"scorer={resolve_choice('scorer', method, 'method')}"]
    words += [override_text(key, value) for key, value in overrides.items()]
    _, folder = run_command("evaluate", octopi.evaluate.evaluate, words, save_path)
    return read_json(folder / SCORES_FILE)


def training_overrides(
    config: Config,
    target: QueryTriple,
    *,
    tomo_algorithm: OneOrMoreNames,
    voxel_size: Any,
    best_metric: str,
) -> list[str]:
    """What a training and a search are told of their data."""
    return [
        project_override(config),
        override_text("target", query_text(target, "target_info")),
        override_text("tomo_types", as_name_list(tomo_algorithm)),
        override_text("voxel_spacing", voxel_size),
        override_text("best_metric", best_metric),
    ]


def run_selection_overrides(
    train: OneOrMoreNames, validation: OneOrMoreNames, *, facts: "DatasetInfo"
) -> list[str]:
    """Which runs train and validate: of those not named all serve what nobody is named for."""
    train, validation = as_name_list(train), as_name_list(validation)
    if train is not None and validation is None:
        validation = [run.name for run in facts.runs if run.name not in train]
    selections = {"data.train_runs": train, "data.validation_runs": validation}
    return [override_text(key, value) for key, value in selections.items() if value is not None]


def read_target_info(settings: Any, num_classes: int | None) -> "DatasetInfo":
    """What the project says of the target; a number of classes that is not its own is told."""
    from octopi.training.dataset_info import read_dataset_info  # noqa: PLC0415  copick is slow to import

    facts = read_dataset_info(build(settings.project, "project"), settings)
    num_target_classes = len(facts.labels) + 1
    if num_classes not in (None, num_target_classes):
        logger.warning(
            "%s classes were asked for, but the target %s has %d with the background: the network "
            "has %d (%s).",
            num_classes,
            settings.target,
            num_target_classes,
            num_target_classes,
            ", ".join(facts.labels),
        )
    return facts
