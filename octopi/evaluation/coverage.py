"""Which picks can be compared with which particles: a missing file is no empty one."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from octopi.errors import shorten_list
from octopi.geometry import PicksByRun, Points


@dataclass(frozen=True)
class Coverage:
    """Picks and particles of the objects that were both picked and annotated in a run.

    Args:
        picks: run name -> object name -> picks.
        truth: the same of the particles.
        remarks: what is not compared, in sentences.
    """

    picks: dict[str, Mapping[str, Points]]
    truth: dict[str, Mapping[str, Points]]
    remarks: list[str]


def keep_comparable(picks: PicksByRun, truth: PicksByRun) -> Coverage:
    """Leave out the objects of a run that were not picked there, or not annotated there.

    Picks of an object that is annotated in no run stay: they count nowhere.
    """
    annotated = {name for objects in truth.values() for name in objects}
    not_picked, not_annotated = defaultdict(list), defaultdict(list)
    kept_picks, kept_truth = {}, {}
    for run_name in truth:
        picked, particles = picks.get(run_name, {}), truth[run_name]
        for name in particles.keys() - picked.keys():
            not_picked[name].append(run_name)
        for name in annotated & picked.keys() - particles.keys():
            not_annotated[name].append(run_name)
        kept_truth[run_name] = {n: points for n, points in particles.items() if n in picked}
        kept_picks[run_name] = {
            n: points for n, points in picked.items() if n in particles or n not in annotated
        }
    remarks = [
        f"{name} is not scored in {len(run_names)} of {len(truth)} runs that have no {what} of it: "
        f"{shorten_list(run_names)}."
        for what, missing in (("picks", not_picked), ("truth", not_annotated))
        for name, run_names in sorted(missing.items())
    ]
    return Coverage(kept_picks, kept_truth, remarks)
