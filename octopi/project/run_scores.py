"""Find and read what is picked from in a run: its score map, or a label volume as scores of 1."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.geometry import Grid, same_spacing
from octopi.picking import PickingInfo
from octopi.project.objects import PickableObject, check_labels, volume_labels
from octopi.project.provenance import describe_differences, replaced_tomogram
from octopi.project.queries import SegmentationQuery, TomogramQuery, score_map_name
from octopi.project.run import Run
from octopi.project.selection import check_covers_tomogram
from octopi.project.voxel_values import odd_share

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreMap:
    """The scores of every voxel, a channel for each object.

    Args:
        values: (c, z, y, x), uint8, 255 = a score of 1.
        grid: of the values.
        info: what was stored with them.
    """

    values: NDArray
    grid: Grid
    info: PickingInfo


@dataclass(frozen=True)
class RunScores:
    """The scores of a run, stored as a score map beside a tomogram or as a label volume.

    Args:
        run: of the scores.
        location: the tomogram that a score map lies beside, or the label volume.
        query: name, user and session of the scores.
        checkpoint_info: counts in place of what is stored with the scores; None = that counts.
    """

    run: Run
    location: TomogramQuery | SegmentationQuery
    query: SegmentationQuery
    checkpoint_info: PickingInfo | None = None

    def read(self) -> ScoreMap:
        """Read the score map; the labels of a segmentation become scores of 1."""
        if isinstance(self.location, TomogramQuery):
            name = score_map_name(self.query)
            values, grid, attributes = self.run.read_score_map(self.location, name)
            return ScoreMap(values, grid, PickingInfo.from_score_map(attributes))
        segmentation, grid, attributes = self.run.read_segmentation(self.location)
        labels = particle_labels(attributes, self.run.objects)
        values = np.empty((len(labels), *segmentation.shape), dtype=np.uint8)
        for channel, (name, label) in enumerate(labels.items()):
            values[channel] = (segmentation == label) * np.uint8(255)
            if text := odd_share(np.count_nonzero(values[channel]), segmentation.size):
                logger.warning("Run %s: in %s, %s %s", self.run.name, self.location, name, text)
        return ScoreMap(values, grid, PickingInfo.from_label_volume(attributes, labels))

    def read_info(self) -> PickingInfo:
        """Read what picking needs to know of the scores, and no voxel."""
        if self.checkpoint_info is not None:
            return self.checkpoint_info
        attributes = self.read_attributes()
        if isinstance(self.location, TomogramQuery):
            return PickingInfo.from_score_map(attributes)
        labels = particle_labels(attributes, self.run.objects)
        return PickingInfo.from_label_volume(attributes, labels)

    def read_attributes(self) -> dict[str, Any]:
        """Read what is stored with the scores."""
        if isinstance(self.location, TomogramQuery):
            return self.run.score_map_attributes(self.location, score_map_name(self.query))
        return self.run.segmentation_attributes(self.location)

    def check(self) -> None:
        """Check that the scores are of today's tomogram, and a label volume holds labels alone.

        Raises:
            DataError: they are of another tomogram, or a value is no label of an object.
        """
        if replaced := replaced_tomogram(self.run, self.read_attributes()):
            raise DataError(
                f"Run {self.run.name}: its tomogram {replaced} has other voxels than when its "
                f"scores {self.query} were computed. Compute them again: octopi segment "
                "overwrite=true."
            )
        if isinstance(self.location, SegmentationQuery):
            segmentation, _, attributes = self.run.read_segmentation(self.location)
            check_labels(
                np.unique(segmentation),
                volume_labels(attributes, self.run.objects),
                attributes,
                where=f"Run {self.run.name}: segmentation {self.location}",
                advice="Give each an object with this label in the copick config.",
            )

    def checkpoints(self) -> dict[str, str]:
        """Return the digest of each checkpoint that made the scores, by its path."""
        return self.read_attributes().get("checkpoints", {})

    def network(self) -> dict[str, Any]:
        """Return what the scores were computed with."""
        attributes = self.read_attributes()
        digests = sorted(attributes.get("checkpoints", {}).values())
        kept = ("predictor", "ensemble", "objects")
        return {"checkpoints": digests, **{key: attributes.get(key) for key in kept}}


def find_scores(
    run: Run, source: str, query: str, *, tomo_type: str | None, voxel_spacing: float | None
) -> RunScores:
    """Find the scores of a run.

    Args:
        run: to look in.
        source: "scores" for a score map, "segmentation" for a label volume.
        query: name:user/session of the scores.
        tomo_type: of the tomogram that a score map lies beside; None = the only one.
        voxel_spacing: of that tomogram, Å; None = the only one.

    Raises:
        NotInProjectError: the run has none.
        DataError: the segmentation spans the box of no tomogram.
        SettingError: it has score maps of several tomograms, or several segmentations.
    """
    parsed = SegmentationQuery.parse(query)
    if source == "segmentation":
        segmentation = run.find_segmentation(parsed)
        check_covers_tomogram(run, segmentation, run.open_segmentation(segmentation).grid)
        return RunScores(run, segmentation, parsed)
    name, score_maps = score_map_name(parsed), run.score_maps()
    tomograms = [
        tomogram
        for tomogram, map_name in score_maps
        if map_name == name
        and tomo_type in (None, tomogram.tomo_type)
        and (voxel_spacing is None or same_spacing(tomogram.voxel_spacing, voxel_spacing))
    ]
    if not tomograms:
        available = [f"{map_name} of {tomogram}" for tomogram, map_name in score_maps]
        foreign = [query for query in run.tomograms() if run.is_foreign_score_map(query, name)]
        available += [f"{name} of {tomogram}, by another program" for tomogram in foreign]
        cure = "octopi segment makes score maps; input=… names others."
        raise NotInProjectError(f"Run {run.name}", "score map", name, available, cure)
    if len(tomograms) > 1:
        types = {tomogram.tomo_type for tomogram in tomograms}
        raise SettingError(
            f"Run {run.name} has score maps {name} of {shorten_list(tomograms)}. "
            f"Say which: {'voxel_spacing' if len(types) == 1 else 'tomo_type'}=…"
        )
    return RunScores(run, tomograms[0], parsed)


def particle_channels(scores: ScoreMap, radii: Mapping[str, float]) -> NDArray:
    """Return the channels of the objects that have a radius, in the order of the radii."""
    objects = scores.info.objects
    if objects == list(radii):
        return scores.values
    return scores.values[[objects.index(name) for name in radii]]


def find_score_maps(runs: Iterable[Run], name: str, tomo_type: str | None) -> dict[str, RunScores]:
    """Find the score map of each run that has one, by the run's name; see `find_score_map`."""
    maps = {}
    for run in runs:
        with contextlib.suppress(NotInProjectError):
            maps[run.name] = find_score_map(run, name, tomo_type)
    return maps


