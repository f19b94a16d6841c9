"""A run of a copick project: its tomograms, picks, segmentations and score maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from octopi.errors import DataError, NotInProjectError, SettingError
from octopi.geometry import NEARLY_EXACT, same_spacing
from octopi.project import copick_items, read_volume
from octopi.project.attributes import octopi_attributes
from octopi.project.picks_file import StoredPicks, orientations_of, read_picks, to_json
from octopi.project.queries import (
    PicksQuery,
    SegmentationQuery,
    Spaced,
    TomogramQuery,
    check_name,
    nearest,
)
from octopi.project.storage import (
    storage_errors_as_data_error,
    storage_errors_as_resource_error,
    write_file,
)
from octopi.project.write_volume import write_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from octopi.geometry import Grid, Points
    from octopi.project.objects import PickableObject


class Run:
    """One imaged area of a project; every call lists the storage again, so nothing is stale.

    Args:
        name: of the run in the project.
        copick_run: copick's run.
        objects: the project's objects, by name.
        project_name: the project in words, for messages.
        warn_once: logs a warning once, however many runs give it.
        reopen: opens the run of a name again, in the process that unpickles this one.
    """

    def __init__(
        self,
        name: str,
        copick_run: Any,
        *,
        objects: Mapping[str, PickableObject],
        project_name: str,
        warn_once: Callable[[str], None],
        reopen: Callable[[str], Run],
    ) -> None:
        self.name = name
        self.objects = objects
        self.project_name = project_name
        self._copick = copick_run
        self._warn_once = warn_once
        self._reopen = reopen

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reopen, (self.name,)

    def __repr__(self) -> str:
        return f"Run({self.name!r})"

    def tomograms(self) -> list[TomogramQuery]:
        """List the tomograms, by voxel spacing and type."""
        return sorted(
            copick_items.tomograms(self._copick), key=lambda q: (q.voxel_spacing, q.tomo_type)
        )

    def find_tomogram(self, tomo_type: str | None, voxel_spacing: float | None) -> TomogramQuery:
        """Find a tomogram.

        Args:
            tomo_type: None where the run has only one type.
            voxel_spacing: Å; the nearest within 1 % is taken. None where the run has only one.

        Raises:
            NotInProjectError: there is none.
            SettingError: there are several.
        """
        existing = self.tomograms()
        requested = "@".join(str(part) for part in (tomo_type, voxel_spacing) if part) or "at all"
        candidates = [q for q in existing if tomo_type in (None, q.tomo_type)]
        return self._select_one("tomogram", requested, voxel_spacing, candidates, existing)

    def is_read_only(self, query: TomogramQuery) -> bool:
        """Return whether the tomogram lies in read-only data."""
        return self._tomogram(query).read_only

    def tomogram_grid(self, query: TomogramQuery) -> Grid:
        """Read the tomogram's grid from its metadata."""
        return self._open_tomogram(query).grid

    def read_tomogram(self, query: TomogramQuery) -> NDArray[np.float32]:
        """Read the tomogram as float32 (z, y, x).

        Raises:
            DataError: a chunk is missing or damaged, a voxel is not finite, or all are the same.
        """
        with storage_errors_as_data_error(self._where(query)):
            return read_volume.read_tomogram(self._open_tomogram(query))

    def fingerprint(self, query: TomogramQuery) -> str:
        """Return a hash (sha256, hex) that changes with the stored tomogram; read no voxel."""
        with storage_errors_as_data_error(self._where(query)):
            return read_volume.fingerprint(self._open_tomogram(query))

    def picks(self) -> list[PicksQuery]:
        """List the picks, empty ones too."""
        return sorted(copick_items.picks(self._copick), key=str)

    def read_picks(self, query: PicksQuery) -> Points:
        """Read particle centres in Å, x y z, with their scores where they have any."""
        return self._read_picks(query).points

    def read_existing_picks(self, queries: Mapping[str, PicksQuery]) -> dict[str, Points]:
        """Read the picks that exist in this run, as `read_picks` does; skip the others."""
        existing = copick_items.picks(self._copick)
        return {
            name: self._load_picks(existing[query], query).points
            for name, query in queries.items()
            if query in existing
        }

    def read_oriented(self, query: PicksQuery) -> tuple[Points, NDArray[np.float64] | None]:
        """Read picks as `read_picks` does, and their orientations.

        Returns:
            The points, and rotations (n, 3, 3) from the objects' frame to the tomogram's, x y z;
            None where they are unknown.
        """
        stored = self._read_picks(query)
        return stored.points, orientations_of(stored, self._where(query))

    def write_picks(
        self,
        query: PicksQuery,
        points: Points,
        *,
        orientations: NDArray[np.float64] | None = None,
    ) -> None:
        """Write picks, replacing the session's old ones; no points make an empty session.

        Args:
            query: whose picks they are.
            points: the picks.
            orientations: rotations (n, 3, 3) from the objects' frame to the tomogram's, x y z;
                None = unknown.
        """
        self.check_can_write(query)
        picks = copick_items.new_picks(self._copick, query)
        content = to_json(points, orientations, picks, self._where(query))
        with storage_errors_as_resource_error(self._where(query), picks.path):
            write_file(picks.fs, picks.path, content)

    def segmentations(self) -> list[SegmentationQuery]:
        """List the label volumes that are finished."""
        existing = copick_items.segmentations(self._copick)
        return sorted((q for q, item in existing.items() if self._finished(item)), key=str)

    def read_segmentation(
        self, query: SegmentationQuery
    ) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
        """Read a label volume.

        Returns:
            Labels (z, y, x), their grid, and octopi's attributes ({} in others' volumes).
        """
        item, stored = self._find_segmentation(query)
        return self._read_labels(item, self._where(stored), item.voxel_size)

    def write_segmentation(
        self,
        query: SegmentationQuery,
        labels: NDArray[np.uint8],
        *,
        grid: Grid,
        attributes: Mapping[str, Any],
    ) -> None:
        """Write a label volume (z, y, x) with its grid and attributes, replacing an older one."""
        self.check_can_write(query)
        if labels.dtype != np.uint8 or labels.ndim != 3:
            raise ValueError(f"Labels are uint8 (z, y, x), not {labels.dtype} {labels.shape}.")
        if not same_spacing(query.voxel_spacing or 0, float(np.mean(grid.spacing))):
            raise ValueError(
                f"{query} does not name the voxel spacing of its grid, {grid.spacing} Å."
            )
        item = copick_items.new_segmentation(self._copick, query)
        with storage_errors_as_resource_error(self._where(query), item.path):
            write_volume(item.fs, item.path, labels, grid=grid, attributes=attributes)

    def segmentation_attributes(self, query: SegmentationQuery) -> dict[str, Any]:
        """Read octopi's attributes of a label volume ({} in others' volumes), and no voxel."""
        item, found = self._find_segmentation(query)
        with storage_errors_as_data_error(self._where(found)):
            volume = read_volume.open_volume(item, self._where(found), item.voxel_size)
        return octopi_attributes(volume)

    def segmentation_fingerprint(self, query: SegmentationQuery) -> str:
        """Return a hash (sha256, hex) that changes with the label volume; read no voxel."""
        item, found = self._find_segmentation(query)
        with storage_errors_as_data_error(self._where(found)):
            return read_volume.fingerprint(
                read_volume.open_volume(item, self._where(found), item.voxel_size)
            )

    def delete_segmentations(self, query: SegmentationQuery) -> None:
        """Delete the label volumes of this name, user and session at every voxel spacing."""
        for existing, item in copick_items.segmentations(self._copick).items():
            if existing.name_user_session == query.name_user_session:
                self.check_can_write(existing)
                with storage_errors_as_resource_error(self._where(existing), item.path):
                    item.fs.rm(item.path, recursive=True)

    def score_maps(self) -> list[tuple[TomogramQuery, str]]:
        """List the finished score maps as pairs of tomogram and name."""
        return [
            (query, name)
            for query, tomogram in copick_items.tomograms(self._copick).items()
            for name, item in sorted(copick_items.features(tomogram).items())
            if self._finished(item, by_octopi=True)
        ]

    def has_score_map(self, query: TomogramQuery, name: str) -> bool:
        """Return whether the tomogram has a finished score map of this name."""
        item = copick_items.features(self._tomogram(query)).get(name)
        return item is not None and self._finished(item, by_octopi=True)

    def read_score_map(
        self, query: TomogramQuery, name: str
    ) -> tuple[NDArray[np.uint8], Grid, dict[str, Any]]:
        """Read a score map.

        Returns:
            Scores (c, z, y, x), 0..255 for 0..1, their grid, and octopi's attributes.
        """
        item = self._find_score_map(query, name)
        where = f"{self._where(query)}, score map {name}"
        scores, grid, attributes = self._read_labels(item, where, query.voxel_spacing)
        objects = attributes.get("objects")
        if objects is not None and (scores.ndim != 4 or len(scores) != len(objects)):
            raise DataError(
                f"{where} of shape {list(scores.shape)} has {len(scores)} channels for "
                f"{len(objects)} objects. Write it again."
            )
        return scores, grid, attributes

    def score_map_attributes(self, query: TomogramQuery, name: str) -> dict[str, Any]:
        """Read octopi's attributes of a score map, and no voxel."""
        item = self._find_score_map(query, name)
        where = f"{self._where(query)}, score map {name}"
        with storage_errors_as_data_error(where):
            return octopi_attributes(read_volume.open_volume(item, where, query.voxel_spacing))

    def write_score_map(
        self,
        query: TomogramQuery,
        name: str,
        scores: NDArray[np.uint8],
        *,
        grid: Grid,
        attributes: Mapping[str, Any],
    ) -> None:
        """Write a score map (c, z, y, x) beside its tomogram, replacing an older one."""
        check_name("score map", name)
        if scores.dtype != np.uint8 or scores.ndim != 4:
            raise ValueError(f"Scores are uint8 (c, z, y, x), not {scores.dtype} {scores.shape}.")
        item = copick_items.new_features(self._tomogram(query), name)
        with storage_errors_as_resource_error(f"{self._where(query)}, score map {name}", item.path):
            write_volume(item.fs, item.path, scores, grid=grid, attributes=attributes)

    def check_can_write(self, query: PicksQuery | SegmentationQuery) -> None:
        """Raise unless picks or a label volume can be written under this query.

        Raises:
            SettingError: a name is illegal, or the read-only data has the same.
            NotInProjectError: the project has no such object.
        """
        check_name("user_id", query.user_id)
        check_name("session_id", query.session_id)
        if isinstance(query, PicksQuery):
            objects = [entry.name for entry in self._copick.root.config.pickable_objects]
            if query.object_name not in objects:
                raise NotInProjectError(self.project_name, "object", query.object_name, objects)
            existing = copick_items.picks(self._copick).get(query)
        else:
            check_name("name", query.name)
            query = replace(query, voxel_spacing=round(query.voxel_spacing or 0, 3))
            existing = copick_items.segmentations(self._copick).get(query)
        if existing is not None and existing.read_only:
            raise SettingError(
                f"Run {self.name} already has the {query.kind} {query} in its read-only data. "
                "Write under another user_id or session_id."
            )

    def _read_picks(self, query: PicksQuery) -> StoredPicks:
        existing = copick_items.picks(self._copick)
        if query not in existing:
            names = sorted(map(str, existing))
            raise NotInProjectError(f"Run {self.name}", query.kind, query, names)
        return self._load_picks(existing[query], query)

    def _load_picks(self, item: Any, query: PicksQuery) -> StoredPicks:
        with storage_errors_as_data_error(self._where(query)):
            return read_picks(item, self._where(query))

    def _find_segmentation(self, query: SegmentationQuery) -> tuple[Any, SegmentationQuery]:
        """Find a label volume: copick's item, and its query with the spacing it is stored at."""
        existing = copick_items.segmentations(self._copick)
        named = [q for q in existing if q.name_user_session == query.name_user_session]
        # An unfinished one is opened only where there is no other, for the error that names it.
        candidates = [q for q in named if self._finished(existing[q])] or named
        stored = self._select_one(query.kind, str(query), query.voxel_spacing, candidates, existing)
        return existing[stored], stored

    def _find_score_map(self, query: TomogramQuery, name: str) -> Any:
        existing = copick_items.features(self._tomogram(query))
        if name not in existing:
            raise NotInProjectError(self._where(query), "score map", name, existing)
        return existing[name]

    def _tomogram(self, query: TomogramQuery) -> Any:
        existing = copick_items.tomograms(self._copick)
        if query not in existing:
            raise NotInProjectError(f"Run {self.name}", query.kind, query, self.tomograms())
        return existing[query]

    def _open_tomogram(self, query: TomogramQuery) -> read_volume.StoredVolume:
        tomogram = self._tomogram(query)
        with storage_errors_as_data_error(self._where(query)):
            return read_volume.open_volume(tomogram, self._where(query), query.voxel_spacing)

    def _where(self, query: TomogramQuery | PicksQuery | SegmentationQuery) -> str:
        return f"Run {self.name}: {query.kind} {query}"

    def _finished(self, item: Any, *, by_octopi: bool = False) -> bool:
        """Return whether the item's writer has finished, and with `by_octopi` was octopi."""
        with storage_errors_as_data_error(f"Run {self.name}: {item.path}"):
            attributes = read_volume.finished_attributes(item)
        return attributes is not None and (not by_octopi or read_volume.COMPLETE in attributes)

    def _read_labels(
        self, item: Any, where: str, voxel_spacing: float
    ) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
        with storage_errors_as_data_error(where):
            volume = read_volume.open_volume(item, where, voxel_spacing)
            return read_volume.read_labels(volume), volume.grid, octopi_attributes(volume)

    def _select_one(
        self,
        kind: str,
        requested: str,
        voxel_spacing: float | None,
        candidates: list[Spaced],
        existing: Iterable[Spaced],
    ) -> Spaced:
        """Return the one candidate that is nearest to the voxel spacing (Å), within 1 %."""
        fit = nearest(candidates, voxel_spacing)
        if not fit:
            names = sorted(map(str, existing))
            raise NotInProjectError(f"Run {self.name}", kind, requested, names)
        if len(fit) > 1:
            raise SettingError(
                f"Run {self.name} has more than one {kind} {requested}: "
                f"{', '.join(map(str, fit))}. Say which of them you mean."
            )
        taken = fit[0].voxel_spacing or 0
        if voxel_spacing is not None and not same_spacing(
            taken, voxel_spacing, tolerance=NEARLY_EXACT
        ):
            self._warn_once(
                f"Asked for the {kind} {requested}; taking the nearest spacing, "
                f"{fit[0].voxel_spacing} Å."
            )
        return fit[0]
