"""A run of a project: what is stored of it, and what this process may write to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from octopi.errors import NotInProjectError, SettingError
from octopi.project.copick_items import RunContents
from octopi.project.objects import PickableObject
from octopi.project.queries import (
    PicksQuery,
    SegmentationQuery,
    TomogramQuery,
    check_file_name,
    check_name,
)
from octopi.project.work_folder import Claim


@dataclass(eq=False, repr=False)
class StoredRun:
    """What is stored of a run, by which process, and what may be written to it.

    Args:
        name: of the run in the project.
        copick_run: copick's run.
        objects: the project's objects, by name.
        warn_once: logs a warning once, however many runs give it.
        reopen: opens the run of a name again, in the process that unpickles this one.
        claim: by which the run is this process's, while it is.
        kept: what is stored of the run, where that is listed once.
    """

    name: str
    copick_run: Any
    objects: Mapping[str, PickableObject]
    warn_once: Callable[[str], None]
    reopen: Callable[[str], "StoredRun"]
    claim: Claim | None = None
    kept: RunContents | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reopen, (self.name,), {"claim": self.claim}

    @property
    def stored_name(self) -> str:
        """The name of the run in its own project."""
        return str(self.copick_run.name)

    def check_claim(self) -> None:
        """Raise LockedError if the run was claimed for this process, but is another's by now."""
        if self.claim is not None:
            self.claim.check()

    def contents(self) -> RunContents:
        """Return what is stored of the run: what `keep_contents` has listed, else what is now."""
        return self.kept or RunContents(self.copick_run, self.warn_once)

    def keep_contents(self) -> None:
        """List each folder of the run once from now on, when it is first needed."""
        self.kept = self.kept or RunContents(self.copick_run, self.warn_once)

    def _note(self, query: PicksQuery | SegmentationQuery, item: Any | None) -> None:
        """Note in a list that is kept that an item was written, or with None deleted."""
        if self.kept is None:
            return
        items, listed = self._items(query)
        items.pop(listed, None)
        if item is not None:
            items[listed] = item

    def _items(self, query: PicksQuery | SegmentationQuery) -> tuple[dict[Any, Any], Any]:
        """Return the stored items of the query's kind, and the query as it is listed."""
        if isinstance(query, PicksQuery):
            return self.contents().picks, query
        spacing = round(query.voxel_spacing or 0, 3)
        return self.contents().segmentations, replace(query, voxel_spacing=spacing)

    def check_can_write(self, query: PicksQuery | SegmentationQuery) -> None:
        """Raise unless picks or a label volume can be written under this query.

        Raises:
            SettingError: a name is illegal or too long, or the read-only data has the same.
            NotInProjectError: the project has no such object.
        """
        check_name("user_id", query.user_id)
        check_name("session_id", query.session_id)
        if isinstance(query, PicksQuery):
            objects = [entry.name for entry in self.copick_run.root.config.pickable_objects]
            if query.object_name not in objects:
                raise NotInProjectError("The project", "object", query.object_name, objects)
            check_file_name(query)
        else:
            check_name("name", query.name)
        items, listed = self._items(query)
        if listed in items and items[listed].read_only:
            raise SettingError(
                f"Run {self.name} already has the {query.kind} {listed} in its read-only data. "
                "Write under another user_id or session_id."
            )

    def _where(self, query: TomogramQuery | PicksQuery | SegmentationQuery) -> str:
        return f"Run {self.name}: {query.kind} {query}"