def find_score_map(run: Run, name: str, tomo_type: str | None) -> RunScores:
    """Find the score map of a run; of several, that of the tomogram type that is shown.

    Raises:
        NotInProjectError: there is none.
        SettingError: there are several, and `tomo_type` chooses none.
    """
    find = functools.partial(find_scores, run, "scores", name, voxel_spacing=None)
    try:
        return find(tomo_type=tomo_type)
    except NotInProjectError:
        return find(tomo_type=None)


def particle_radii(
    info: PickingInfo, project_objects: Mapping[str, PickableObject]
) -> dict[str, float]:
    """Return the radius in Å of every particle, in the order of the channels.

    Args:
        info: which objects are particles, and the radii they had in training.
        project_objects: by name; their radii come first.

    Raises:
        NotInProjectError: a particle is no object of the project.
        DataError: nobody knows its radius.
    """
    radii = {}
    for name in info.objects:
        if name not in info.radii:
            continue
        if name not in project_objects:
            raise NotInProjectError("The project", "object", name, project_objects)
        particle = project_objects[name]
        stored = info.radii[name] if particle.radius is None else None
        radii[name] = float(stored or particle.require_radius())
    return radii


def particle_labels(
    attributes: Mapping[str, Any], objects: Mapping[str, PickableObject]
) -> dict[str, int]:
    """Return the labels to pick: those stored with a label volume, or the project's particles."""
    labels = volume_labels(attributes, objects)
    if attributes.get("labels"):
        return labels
    return {name: label for name, label in labels.items() if objects[name].is_particle}


def warn_of_other_radii(
    info: PickingInfo, objects: Mapping[str, PickableObject], warn_once: Callable[[str], None]
) -> None:
    """Warn of objects whose radius is another one in the copick config now than in training."""
    for name, radius in particle_radii(info, objects).items():
        trained = info.radii[name]
        if trained is not None and not same_spacing(trained, radius):
            warn_once(
                f"The radius of {name} is {radius:g} Å in the copick config, which counts, but was "
                f"{trained:g} Å in training: thresholds and distances fit that."
            )


def warn_of_several_networks(
    all_scores: Sequence[RunScores], warn_once: Callable[[str], None]
) -> None:
    """Warn of runs whose scores were computed in another way than those of the first run."""
    first, *others = all_scores
    network = first.network()
    for scores in others:
        if describe_differences(scores.network(), network):
            warn_once(
                f"The scores {scores.query} of run {scores.run.name} were not computed as those of "
                f"run {first.run.name}: the checkpoint or the predictor differs."
            )
            return
