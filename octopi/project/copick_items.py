"""Copick's items of a run: those that are stored, from one listing of each folder, and new ones."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

from octopi.errors import DataError, shorten_list
from octopi.project.copick_api import CopickPicksFile, parse_segmentation_store_name
from octopi.project.queries import PicksQuery, SegmentationQuery, TomogramQuery
from octopi.project.storage import PATTERN_SIGNS, storage_errors_as_data_error

Item = Any  # copick's picks, segmentations, tomograms and features differ by backend
Query = TypeVar("Query")

PICKS, SEGMENTATIONS, SPACING = "Picks", "Segmentations", "VoxelSpacing"
MOVE_IT = "A file or folder there has a name that is not copick's; move it away."
NO_FOLDER = " (no folder)"  # after the name of a .zarr that is a file
PACKED = ("", ".txt", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tar.gz", ".tgz", NO_FOLDER)


class RunContents:
    """The copick items of a run by query, listed when first asked for and then kept.

    copick's own queries list each folder several times, which takes minutes in an object store.
    Only runs of the data portal are asked by them.

    Args:
        copick_run: copick's run.
        warn: called with what copick does not read for its name.
    """

    def __init__(self, copick_run: Item, warn: Callable[[str], None]) -> None:
        self._run = copick_run
        self._warn = warn
        self._stores: dict[str, list[tuple[str, bool]]] = {}
        self._features: dict[tuple[float, str], dict[str, Item]] = {}

    @cached_property
    def picks(self) -> dict[PicksQuery, Item]:
        """The picks."""
        items = self._list(PICKS, self._run.query_picks, self._list_picks)
        return _by_query(
            items, lambda p: PicksQuery(p.pickable_object_name, p.user_id, str(p.session_id))
        )

    @cached_property
    def segmentations(self) -> dict[SegmentationQuery, Item]:
        """The label volumes; of two with one query, the one of several objects counts."""
        items = self._list(SEGMENTATIONS, self._run.query_segmentations, self._list_segmentations)
        labels = [s for s in items if s.segmentation_type in ("binary", "multilabel")]
        return _by_query(
            sorted(labels, key=lambda s: s.is_multilabel),
            lambda s: SegmentationQuery(s.name, s.user_id, str(s.session_id), s.voxel_size),
        )

    @cached_property
    def tomograms(self) -> dict[TomogramQuery, Item]:
        """The tomograms."""

        def query_all() -> list[Item]:
            spacings = self._run.query_voxelspacings()
            return [t for spacing in spacings for t in spacing.query_tomograms()]

        items = self._list(f"{SPACING} folders", query_all, self._list_tomograms)
        return _by_query(items, lambda t: TomogramQuery(t.tomo_type, t.voxel_spacing.voxel_size))

    def features(self, tomogram: Item) -> dict[str, Item]:
        """Return the features of a tomogram, by name."""
        key = (tomogram.voxel_spacing.voxel_size, tomogram.tomo_type)
        if key not in self._features:
            items = self._list(
                "features", tomogram.query_features, lambda: self._list_features(tomogram)
            )
            self._features[key] = _by_query(items, lambda f: f.feature_type)
        return self._features[key]

    def _list(
        self,
        what: str,
        query_copick: Callable[[], Iterable[Item]],
        list_folders: Callable[[], Iterable[Item]],
    ) -> list[Item]:
        """List items; raise DataError that says what could not be listed.

        Args:
            what: is listed, for messages.
            query_copick: lists it where there is no folder of static data, as in the data portal.
            list_folders: lists it elsewhere.
        """
        run = self._run
        if PATTERN_SIGNS & set(run.name):
            raise DataError(
                f"The name of run {run.name} has one of the signs * ? [, which copick reads as a "
                "pattern: it would list other runs in its place. Rename its folder."
            )
        query = query_copick if getattr(run, "fs_static", None) is None else list_folders
        with storage_errors_as_data_error(f"Run {run.name}: the list of {what}"):
            try:
                return list(query())
            except (IndexError, ValueError) as error:  # copick splits names without checking them
                advice = describe_misnamed_picks(run) if what == PICKS else ""
                raise DataError(
                    f"Run {run.name}: copick cannot list its {what} ({error}). {advice or MOVE_IT}"
                ) from error

    def _list_picks(self) -> Iterator[Item]:
        self._warn_of_unread(PICKS, self._packed(PICKS, ".json"))
        make = self._run._picks_factory()
        for name, read_only in self._names(PICKS, "*.json"):
            user, session, object_name = name.removesuffix(".json").split("_")[:3]
            file = CopickPicksFile(
                pickable_object_name=object_name, user_id=user, session_id=session
            )
            yield make(run=self._run, file=file, read_only=read_only)

    def _list_segmentations(self) -> Iterator[Item]:
        make, make_meta = self._run._segmentation_factory()
        unread = self._packed(SEGMENTATIONS, ".zarr")
        for name, read_only in self._names(SEGMENTATIONS, "*.zarr"):
            if fields := parse_segmentation_store_name(name, SEGMENTATIONS):
                yield make(run=self._run, meta=make_meta(**fields), read_only=read_only)
            else:
                unread.append(name)
        self._warn_of_unread(SEGMENTATIONS, unread)

    def _list_tomograms(self) -> Iterator[Item]:
        make_spacing, make_meta = self._run._voxel_spacing_factory()
        folders = [name for name, _ in self._names("", f"{SPACING}*")]
        unread: list[str] = []
        for size in dict.fromkeys(float(name.removeprefix(SPACING)) for name in folders):
            spacing = make_spacing(run=self._run, meta=make_meta(voxel_size=size))
            make, make_tomogram_meta = spacing._tomogram_factory()
            exact = f"{SPACING}{size:.3f}"
            unread += self._packed(exact, ".zarr")
            for name, read_only in self._names(exact, "*.zarr"):
                tomo_type = name.removesuffix(".zarr")
                if "features" not in tomo_type:
                    meta = make_tomogram_meta(tomo_type=tomo_type)
                    yield make(voxel_spacing=spacing, meta=meta, read_only=read_only)
            unread += [n for n in folders if float(n.removeprefix(SPACING)) == size and n != exact]
        self._warn_of_unread(SPACING, unread)

    def _packed(self, folder: str, ending: str) -> list[str]:
        """List the names in a folder that would end so if they were unpacked or corrected."""
        endings = tuple(ending + packed for packed in PACKED)
        names = [name for name, _ in self._names(folder, "*")]
        return [n for n in names if n.lower().endswith(endings) and not n.endswith(ending)]

    def _warn_of_unread(self, kind: str, names: list[str]) -> None:
        """Warn of names in a run that are nearly copick's: nothing there is read.

        Args:
            kind: the folder they are in, or are meant to be.
            names: that were found in it.
        """
        folders = [name for name, _ in self._names("", "*") if not name.startswith(kind)]
        unread = [*names, *(n for n in folders if n.lower().startswith(kind.lower()))]
        if unread:
            self._warn(
                f"Run {self._run.name}: not read are {shorten_list(dict.fromkeys(unread))}. copick "
                "reads Picks/USER_SESSION_OBJECT.json, VoxelSpacing10.000/TYPE.zarr and "
                "Segmentations/10.000_USER_SESSION_NAME.zarr: unpack them, and correct their names."
            )

    def _list_features(self, tomogram: Item) -> Iterator[Item]:
        make, make_meta = tomogram._feature_factory()
        start, end = f"{tomogram.tomo_type}_", "_features.zarr"
        for name, read_only in self._names(
            f"{SPACING}{tomogram.voxel_spacing.voxel_size:.3f}", f"{start}*{end}"
        ):
            meta = make_meta(
                tomo_type=tomogram.tomo_type,
                feature_type=name.removeprefix(start).removesuffix(end),
            )
            yield make(tomogram=tomogram, meta=meta, read_only=read_only)

    def _names(self, folder: str, pattern: str) -> list[tuple[str, bool]]:
        """Return the names in a folder of the run that fit, and whether each is read-only.

        Args:
            folder: "" for that of the run itself.
            pattern: a beginning and an end with * between.
        """
        start, end = pattern.split("*")
        if folder not in self._stores:
            self._stores[folder] = [
                (name, read_only)
                for read_only in (False, True)
                if not (read_only and self._run.static_is_overlay)
                for name in self._list_folder(folder, read_only=read_only)
            ]
        return [
            (name, read_only)
            for name, read_only in self._stores[folder]
            if name.startswith(start) and name.endswith(end) and not name.startswith(".")
        ]

    def _list_folder(self, folder: str, *, read_only: bool) -> list[str]:
        part = "static" if read_only else "overlay"
        fs, path = getattr(self._run, f"fs_{part}"), getattr(self._run, f"{part}_path")
        if folder and (folder, read_only) not in self._names("", "*"):
            return []  # asked for, an object store would list twice
        try:
            entries = fs.ls(f"{path}/{folder}".rstrip("/"), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in entries}
        return [
            name if not name.endswith(".zarr") or _is_folder(entry, fs) else name + NO_FOLDER
            for name, entry in names.items()
        ]


def _is_folder(entry: Mapping[str, Any], fs: Any) -> bool:
    """Return whether an entry of a listing is a folder, or a link to one."""
    kind = entry["type"]
    return kind == "directory" or (kind != "file" and fs.isdir(entry["name"]))


def _by_query(items: Iterable[Item], key: Callable[[Item], Query]) -> dict[Query, Item]:
    """Return items by query; where overlay and read-only data have the same, the overlay's."""
    return {key(item): item for item in sorted(items, key=lambda i: not i.read_only)}


