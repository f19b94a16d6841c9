"""A folder of MRC files: which are tomograms, and of which runs."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from octopi.errors import DataError, SettingError, shorten_list
from octopi.formats import mrc
from octopi.geometry import same_spacing
from octopi.project.queries import check_run_name

logger = logging.getLogger(__name__)

# in names of tomograms of every second frame, which are no areas of their own
HALF = re.compile(r"[._-]?(?<![a-z0-9])(evn|even|odd|half[._-]?[12ab])(?![a-z0-9])", re.IGNORECASE)
TILT_SERIES = re.compile(r"(?<![a-z0-9])(st|ali|tilts?|tilt[._-]?series|stack)$", re.IGNORECASE)


def find_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Find the files of a pattern in a folder, and their runs' names; leave out half tomograms.

    Returns:
        Run name -> file.

    Raises:
        SettingError: there is no file, or a name that no run can have.
        DataError: a link leads nowhere.
    """
    if not folder.is_dir():
        raise SettingError(f"folder={folder} is no folder.")
    if pattern.count("*") != 1 or "/" in pattern:
        raise SettingError(
            f"files={pattern!r}: write one * for the name of the run and no /, as in "
            "*_10.00Apx.mrc."
        )
    before, after = pattern.split("*")
    matches = sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
    if broken := [f"{path.name} -> {path.readlink()}" for path in matches if not path.exists()]:
        raise DataError(
            f"In {folder} are links that lead nowhere: {shorten_list(broken)}. Mend or delete "
            "them, or choose other files with files=… Nothing has been written."
        )
    paths = [path for path in matches if path.is_file()]
    if others := sorted(path.name for path in {*matches}.difference(paths)):
        logger.warning("Left out, being folders or pipes and no files: %s", shorten_list(others))
    if not paths:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        raise SettingError(
            f"{folder} has no files {pattern}. It holds: {shorten_list(names) or 'nothing'}. "
            "Choose some with files=…, with * for the name of the run."
        )
    if not after and (ending := paths[0].suffix):
        raise SettingError(
            f"files={pattern!r} would call a run {paths[0].name.removeprefix(before)}: write the "
            f"ending too, as in files={pattern}{ending}"
        )
    files = leave_out_halves({p.name.removeprefix(before).removesuffix(after): p for p in paths})
    files_by_run = {check_run_name(name): path for name, path in files.items()}
    check_names_differ(files_by_run)
    return files_by_run


def leave_out_halves(files: Mapping[str, Path]) -> dict[str, Path]:
    """Leave out tomograms of even or odd frames whose whole tomogram is there, with a warning.

    Args:
        files: run name -> file.

    Raises:
        SettingError: both halves of a tomogram are there, but not the whole.
    """
    halves: dict[str, list[str]] = {}
    for name in files:
        if HALF.search(name):
            halves.setdefault(HALF.sub("", name).strip("._-"), []).append(name)
    left_out: list[str] = []
    for whole_name, names in halves.items():
        if whole_name in files:
            left_out += names
        elif len(names) > 1:
            first, second = (files[name].name for name in names[:2])
            raise SettingError(
                f"{first} and {second} are halves of one tomogram and would be runs of their own, "
                "of which one may train and the other validate. Import one of the halves, with a "
                "pattern that names it, as in files=*_EVN.mrc. Nothing has been written."
            )
    if left_out:
        logger.warning(
            "%d files are left out, being tomograms of half the frames of others: %s. To import "
            "such halves, name them in the pattern, as in files=*_EVN.mrc.",
            len(left_out),
            shorten_list(files[name].name for name in left_out),
        )
    return {name: path for name, path in files.items() if name not in left_out}


def check_names_differ(files_by_run: Mapping[str, Path]) -> None:
    """Raise SettingError for names that differ only in case, which are one on some filesystems."""
    names: dict[str, str] = {}
    for name in files_by_run:
        other = names.setdefault(name.casefold(), name)
        if other != name:
            raise SettingError(
                f"{files_by_run[other].name} and {files_by_run[name].name} would be runs {other} "
                f"and {name}, which some disks cannot tell apart. Rename one of them."
            )


def warn_of_tilt_series(paths: Mapping[str, Path], headers: Sequence[mrc.Header]) -> None:
    """Warn of files that may be tilt series: by their names, or by headers unlike the others'."""
    groups = {header.space_group for header in headers}
    for run_name, header in zip(paths, headers, strict=True):
        if TILT_SERIES.search(run_name):
            reason = "is named as tilt series are"
        elif header.space_group == 0 and 1 in groups:
            reason = "is a stack of images by its header (ispg 0), and others are volumes (ispg 1)"
        else:
            continue
        logger.warning(
            "%s %s. If it is no tomogram, leave it out with files=…", header.path.name, reason
        )


def warn_of_origins(headers: Sequence[mrc.Header]) -> None:
    """Warn of files whose first voxel is not at 0, as that of a part of a larger volume."""
    names = [header.path.name for header in headers if header.begins_elsewhere]
    if names:
        logger.warning(
            "%d files begin elsewhere than at 0 by their headers (origin or nstart): %s. octopi, "
            "as copick, counts from the first voxel: picks in a larger volume need that shift.",
            len(names),
            shorten_list(names),
        )


def check_same_spacing(spacings: Mapping[str, float]) -> None:
    """Raise DataError if files (name -> Å) differ in voxel spacing: then some header is wrong."""
    low, high = min(spacings, key=spacings.__getitem__), max(spacings, key=spacings.__getitem__)
    if not same_spacing(spacings[high], spacings[low]):
        raise DataError(
            f"The files differ in voxel size: {low} has {spacings[low]:g} Å, {high} "
            f"{spacings[high]:g} Å. Import them separately (files=…), or correct the headers. "
            "Nothing has been written."
        )
