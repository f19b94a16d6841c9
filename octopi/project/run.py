"""A run of a copick project: its tomograms, picks, segmentations and score maps."""

import contextlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from octopi.errors import NotInProjectError
from octopi.geometry import Points
from octopi.project import copick_items, picks_file
from octopi.project.picks_file import StoredPicks, check_finite, read_picks, to_json
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.project.storage import (
    read_file,
    storage_errors_as_data_error,
    storage_errors_as_resource_error,
    write_file,
)
from octopi.project.volume_store import VolumeStore

Key = TypeVar("Key")


class Run(VolumeStore):
    """One imaged area of a project; see `contents` for when it is listed."""

    def picks(self) -> list[PicksQuery]:
        """List the picks, empty ones too; warn of files that copick takes for another object's."""
        picks = sorted(self.contents().picks, key=str)
        is_known = all(query.object_name in self.objects for query in picks)
        if not is_known and (advice := copick_items.describe_misnamed_picks(self.copick_run)):
            self.warn_once(f"Run {self.name}: copick takes files for other picks. {advice}")
        return picks

    def item_names(self) -> set[str]:
        """List in words what is stored of the run, finished or not; open nothing."""
        contents = self.contents()
        score_maps = (
            f"score map {name} of {query}"
            for query, tomogram in contents.tomograms.items()
            for name in contents.features(tomogram)
        )
        stored = (*contents.tomograms, *contents.picks, *contents.segmentations)
        return {*score_maps, *(f"{query.kind} {query}" for query in stored)}

    def read_picks(self, query: PicksQuery) -> Points:
        """Read particle centres in Å, x y z, with their scores where they have any."""
        return self._read_picks(query).points

    def read_existing_picks(self, queries: Mapping[Key, PicksQuery]) -> dict[Key, Points]:
        """Read the picks that exist in this run, as `read_picks` does; skip the others."""
        existing = self.contents().picks
        return {
            name: read_picks(existing[query], self._where(query), self.warn_once).points
            for name, query in queries.items()
            if query in existing
        }

    def read_oriented(self, query: PicksQuery) -> tuple[Points, NDArray[np.float64] | None]:
        """Read picks as `read_picks` does, and their orientations.

        Returns:
            The points, and rotations (n, 3, 3) from the objects' frame to the tomogram's, x y z;
            None where they are unknown.

        Raises:
            DataError: an orientation is not finite.
        """
        stored = self._read_picks(query)
        if stored.orientations is not None:
            check_finite(stored.orientations, "orientations", self._where(query))
        return stored.points, stored.orientations

    def picks_provenance(self, query: PicksQuery) -> Mapping[str, Any]:
        """Read what octopi says it made picks of, see `picks_file.PROVENANCE`; {} where unknown."""
        return self._read_picks(query).provenance

    def describe_edit(self, query: PicksQuery) -> str | None:
        """Say how picks differ from what octopi wrote; return None if they do not."""
        item = self.contents().picks[query]
        return picks_file.describe_edit(item, self._where(query))

    def is_stored(self, query: PicksQuery | SegmentationQuery) -> bool:
        """Look now whether there are picks or a label volume that octopi would replace."""
        if isinstance(query, SegmentationQuery):
            item = copick_items.new_segmentation(self.copick_run, query)
            path = f"{item.path}/.zattrs"
        else:
            item = copick_items.new_picks(self.copick_run, query)
            path = item.path
        with storage_errors_as_data_error(self._where(query)):
            try:
                read_file(item.fs, path)
            except FileNotFoundError:
                return False
        self._note(query, item)  # it may have come after the run was listed
        return True

    def delete_picks(self, query: PicksQuery) -> None:
        """Delete picks."""
        self.check_can_write(query)
        picks = self.contents().picks[query]
        self.check_claim()
        with storage_errors_as_resource_error(self._where(query), picks.path):
            picks.fs.rm_file(picks.path)
            self._note(query, None)
            _delete_record(picks)

    def write_picks(
        self,
        query: PicksQuery,
        points: Points,
        *,
        orientations: NDArray[np.float64] | None = None,
        provenance: Mapping[str, Any] | None = None,
        by_person: bool = False,
    ) -> None:
        """Write picks, replacing the session's old ones; no points make an empty session.

        Args:
            query: whose picks they are.
            points: the picks.
            orientations: rotations (n, 3, 3) from the objects' frame to the tomogram's, x y z;
                None = unknown.
            provenance: what made them, see `picks_file.PROVENANCE`.
            by_person: whether a person's decisions are in them, so that no command may replace
                them unasked, see `edits`.
        """
        self.check_can_write(query)
        picks = copick_items.new_picks(self.copick_run, query)
        where, made_of = self._where(query), provenance or {}
        content = to_json(points, orientations, picks, where, made_of, fingerprint=not by_person)
        self.check_claim()
        with storage_errors_as_resource_error(where, picks.path):
            write_file(picks.fs, picks.path, content)
            self._note(query, picks)
            if by_person:
                _delete_record(picks)
            else:
                write_file(picks.fs, picks_file.record_path(picks), picks_file.to_record(points))

    def _read_picks(self, query: PicksQuery) -> StoredPicks:
        existing = self.contents().picks
        if query not in existing:
            names = sorted(map(str, existing))
            raise NotInProjectError(f"Run {self.name}", query.kind, query, names)
        return read_picks(existing[query], self._where(query), self.warn_once)


def _delete_record(picks: Any) -> None:
    with contextlib.suppress(FileNotFoundError):
        picks.fs.rm_file(picks_file.record_path(picks))