def new_picks(run: Item, query: PicksQuery) -> Item:
    """Make picks that are not stored yet; copick's `new_picks` would write an empty file."""
    file = CopickPicksFile(
        pickable_object_name=query.object_name,
        user_id=query.user_id,
        session_id=query.session_id,
        run_name=run.name,
        trust_orientation=False,
    )
    return run._picks_factory()(run=run, file=file)


def new_tomogram(root: Item, run_name: str, query: TomogramQuery) -> Item:
    """Make a tomogram that is not stored yet, of a run that need not exist either."""
    run = root.get_run(run_name)
    if run is None:
        make_run, make_meta = root._run_factory()
        run = make_run(root, meta=make_meta(name=run_name))
    make_spacing, make_meta = run._voxel_spacing_factory()
    # rounded as in the folder's name
    spacing = make_spacing(run=run, meta=make_meta(voxel_size=round(query.voxel_spacing, 3)))
    make, make_meta = spacing._tomogram_factory()
    return make(voxel_spacing=spacing, meta=make_meta(tomo_type=query.tomo_type))


def new_segmentation(run: Item, query: SegmentationQuery) -> Item:
    """Make a label volume of several objects that is not stored yet."""
    make, make_meta = run._segmentation_factory()
    meta = make_meta(
        user_id=query.user_id,
        session_id=query.session_id,
        name=query.name,
        is_multilabel=True,
        voxel_size=round(query.voxel_spacing or 0, 3),  # rounded as in the store's name
    )
    return make(run=run, meta=meta)


def new_features(tomogram: Item, name: str) -> Item:
    """Make features of a tomogram that are not stored yet."""
    make, make_meta = tomogram._feature_factory()
    return make(tomogram=tomogram, meta=make_meta(tomo_type=tomogram.tomo_type, feature_type=name))


def describe_misnamed_picks(run: Item) -> str:
    """Say which files of picks copick cannot read, or reads as another object's; "" if none."""
    names: dict[str, None] = {}
    for part in ("overlay", "static"):  # the data portal has no folder of static data
        fs, folder = getattr(run, f"fs_{part}", None), getattr(run, f"{part}_path", None)
        if fs and folder:
            names |= {path.rpartition("/")[2]: None for path in fs.glob(f"{folder}/Picks/*.json")}
    wrong = [name for name in names if name.count("_") != 2 and name[0] != "."]
    if not wrong:
        return ""
    object_name = wrong[0].removesuffix(".json").rpartition("_")[2]
    return (
        f"Picks are called USER_SESSION_OBJECT.json, but there is {shorten_list(wrong)}. Rename "
        f"each, as in curation_0_{object_name}.json, or move it away."
    )
