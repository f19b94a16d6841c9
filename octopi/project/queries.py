"""Queries for tomograms, picks and label volumes; the names that copick can store."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

from octopi.errors import NotInProjectError, SettingError, shorten, shorten_list
from octopi.geometry import same_spacing

# Names become parts of file names joined by "_"; three of them must fit into 255 bytes.
MAX_FILE_NAME = 255  # bytes, of all usual disks
MAX_NAME_LENGTH = 64
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PICKS = re.compile(r"([^:/@\s]+):([^:/@\s]+)/([^:/@\s]+)")
_SEGMENTATION = re.compile(_PICKS.pattern + r"(?:@(\d+\.?\d*|\.\d+))?")


@dataclass(frozen=True)
class TomogramQuery:
    """A tomogram by its type and voxel spacing (Å), written `wbp@10.012`."""

    tomo_type: str
    voxel_spacing: float
    kind: ClassVar[str] = "tomogram"

    def __str__(self) -> str:
        return f"{self.tomo_type}@{self.voxel_spacing}"


@dataclass(frozen=True)
class PicksQuery:
    """The picks of one object, user and session, written `ribosome:data-portal/1`."""

    object_name: str
    user_id: str
    session_id: str
    kind: ClassVar[str] = "picks"

    @property
    def user_session(self) -> str:
        """User and session, written `data-portal/1`."""
        return f"{self.user_id}/{self.session_id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `object:user/session`; raise SettingError for other texts."""
        match = _PICKS.fullmatch(text)
        if match is None:
            raise SettingError(
                f"{text!r} does not name picks. Write object:user/session, as in "
                "ribosome:data-portal/1."
            )
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"{self.object_name}:{self.user_session}"


