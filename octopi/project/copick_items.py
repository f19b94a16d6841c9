"""New items of copick, and the names of its files of picks."""

from collections.abc import Sequence
from typing import Any

from octopi.errors import shorten_list
from octopi.project.copick_api import CopickPicksFile
from octopi.project.queries import PicksQuery, SegmentationQuery, TomogramQuery

Item = Any  # copick's picks, segmentations, tomograms and features differ by backend


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


def misnamed_picks(run: Item) -> list[str]:
    """List the files among a run's picks that copick cannot read, or reads as another object's."""
    names = []
    for part in ("overlay", "static"):  # the data portal has no folder of static data
        fs, folder = getattr(run, f"fs_{part}", None), getattr(run, f"{part}_path", None)
        if fs and folder:
            names += [path.rpartition("/")[2] for path in fs.glob(f"{folder}/Picks/*.json")]
    return [name for name in names if name.count("_") != 2 and name[0] != "."]


def name_advice(wrong: Sequence[str]) -> str:
    """Say which files of picks have names that copick does not use, and how it names picks."""
    names = shorten_list(dict.fromkeys(wrong))
    object_name = wrong[0].removesuffix(".json").rpartition("_")[2]
    return (
        f"Picks are called USER_SESSION_OBJECT.json, but there is {names}. Rename each, as in "
        f"curation_0_{object_name}.json, or move it away."
    )
