"""One imaged area: the tomograms, picks, segmentations and score maps that copick holds of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from octopi.errors import DataError, NotInProjectError, SettingError
from octopi.geometry import NEARLY_EXACT, same_spacing
from octopi.project import holdings, read
from octopi.project.attributes import octopi_attributes
from octopi.project.points import StoredPicks, orientations_of, read_picks, to_json
from octopi.project.queries import (
    PicksQuery,
    SegmentationQuery,
    Spaced,
    TomogramQuery,
    check_name,
    nearest,
)
from octopi.project.storage import reading, write_file, writing
from octopi.project.write import write_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from octopi.geometry import Grid, Points
    from octopi.project.project import Project


class Run:
    """One imaged area of a project; every call asks storage anew, so no answer is stale."""

    def __init__(self, name: str, project: Project, copick_run: Any) -> None:
        self.name = name
        self.project = project
        self._copick = copick_run

    def __reduce__(self) -> tuple[Any, ...]:
        return _run_of, (self.project, self.name)

    def __repr__(self) -> str:
        return f"Run({self.name!r})"

    def tomograms(self) -> list[TomogramQuery]:
        """The tomograms there are."""
        return sorted(
            holdings.tomograms(self._copick), key=lambda q: (q.voxel_spacing, q.tomo_type)
        )

    def find_tomogram(self, tomo_type: str | None, voxel_spacing: float | None) -> TomogramQuery:
        """The tomogram meant, by type and nearest spacing (Å, within 1 %); None is the only one."""
        held = self.tomograms()
        asked = "@".join(str(part) for part in (tomo_type, voxel_spacing) if part) or "at all"
        named = [q for q in held if tomo_type in (None, q.tomo_type)]
        return self._the_one("tomogram", asked, voxel_spacing, named, held)

    def is_fixed(self, query: TomogramQuery) -> bool:
        """Whether the tomogram is in data that may only be read."""
        return self._tomogram(query).read_only

    def tomogram_grid(self, query: TomogramQuery) -> Grid:
        """The tomogram's grid; no voxel is read."""
        return self._open_tomogram(query).grid

    def read_tomogram(self, query: TomogramQuery) -> NDArray[np.float32]:
        """The tomogram as float32 (z, y, x), known to be whole, finite and not constant."""
        with reading(self._where(query)):
            return read.read_tomogram(self._open_tomogram(query))

    def fingerprint(self, query: TomogramQuery) -> str:
        """A key (sha256, hex) that changes when the stored tomogram does; no voxel is read."""
        with reading(self._where(query)):
            return read.fingerprint(self._open_tomogram(query))

    def picks(self) -> list[PicksQuery]:
        """The picks there are, empty ones too."""
        return sorted(holdings.picks(self._copick), key=str)

    def read_picks(self, query: PicksQuery) -> Points:
        """Particle centres in Å, x y z, with scores where there are any."""
        return self._read_picks(query).points

    def read_held(self, queries: Mapping[str, PicksQuery]) -> dict[str, Points]:
        """The particle centres of those of the picks that are there, by the same names."""
        held = holdings.picks(self._copick)
        return {
            name: self._load_picks(held[query], query).points
            for name, query in queries.items()
            if query in held
        }

    def read_oriented(self, query: PicksQuery) -> tuple[Points, NDArray[np.float64] | None]:
        """As `read_picks`, and rotations (n, 3, 3) from the objects' frame to the tomogram's.

        Both are x y z; the rotations are None where they are unknown.
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
        """These picks and no others are the session's; no points make an empty session.

        Args:
            query: whose picks they are.
            points: the picks.
            orientations: rotations (n, 3, 3) from the objects' frame to the tomogram's, x y z;
                None = unknown.
        """
        self.check_output(query)
        picks = holdings.new_picks(self._copick, query)
        content = to_json(points, orientations, picks, self._where(query))
        with writing(self._where(query), picks.path):
            write_file(picks.fs, picks.path, content)

    def segmentations(self) -> list[SegmentationQuery]:
        """The label volumes there are, finished ones only."""
        held = holdings.segmentations(self._copick)
        return sorted((q for q, item in held.items() if self._finished(item)), key=str)

    def read_segmentation(
        self, query: SegmentationQuery
    ) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
        """The labels (z, y, x), their grid, and what octopi stored with them ({} for others')."""
        item, found = self._find_segmentation(query)
        return self._read_labels(item, self._where(found), item.voxel_size)

    def write_segmentation(
        self,
        query: SegmentationQuery,
        labels: NDArray[np.uint8],
        *,
        grid: Grid,
        attributes: Mapping[str, Any],
    ) -> None:
        """The label volume is stored whole, in place of any older one, with grid and attributes."""
        self.check_output(query)
        if labels.dtype != np.uint8 or labels.ndim != 3:
            raise ValueError(f"Labels are uint8 (z, y, x), not {labels.dtype} {labels.shape}.")
        if not same_spacing(query.voxel_spacing or 0, float(np.mean(grid.spacing))):
            raise ValueError(
                f"{query} does not name the voxel spacing of its grid, {grid.spacing} Å."
            )
        item = holdings.new_segmentation(self._copick, query)
        with writing(self._where(query), item.path):
            write_volume(item.fs, item.path, labels, grid=grid, attributes=attributes)

    def segmentation_attributes(self, query: SegmentationQuery) -> dict[str, Any]:
        """What octopi stored with a label volume ({} for others'); no voxel is read."""
        item, found = self._find_segmentation(query)
        with reading(self._where(found)):
            volume = read.open_volume(item, self._where(found), item.voxel_size)
        return octopi_attributes(volume)

    def segmentation_fingerprint(self, query: SegmentationQuery) -> str:
        """A key (sha256, hex) that changes when the label volume does; no voxel is read."""
        item, found = self._find_segmentation(query)
        with reading(self._where(found)):
            return read.fingerprint(read.open_volume(item, self._where(found), item.voxel_size))

    def delete_segmentations(self, query: SegmentationQuery) -> None:
        """No label volume of that name, user and session is left, at any voxel spacing."""
        wanted = query.address
        for held, item in holdings.segmentations(self._copick).items():
            if held.address == wanted:
                self.check_output(held)
                with writing(self._where(held), item.path):
                    item.fs.rm(item.path, recursive=True)

    def score_maps(self) -> list[tuple[TomogramQuery, str]]:
        """The score maps there are, by tomogram and name; finished ones only."""
        return [
            (query, name)
            for query, tomogram in holdings.tomograms(self._copick).items()
            for name, item in sorted(holdings.features(tomogram).items())
            if self._finished(item, ours=True)
        ]

    def has_score_map(self, query: TomogramQuery, name: str) -> bool:
        """Whether a score map of that name has been written, and finished, for the tomogram."""
        item = holdings.features(self._tomogram(query)).get(name)
        return item is not None and self._finished(item, ours=True)

    def read_score_map(
        self, query: TomogramQuery, name: str
    ) -> tuple[NDArray[np.uint8], Grid, dict[str, Any]]:
        """The scores (c, z, y, x), 0..255 for 0..1, their grid, and what was stored with them."""
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
        """What was stored with a score map; no voxel is read."""
        item = self._find_score_map(query, name)
        where = f"{self._where(query)}, score map {name}"
        with reading(where):
            return octopi_attributes(read.open_volume(item, where, query.voxel_spacing))

    def write_score_map(
        self,
        query: TomogramQuery,
        name: str,
        scores: NDArray[np.uint8],
        *,
        grid: Grid,
        attributes: Mapping[str, Any],
    ) -> None:
        """The score map (c, z, y, x) is stored whole beside its tomogram; an older one is gone."""
        check_name("score map", name)
        if scores.dtype != np.uint8 or scores.ndim != 4:
            raise ValueError(f"Scores are uint8 (c, z, y, x), not {scores.dtype} {scores.shape}.")
        item = holdings.new_features(self._tomogram(query), name)
        with writing(f"{self._where(query)}, score map {name}", item.path):
            write_volume(item.fs, item.path, scores, grid=grid, attributes=attributes)

    def check_output(self, query: PicksQuery | SegmentationQuery) -> None:
        """The query can be written: legal names, a known object, and not what others provide."""
        check_name("user_id", query.user_id)
        check_name("session_id", query.session_id)
        if isinstance(query, PicksQuery):
            known = [entry.name for entry in self._copick.root.config.pickable_objects]
            if query.object_name not in known:
                raise NotInProjectError(str(self.project), "object", query.object_name, known)
            held = holdings.picks(self._copick).get(query)
        else:
            check_name("name", query.name)
            query = replace(query, voxel_spacing=round(query.voxel_spacing or 0, 3))
            held = holdings.segmentations(self._copick).get(query)
        if held is not None and held.read_only:
            raise SettingError(
                f"Run {self.name} already has the {query.kind} {query} in its read-only data. "
                "Write under another user_id or session_id."
            )

    def _read_picks(self, query: PicksQuery) -> StoredPicks:
        held = holdings.picks(self._copick)
        if query not in held:
            raise NotInProjectError(f"Run {self.name}", query.kind, query, sorted(map(str, held)))
        return self._load_picks(held[query], query)

    def _load_picks(self, item: Any, query: PicksQuery) -> StoredPicks:
        with reading(self._where(query)):
            return read_picks(item, self._where(query))

    def _find_segmentation(self, query: SegmentationQuery) -> tuple[Any, SegmentationQuery]:
        held = holdings.segmentations(self._copick)
        wanted = query.address
        named = [q for q in held if q.address == wanted]
        # An unfinished one is opened only where there is no other, for the error that names it.
        named = [q for q in named if self._finished(held[q])] or named
        found = self._the_one(query.kind, str(query), query.voxel_spacing, named, held)
        return held[found], found

    def _find_score_map(self, query: TomogramQuery, name: str) -> Any:
        held = holdings.features(self._tomogram(query))
        if name not in held:
            raise NotInProjectError(f"{self._where(query)}", "score map", name, held)
        return held[name]

    def _tomogram(self, query: TomogramQuery) -> Any:
        held = holdings.tomograms(self._copick)
        if query not in held:
            raise NotInProjectError(f"Run {self.name}", query.kind, query, self.tomograms())
        return held[query]

    def _open_tomogram(self, query: TomogramQuery) -> read.StoredVolume:
        tomogram = self._tomogram(query)
        with reading(self._where(query)):
            return read.open_volume(tomogram, self._where(query), query.voxel_spacing)

    def _where(self, query: TomogramQuery | PicksQuery | SegmentationQuery) -> str:
        return f"Run {self.name}: {query.kind} {query}"

    def _finished(self, item: Any, *, ours: bool = False) -> bool:
        """Whether the item's writer has finished, and was octopi if that is asked."""
        with reading(f"Run {self.name}: {item.path}"):
            attributes = read.finished_attributes(item)
        return attributes is not None and (not ours or read.COMPLETE in attributes)

    def _read_labels(
        self, item: Any, where: str, voxel_spacing: float
    ) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
        with reading(where):
            volume = read.open_volume(item, where, voxel_spacing)
            return read.read_labels(volume), volume.grid, octopi_attributes(volume)

    def _the_one(
        self,
        kind: str,
        asked: str,
        voxel_spacing: float | None,
        named: list[Spaced],
        held: Iterable[Spaced],
    ) -> Spaced:
        """The only one of those named that is nearest to the spacing asked for (Å), within 1 %."""
        fit = nearest(named, voxel_spacing)
        if not fit:
            raise NotInProjectError(f"Run {self.name}", kind, asked, sorted(map(str, held)))
        if len(fit) > 1:
            raise SettingError(
                f"Run {self.name} has more than one {kind} {asked}: {', '.join(map(str, fit))}. "
                "Say which of them you mean."
            )
        taken = fit[0].voxel_spacing or 0
        if voxel_spacing is not None and not same_spacing(
            taken, voxel_spacing, tolerance=NEARLY_EXACT
        ):
            self.project.notice(
                f"Asked for the {kind} {asked}; taking the nearest spacing, "
                f"{fit[0].voxel_spacing} Å."
            )
        return fit[0]


def _run_of(project: Project, name: str) -> Run:
    """The project's run of that name; how a run comes out of a pickle."""
    return project.select([name])[0]
