"""The tomograms, segmentations and score maps of a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, NotInProjectError
from octopi.geometry import NEARLY_EXACT, Grid, same_spacing
from octopi.project import copick_items, read_volume, stored_volume
from octopi.project.attributes import FINGERPRINT, octopi_attributes
from octopi.project.digests import digest_array
from octopi.project.queries import (
    SegmentationQuery,
    Spaced,
    TomogramQuery,
    check_name,
    select_one,
    select_tomogram,
)
from octopi.project.storage import storage_errors_as_resource_error
from octopi.project.stored_run import StoredRun
from octopi.project.write_volume import write_volume
from octopi.ranges import PLAUSIBLE_SPACING


class VolumeStore(StoredRun):
    """The volumes of a run: its tomograms, segmentations and score maps."""

    def tomograms(self) -> list[TomogramQuery]:
        """List the tomograms, by voxel spacing and type."""
        return sorted(self.contents().tomograms, key=lambda q: (q.voxel_spacing, q.tomo_type))

    def find_tomogram(self, tomo_type: str | None, voxel_spacing: float | None) -> TomogramQuery:
        """Find a tomogram.

        Args:
            tomo_type: None where the run has only one type.
            voxel_spacing: Å; the nearest within 1 % is taken. None where the run has only one.

        Raises:
            NotInProjectError: there is none.
            SettingError: there are several.
        """
        tomogram = select_tomogram(self.tomograms(), tomo_type, voxel_spacing, run_name=self.name)
        return self._warn_of_other_spacing(tomogram, voxel_spacing)

    def is_read_only(self, query: TomogramQuery) -> bool:
        """Return whether the tomogram lies in read-only data."""
        return self._tomogram(query).read_only

    def open_tomogram(self, query: TomogramQuery) -> stored_volume.StoredVolume:
        """Open a tomogram; read only its metadata.

        Raises:
            DataError: its metadata are damaged, or no tomogram has its voxel spacing.
        """
        low, high = PLAUSIBLE_SPACING
        if not low <= query.voxel_spacing <= high:
            raise DataError(
                f"{self._where(query)} has voxels of {query.voxel_spacing:g} Å; those of tomograms "
                f"have {low:g} to {high:g} Å. Store it under its right spacing, or leave the run "
                "out."
            )
        return stored_volume.open_volume(
            self._tomogram(query), self._where(query), query.voxel_spacing, warn=self.warn_once
        )

    def tomogram_grid(self, query: TomogramQuery) -> Grid:
        """Read the tomogram's grid from its metadata."""
        return self.open_tomogram(query).grid

    def read_tomogram(self, query: TomogramQuery) -> NDArray[np.float32]:
        """Read the tomogram as float32 (z, y, x).

        Raises:
            DataError: a chunk is missing or damaged, a voxel is not finite, or all are the same.
        """
        return read_volume.read_tomogram(self.open_tomogram(query))

    def is_finished(self, query: TomogramQuery) -> bool:
        """Return whether the writer of a tomogram has finished."""
        return stored_volume.is_finished(self._tomogram(query))

    def fingerprint(self, query: TomogramQuery | SegmentationQuery) -> str:
        """Return a hash (sha256, hex) that changes with a stored volume; read no voxel."""
        is_tomogram = isinstance(query, TomogramQuery)
        return stored_volume.fingerprint(
            self.open_tomogram(query) if is_tomogram else self.open_segmentation(query)
        )

    def segmentations(self) -> list[SegmentationQuery]:
        """List the label volumes that are finished; warn about the others."""
        finished = []
        for query, item in self.contents().segmentations.items():
            if stored_volume.is_finished(item):
                finished.append(query)
            else:
                self.warn_once(
                    f"{self._where(query)} is left out: it is unfinished, or no OME-Zarr."
                )
        return sorted(finished, key=str)

    def find_segmentation(self, query: SegmentationQuery) -> SegmentationQuery:
        """Find a label volume.

        Args:
            query: the nearest voxel spacing within 1 % is taken; without one, the only one.

        Raises:
            NotInProjectError: there is none.
            SettingError: there are several.
        """
        existing = self.contents().segmentations
        same_name = [q for q in existing if q.name_user_session == query.name_user_session]
        # An unfinished one is taken only where there is no other, for the error that names it.
        candidates = [q for q in same_name if stored_volume.is_finished(existing[q])] or same_name
        spacing = query.voxel_spacing
        selected = select_one(
            candidates, spacing, run_name=self.name, kind=query.kind, name=query, existing=existing
        )
        return self._warn_of_other_spacing(selected, spacing)

    def open_segmentation(self, query: SegmentationQuery) -> stored_volume.StoredVolume:
        """Open a label volume, see `find_segmentation`; read only its metadata."""
        stored = self.find_segmentation(query)
        item = self.contents().segmentations[stored]
        return stored_volume.open_volume(
            item,
            self._where(stored),
            item.voxel_size,
            warn=self.warn_once,
            mask_of=None if item.is_multilabel else item.name,
        )

    def segmentations_of(self, query: SegmentationQuery) -> list[SegmentationQuery]:
        """List the finished label volumes of a name, user and session, at any voxel spacing."""
        return [q for q in self.segmentations() if q.name_user_session == query.name_user_session]

    def read_segmentation(
        self, query: SegmentationQuery
    ) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
        """Read a label volume.

        Returns:
            Labels (z, y, x), unsigned integers, their grid, and octopi's attributes ({} in others'
            volumes). In a binary mask the object's label is 1.

        Raises:
            DataError: a chunk is damaged, or a value is no label.
        """
        volume = self.open_segmentation(query)
        return read_volume.read_labels(volume), volume.grid, octopi_attributes(volume)

    def read_mask(
        self, query: SegmentationQuery, *, may_be_full: bool = False
    ) -> tuple[NDArray[np.bool_], Grid, float]:
        """Read the mask of one object, or with `may_be_full` of a region.

        Returns:
            Whether each voxel (z, y, x) is inside, the grid, and the value stored inside; 0 where
            the mask is empty.

        Raises:
            DataError: the volume holds other values than 0 and one other.
        """
        volume = self.open_segmentation(query)
        mask, value = read_volume.read_mask(volume, may_be_full=may_be_full)
        return mask, volume.grid, value

    def segmentation_attributes(self, query: SegmentationQuery) -> dict[str, Any]:
        """Read octopi's attributes of a label volume ({} in others' volumes), and no voxel."""
        return octopi_attributes(self.open_segmentation(query))

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
        item = copick_items.new_segmentation(self.copick_run, query)
        attributes = {**attributes, FINGERPRINT: digest_array(labels)}
        self.check_claim()
        with storage_errors_as_resource_error(self._where(query), item.path):
            write_volume(item.fs, item.path, labels, grid=grid, attributes=attributes)
        self._note(query, item)

    def delete_segmentations_at_other_spacings(self, query: SegmentationQuery) -> None:
        """Delete the label volumes of this name, user and session but the one of the query.

        What has no metadata stays: another program may be writing it.
        """
        kept = copick_items.new_segmentation(self.copick_run, query).path
        items = self.contents().segmentations
        others = [q for q in items if q.name_user_session == query.name_user_session]
        for existing in others:
            item = items[existing]
            if item.path != kept and stored_volume.is_finished(item):
                self.check_can_write(existing)
                self.check_claim()
                with storage_errors_as_resource_error(self._where(existing), item.path):
                    item.fs.rm(item.path, recursive=True)
                self._note(existing, None)

    def score_maps(self) -> list[tuple[TomogramQuery, str]]:
        """List the finished score maps as pairs of tomogram and name."""
        contents = self.contents()
        return [
            (query, name)
            for query, tomogram in contents.tomograms.items()
            for name, item in sorted(contents.features(tomogram).items())
            if stored_volume.is_finished(item, by_octopi=True)
        ]

    def has_score_map(self, query: TomogramQuery, name: str) -> bool:
        """Return whether the tomogram has a finished score map of this name."""
        item = self.contents().features(self._tomogram(query)).get(name)
        return item is not None and stored_volume.is_finished(item, by_octopi=True)

    def is_foreign_score_map(self, query: TomogramQuery, name: str) -> bool:
        """Return whether the tomogram has finished features of this name by another program."""
        item = self.contents().features(self._tomogram(query)).get(name)
        is_there = item is not None and stored_volume.is_finished(item)
        return is_there and not stored_volume.is_finished(item, by_octopi=True)

    def read_score_map(
        self, query: TomogramQuery, name: str
    ) -> tuple[NDArray[np.uint8], Grid, dict[str, Any]]:
        """Read a score map.

        Returns:
            Scores (c, z, y, x), 0..255 for 0..1, their grid, and octopi's attributes.
        """
        volume = self._open_score_map(query, name)
        attributes = octopi_attributes(volume)
        scores = read_volume.read_scores(volume, attributes.get("objects"))
        return scores, volume.grid, attributes

    def score_map_attributes(self, query: TomogramQuery, name: str) -> dict[str, Any]:
        """Read octopi's attributes of a score map, and no voxel."""
        return octopi_attributes(self._open_score_map(query, name))

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
        item = copick_items.new_features(self._tomogram(query), name)
        self.check_claim()
        with storage_errors_as_resource_error(f"{self._where(query)}, score map {name}", item.path):
            write_volume(item.fs, item.path, scores, grid=grid, attributes=attributes)

    def _tomogram(self, query: TomogramQuery) -> Any:
        existing = self.contents().tomograms
        if query not in existing:
            raise NotInProjectError(f"Run {self.name}", query.kind, query, self.tomograms())
        return existing[query]

    def _open_score_map(self, query: TomogramQuery, name: str) -> stored_volume.StoredVolume:
        existing = self.contents().features(self._tomogram(query))
        if name not in existing:
            raise NotInProjectError(self._where(query), "score map", name, existing)
        where = f"{self._where(query)}, score map {name}"
        return stored_volume.open_volume(
            existing[name], where, query.voxel_spacing, warn=self.warn_once, channels=True
        )

    def _warn_of_other_spacing(self, selected: Spaced, voxel_spacing: float | None) -> Spaced:
        """Warn if a volume has another voxel spacing (Å) than requested; return the volume."""
        spacing = selected.voxel_spacing or 0
        if voxel_spacing and not same_spacing(spacing, voxel_spacing, tolerance=NEARLY_EXACT):
            self.warn_once(
                f"Requested a {selected.kind} of {voxel_spacing} Å; taking the nearest spacing: "
                f"{selected}."
            )
        return selected
