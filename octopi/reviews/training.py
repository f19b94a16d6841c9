"""Find what the network that scored some runs was trained on, and how to train on more."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octopi.config.overrides import override_key, shell_override
from octopi.html_report.training_history import (
    TrainingHistory,
    find_training_of,
    read_training_history,
)
from octopi.project import Project
from octopi.project.queries import PickSets, PicksQuery, SegmentationQuery, TomogramQuery
from octopi.project.run import Run
from octopi.project.run_scores import RunScores
from octopi.project.selection import find_pick_sets
from octopi.project.united_picks import first_target_attributes, read_target_attributes
from octopi.system.job_folder import BEST_MODEL_FILE, CONFIG_FILE


@dataclass(frozen=True)
class TrainedOn:
    """What a network was trained on, as far as anything says it.

    Args:
        picks: object name -> its sets of picks, the newest last; none where they are unknown.
        attributes: of its target in some run; none where they are unknown.
        target: of the training; None where it is unknown.
        history: of the training; None where its folder is unknown.
    """

    picks: Mapping[str, Sequence[PicksQuery]] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    target: SegmentationQuery | None = None
    history: TrainingHistory | None = None

    @property
    def rejected(self) -> list[str]:
        """User/session of the sets of places that were found to be none."""
        sets = map(PickSets.parse, self.attributes.get("rejected", {}).values())
        return list(dict.fromkeys(name for one in sets for name in one.user_sessions))

    @property
    def partial(self) -> frozenset[str] | None:
        """Names of the objects of which not all are annotated; None where it is unknown."""
        return frozenset(self.attributes.get("annotation", {})) if self.attributes else None

    def annotated_picks(self, run: Run) -> dict[str, list[PicksQuery]]:
        """Return the picks of the objects that are annotated in a run."""
        attributes = read_target_attributes(run, self.target)
        missing, existing = attributes.get("not_annotated", ()), set(run.picks())
        existing_sets = {n: [q for q in qs if q in existing] for n, qs in self.picks.items()}
        return {name: sets for name, sets in existing_sets.items() if sets and name not in missing}


def find_trained_on(
    project: Project,
    scores: Sequence[RunScores],
    *,
    annotations: Sequence[str] | None,
    checkpoint: Sequence[str] | None,
    objects: Sequence[str],
) -> TrainedOn:
    """Find what the network was trained on: as the user says, else as its target says.

    Args:
        project: in any run of which the target may be.
        scores: of the runs.
        annotations: user/session of each set of picks that the user names.
        checkpoint: that the user names.
        objects: names of the objects that are picked.

    Raises:
        NotInProjectError: no run has picks that the user names.
    """
    history = _find_history(scores, checkpoint)
    target = None if history is None else history.config.get("target")
    query = SegmentationQuery.parse(target) if isinstance(target, str) else None
    attributes = first_target_attributes(project.runs, query)
    if annotations is None:
        sets = {n: PickSets.parse(text) for n, text in attributes.get("picks", {}).items()}
    else:
        sets, _ = find_pick_sets(
            project.runs, objects=None, source=list(annotations), rejected=None
        )
        sets = {name: sets[name] for name in objects if name in sets}
    picks = {name: one.queries for name, one in sets.items()}
    return TrainedOn(picks, attributes, query, history)


def _find_history(
    scores: Sequence[RunScores], checkpoint: Sequence[str] | None
) -> TrainingHistory | None:
    """Read the history of the training, if its folder is known and still exists."""
    if checkpoint is not None:
        folder = Path(checkpoint[0]).absolute().parent
        is_one = len(checkpoint) == 1 and (folder / CONFIG_FILE).is_file()
        return read_training_history(folder) if is_one else None
    return find_training_of(one for one in scores if isinstance(one.location, TomogramQuery))


def write_commands(
    project: Project,
    trained_on: TrainedOn,
    *,
    accepted: Sequence[PicksQuery],
    rejected: Sequence[str],
    partial: frozenset[str],
    objects: Sequence[str],
    overrides: Sequence[str],
) -> str:
    """Write the shell line that makes targets with the decisions and trains on.

    Args:
        project: of the picks.
        trained_on: what the network was trained on.
        accepted: the picks of each object with accepted places, the newest last.
        rejected: user/session of the rejected places.
        partial: names of the objects of which not all are annotated.
        objects: names of all objects.
        overrides: of the command, of which those that name the project are repeated.
    """
    typed_project = [
        shlex.quote(o) for o in overrides if override_key(o).split(".")[0] == "project"
    ]
    session = _next_session(project, trained_on.target)
    rejected_sets = list(dict.fromkeys([*trained_on.rejected, *rejected]))
    targets = {
        "targets.picks": _picks_setting(project, trained_on.picks, accepted),
        "targets.rejected": rejected_sets[0] if len(rejected_sets) == 1 else rejected_sets,
        "targets.annotation": (
            "partial" if partial >= set(objects) else dict.fromkeys(sorted(partial), "partial")
        ),
        "targets.session_id": int(session),
    }
    targets |= _painting_settings(trained_on) | _grid_settings(trained_on.history)
    typed = [shell_override(key, value) for key, value in targets.items() if value]
    train = [shell_override("target", f"targets:octopi/{session}")]
    if history := trained_on.history:
        train.insert(0, shell_override("experiment", f"{_shown(history.folder)}/"))
        best_model = history.folder / BEST_MODEL_FILE
        if best_model.is_file():
            train.append(shell_override("init_from", _shown(best_model)))
    return (
        f"octopi create_targets {' '.join([*typed_project, *typed])} && "
        f"octopi train {' '.join([*typed_project, *train])}"
    )


def _picks_setting(
    project: Project, picks: Mapping[str, Sequence[PicksQuery]], accepted: Sequence[PicksQuery]
) -> list[str]:
    """Return the value of `targets.picks`: each user/session where that means these very sets.

    Else each set is named with its object: they differ, or hold others that were not trained on.
    """
    before = [[query for query in sets if query not in accepted] for sets in picks.values()]
    by_object = [[query.user_session for query in sets] for sets in before] or [[]]
    user_sessions = [*by_object[0], *dict.fromkeys(query.user_session for query in accepted)]
    queries = [query for sets in [*before, accepted] for query in sets]
    existing = {q for run in project.runs for q in run.picks() if q.user_session in user_sessions}
    others = [q for q in existing.difference(queries) if q.object_name in project.objects]
    if all(one == by_object[0] for one in by_object) and not others:
        return user_sessions
    return list(map(str, queries))


def _painting_settings(trained_on: TrainedOn) -> dict[str, Any]:
    """Return the settings that say how else than from picks the target was painted."""
    attributes = trained_on.attributes
    radii, painted = attributes.get("object_radii", {}), attributes.get("sphere_radii", {})
    painted_names = [n for n in trained_on.picks if radii.get(n) and painted.get(n)]
    scales = {n: round(painted[n] / radii[n], 6) for n in painted_names}
    are_same = len(set(scales.values())) == 1
    return {
        "targets.segmentations": list(attributes.get("masks", {}).values()),
        "targets.annotated": attributes.get("annotated"),
        ("targets.radius_scale" if are_same else "targets.radius_scales"): (
            next(iter(scales.values())) if are_same else scales
        ),
    }


def _grid_settings(history: TrainingHistory | None) -> dict[str, Any]:
    """Return the settings of the training that say on which grid its targets are painted."""
    config = {} if history is None else history.config
    spacing, data = config.get("voxel_spacing"), config.get("data")
    return {
        "tomo_types": config.get("tomo_types"),
        "voxel_spacing": spacing[0] if isinstance(spacing, list) and spacing else spacing,
        "data.working_spacing": data.get("working_spacing") if isinstance(data, Mapping) else None,
    }


def _next_session(project: Project, target: SegmentationQuery | None) -> str:
    """Return the next number that no run has as the session of a target, of any user."""
    names = {"targets", *([target.name] if target else [])}
    existing = {query for run in project.runs for query in run.segmentations()}
    return next_session([query.session_id for query in existing if query.name in names])


def next_session(used: Sequence[str]) -> str:
    """Return the number that follows the largest one among the sessions."""
    numbers = [int(session) for session in used if session.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _shown(path: Path) -> str:
    """Return the path as a person types it in this folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