@dataclass(frozen=True)
class PickSets:
    """Sets of picks of one object that count together, the newest last.

    Written `ribosome:octopi/1 + ribosome:curator/1`.
    """

    queries: tuple[PicksQuery, ...]
    kind: ClassVar[str] = "picks"

    @property
    def user_sessions(self) -> list[str]:
        """User and session of each set."""
        return [query.user_session for query in self.queries]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` writes; raise SettingError for other texts."""
        return cls(tuple(map(PicksQuery.parse, text.split(" + "))))

    def __str__(self) -> str:
        return " + ".join(map(str, self.queries))


@dataclass(frozen=True)
class SegmentationQuery:
    """A label volume by name, user, session and spacing (Å), written `targets:octopi/1@10.012`.

    Without a voxel spacing it means the only one that the run has.
    """

    name: str
    user_id: str
    session_id: str
    voxel_spacing: float | None = None
    kind: ClassVar[str] = "segmentation"

    @property
    def name_user_session(self) -> tuple[str, str, str]:
        """Name, user and session: all but the voxel spacing."""
        return self.name, self.user_id, self.session_id

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `name:user/session` or `name:user/session@spacing`; else raise SettingError."""
        match = _SEGMENTATION.fullmatch(text)
        spacing = float(match[4]) if match and match[4] else None
        if match is None or spacing == 0:
            raise SettingError(
                f"{text!r} does not name a segmentation. Write name:user/session or "
                "name:user/session@spacing, as in targets:octopi/1@10.012."
            )
        return cls(match[1], match[2], match[3], spacing)

    def __str__(self) -> str:
        spacing = "" if self.voxel_spacing is None else f"@{self.voxel_spacing}"
        return f"{self.name}:{self.user_id}/{self.session_id}{spacing}"


Spaced = TypeVar("Spaced", TomogramQuery, SegmentationQuery)


def score_map_name(query: SegmentationQuery) -> str:
    """Return copick's name for score maps; its features have one name, not a user and session."""
    return f"{query.name}-{query.user_id}-{query.session_id}"


def nearest(queries: list[Spaced], voxel_spacing: float | None) -> list[Spaced]:
    """Return the queries nearest to a spacing (Å) and within 1 % of it; all of them for None."""
    if voxel_spacing is None:
        return queries
    near = [q for q in queries if same_spacing(q.voxel_spacing or 0, voxel_spacing)]
    differences = [abs((q.voxel_spacing or 0) / voxel_spacing - 1) for q in near]
    return [q for q, one in zip(near, differences, strict=True) if one == min(differences)]


def select_tomogram(
    existing: Sequence[TomogramQuery],
    tomo_type: str | None,
    voxel_spacing: float | None,
    *,
    run_name: str,
) -> TomogramQuery:
    """Return the tomogram of a type nearest to the voxel spacing (Å); see `select_one`.

    Args:
        existing: the run's tomograms.
        tomo_type: None where the run has only one type.
        voxel_spacing: Å, within 1 %; None where the run has only one.
        run_name: for messages.
    """
    candidates = [q for q in existing if tomo_type in (None, q.tomo_type)]
    name = "@".join(str(part) for part in (tomo_type, voxel_spacing) if part) or "at all"
    return select_one(
        candidates, voxel_spacing, run_name=run_name, kind="tomogram", name=name, existing=existing
    )


def select_one(
    candidates: list[Spaced],
    voxel_spacing: float | None,
    *,
    run_name: str,
    kind: str,
    name: object,
    existing: Iterable[Spaced],
) -> Spaced:
    """Return the one candidate nearest to the voxel spacing (Å).

    Args:
        candidates: to choose from.
        voxel_spacing: Å, within 1 %; None where there is only one candidate.
        run_name: for messages, as is all that follows.
        kind: of what is searched for.
        name: of what is searched for.
        existing: the run's.

    Raises:
        NotInProjectError: there is none.
        SettingError: there are several.
    """
    fit = nearest(candidates, voxel_spacing)
    if not fit:
        raise NotInProjectError(f"Run {run_name}", kind, name, sorted(map(str, existing)))
    if len(fit) > 1:
        raise SettingError(
            f"Run {run_name} has more than one {kind} {name}: {shorten_list(fit)}. "
            "Say which of them you mean."
        )
    return fit[0]


def check_name(kind: str, value: str) -> str:
    """Return a name that copick stores unchanged; raise SettingError with a legal spelling.

    Args:
        kind: what is named, for the message: `user_id`, `session_id`, `name`.
        value: letters, digits, `.` and `-`; copick would silently turn others into `-`.
    """
    legal = _legal_spelling(value)
    if value and value == legal:
        return value
    cure = f"Use {legal!r}" if legal else "Use a name that starts with a letter or a digit"
    raise SettingError(
        f"{kind} {shorten(value)!r} cannot be stored as it is: names in a copick project are up to "
        f"{MAX_NAME_LENGTH} letters, digits, '.' and '-'. {cure}."
    )


def check_file_name(query: PicksQuery) -> None:
    """Raise SettingError for picks whose files would have longer names than disks take."""
    name = f"{query.user_id}_{query.session_id}_{query.object_name}.json.octopi"
    if (length := len(name.encode())) > MAX_FILE_NAME:
        raise SettingError(
            f"The files of picks of {shorten(query.object_name, 40)} by {query.user_id[:20]} would "
            f"have names of {length} bytes, and a disk takes {MAX_FILE_NAME}. Choose a shorter "
            "user_id or session_id."
        )


def check_run_name(value: str) -> str:
    """Return a name that a run can have on every filesystem; else raise SettingError."""
    if _RUN.fullmatch(value) and len(value) <= MAX_NAME_LENGTH and ".." not in value:
        return value
    legal = "_".join(filter(None, map(_legal_spelling, value.split("_"))))[:MAX_NAME_LENGTH]
    raise SettingError(
        f"No run can be called {shorten(value)!r}: names of runs are up to {MAX_NAME_LENGTH} "
        "letters, digits, '.', '_' and '-', and begin with a letter or a digit. "
        f"{f'Rename it, as in {legal!r}' if legal else 'Rename it'}."
    )


def _legal_spelling(value: str) -> str:
    """Return the nearest name that copick and every filesystem keep; empty if there is none."""
    ascii_only = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    dashed = re.sub(r"[^A-Za-z0-9.-]+", "-", ascii_only)
    return re.sub(r"\.{2,}", ".", dashed).strip("-.")[:MAX_NAME_LENGTH].strip("-.")
