"""Turn score maps into scored picks, one set per object.

Run it as `octopi localize` or `python -m octopi.localize`; no network is needed, so thresholds
can be changed and picks made again in seconds.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from octopi.candidates import find_run_candidates, read_picking_info
from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build, build_part
from octopi.config.settings import LocalizeSettings
from octopi.errors import SettingError, shorten_list
from octopi.evaluation.data_thresholds import (
    MIN_CHANCE,
    RunCandidates,
    expect_all,
    has_typed_threshold,
    thresholds_by_data,
)
from octopi.evaluation.expected import format_expected
from octopi.localization import LOCALIZER
from octopi.localization.localizer import Localizer
from octopi.localization.peaks import Peaks
from octopi.picking import PickingInfo
from octopi.processes.job_array import start_workers
from octopi.project import Project
from octopi.project.edits import check_not_edited, check_still_not_edited
from octopi.project.picks_file import PROVENANCE
from octopi.project.queries import PicksQuery, check_name
from octopi.project.run import Run
from octopi.project.run_scores import (
    RunScores,
    find_scores,
    particle_radii,
    warn_of_other_radii,
    warn_of_several_networks,
)
from octopi.project.selection import keep_runs_with
from octopi.project.shared_work import (
    SharedWork,
    failing_alone,
    finish,
    output_settings,
    share,
)
from octopi.system.files import write_json
from octopi.system.job_folder import EXPECTED_FILE, Job
from octopi.system.progress import ProgressBar
from octopi.system.worker_pool import run_in_threads

logger = logging.getLogger(__name__)


def localize(settings: LocalizeSettings, job: Job) -> None:
    """Pick every object in every run that has scores; write an empty file where there are none."""
    check_settings(settings)
    checkpoint_info = read_picking_info(settings.checkpoint)
    project: Project = build(settings.project, "project")
    located = keep_runs_with(
        project.select(settings.runs, keep_contents=True),
        lambda run: find_scores(
            run,
            settings.source,
            settings.input,
            tomo_type=settings.tomo_type,
            voxel_spacing=settings.voxel_spacing,
        ),
        settings.runs,
    )
    # Sums and the first run's info must not depend on the order in which runs are named.
    located.sort(key=lambda pair: pair[0].name)
    runs = [run for run, _ in located]
    all_scores = [replace(scores, checkpoint_info=checkpoint_info) for _, scores in located]
    output = f"{settings.user_id}/{settings.session_id}"
    check_not_edited(
        runs,
        lambda run: [query for query in run.picks() if query.user_session == output],
        overwrite=settings.overwrite,
    )
    localizer = build_localizer(settings, all_scores[0])
    with project.writing(
        runs, f"picks {output}", output_settings(settings), dry_run=settings.dry_run
    ) as work:
        for scores in all_scores:
            info = scores.read_info()
            check_outputs(scores.run, info, settings)
            warn_of_other_radii(info, project.objects, project.warn_once)
            scores.check()  # of every run before the first is written
        warn_of_several_networks(all_scores, project.warn_once)
        if settings.dry_run:
            log_dry_run("localize", describe(project, all_scores, settings, localizer))
            return
        job_part = JobPart(all_scores, work, settings, localizer)
        job_part.localize()
        candidates_by_run = job_part.candidates_by_run()
    by_data = job_part.thresholds_by_data
    expected = expect_all(candidates_by_run, by_data, settings.beta, settings.thresholds)
    write_json(job.folder / EXPECTED_FILE, {name: asdict(one) for name, one in expected.items()})
    logger.info(
        "Picks of %d runs as %s. Expected of them, with 95 %% intervals:\n%s",
        len(candidates_by_run), output, format_expected(expected),
    )  # fmt: skip


def check_settings(settings: LocalizeSettings) -> None:
    """Raise SettingError for names that copick cannot store, and settings that exclude others."""
    for kind in ("user_id", "session_id"):
        check_name(kind, getattr(settings, kind))
    if isinstance(settings.thresholds, int | float) and settings.beta is not None:
        raise SettingError(
            f"thresholds={settings.thresholds:g} is that of every object, beside which beta says "
            "nothing. Drop one of them, or give {object: threshold}."
        )


@dataclass
class JobPart:
    """What this process does of a job that others may share: it picks in the runs that are free.

    Thresholds of the training are known, so that a run is done at once. Those that the data choose
    need the candidates of all runs, of which the processes tell each other the scores.

    Args:
        all_scores: of the runs.
        work: shared with other processes.
        settings: of the command.
        localizer: finds the candidates.
        thresholds_by_data: that the data choose, by object.
    """

    all_scores: Sequence[RunScores]
    work: SharedWork
    settings: LocalizeSettings
    localizer: Localizer
    thresholds_by_data: dict[str, float] = field(default_factory=dict, init=False)
    _found: dict[str, RunCandidates] = field(default_factory=dict, init=False)  # by run
    _found_elsewhere: dict[str, RunCandidates] = field(default_factory=dict, init=False)  # scores
    _tried: set[str] = field(default_factory=set, init=False)

    def localize(self) -> None:
        """Pick every object in every run that no other process picks in."""
        settings = self.settings
        if settings.thresholds_from == "data":
            self._in_free_runs(self._find, until_shared=True)
            self.thresholds_by_data = thresholds_by_data(
                self.candidates_by_run(), settings.beta, settings.thresholds
            )
            own = [scores for scores in self.all_scores if scores.run.name in self._found]
            for _ in run_in_threads(self._pick, own, num_threads=settings.num_workers):
                pass
        self._in_free_runs(self._find_and_pick)

    def candidates_by_run(self) -> list[RunCandidates]:
        """Return the candidates of all runs; of those of other processes the scores alone."""
        for scores in self.all_scores:
            name = scores.run.name
            is_known = name in self._found or name in self._found_elsewhere
            if not is_known and (shared := self.work.read_shared(scores.run)):
                raw = RunCandidates.decode_raw(scores.read_info(), shared)
                self._found_elsewhere[name] = raw
        known = self._found_elsewhere | self._found
        return [known[s.run.name] for s in self.all_scores if s.run.name in known]

    def _in_free_runs(self, do: Callable[[RunScores], None], *, until_shared: bool = False) -> None:
        left = [scores for scores in self.all_scores if scores.run.name not in self._tried]
        rounds = self.work.rounds(left, lambda scores: scores.run, until_shared=until_shared)
        with ProgressBar(total=len(left), desc="localize", unit="run", disable=not left) as bar:
            for free in rounds:
                for _ in run_in_threads(do, free, num_threads=self.settings.num_workers):
                    bar.update()

    def _find_and_pick(self, scores: RunScores) -> None:
        self._find(scores)
        self._pick(scores)

    def _find(self, scores: RunScores) -> None:
        """Find the candidates of every object in a run, and tell other processes their scores."""
        self._tried.add(scores.run.name)
        with failing_alone(scores.run):
            found = find_run_candidates(
                scores, self.localizer, lambda info: lowest_chances(info, self.settings)
            )
            share(scores.run, found.encode_raw())
            self._found[scores.run.name] = found

    def _pick(self, scores: RunScores) -> None:
        """Write the picks of a run whose candidates this process has found."""
        if found := self._found.get(scores.run.name):
            with failing_alone(scores.run):
                write_run_picks(scores, found, self.thresholds_by_data, self.settings)
            self._found[scores.run.name] = replace(found, by_object={})  # frees their memory


def lowest_chances(info: PickingInfo, settings: LocalizeSettings) -> dict[str, float]:
    """Return the lowest chance of interest: MIN_CHANCE where scores have a known meaning."""
    thresholds = info.thresholds_at(settings.beta, settings.thresholds)
    return {n: min(t, MIN_CHANCE) if n in info.chances else t for n, t in thresholds.items()}


def write_run_picks(
    scores: RunScores,
    run_candidates: RunCandidates,
    by_data: Mapping[str, float],
    settings: LocalizeSettings,
) -> None:
    """Write the picks of every object in a run, delete all others, and note the run as done.

    Args:
        scores: of the run.
        run_candidates: the candidates found in them.
        by_data: thresholds that override those of the training.
        settings: of the command.
    """
    attributes = scores.read_attributes()
    provenance = {key: attributes[key] for key in PROVENANCE if key in attributes}
    provenance["source"] = f"{settings.source} {settings.input}"
    info, run = run_candidates.info, scores.run
    thresholds = info.thresholds_at(settings.beta, settings.thresholds) | dict(by_data)
    for name, candidates in run_candidates.by_object.items():
        meaning = {}
        if chance := info.chances.get(name):
            expected = float(chance.of(run_candidates.raw[name]).sum() / chance.found)
            meaning = {"chance": asdict(chance), "expected_particles": expected}
        query = PicksQuery(name, settings.user_id, settings.session_id)
        check_still_not_edited(run, query, overwrite=settings.overwrite)
        run.write_picks(
            query,
            candidates.above(thresholds[name]),
            provenance={**provenance, **meaning, "threshold": thresholds[name]},
        )
    for query in other_picks(run, info, settings):
        check_still_not_edited(run, query, overwrite=settings.overwrite)
        run.delete_picks(query)
    finish(run)


def other_picks(run: Run, info: PickingInfo, settings: LocalizeSettings) -> list[PicksQuery]:
    """List the picks of the session whose objects are not picked now."""
    names = particle_radii(info, run.objects)
    output = f"{settings.user_id}/{settings.session_id}"
    return [q for q in run.picks() if q.user_session == output and q.object_name not in names]


def check_outputs(run: Run, info: PickingInfo, settings: LocalizeSettings) -> None:
    """Raise SettingError if picks cannot be written, or the session would keep another model's."""
    for name in particle_radii(info, run.objects):
        run.check_can_write(PicksQuery(name, settings.user_id, settings.session_id))
    others = other_picks(run, info, settings)
    if others and not settings.overwrite:
        raise SettingError(
            f"Run {run.name} has picks {settings.user_id}/{settings.session_id} of "
            f"{shorten_list(q.object_name for q in others)}, which these scores are not of: "
            "another model made them. Delete them with overwrite=true, or choose another "
            "session_id."
        )


def describe(
    project: Project,
    all_scores: Sequence[RunScores],
    settings: LocalizeSettings,
    localizer: Localizer,
) -> list[str]:
    """Describe, for a dry run, what would be done; in lines.

    Wrong settings and stored values raise the errors that they would raise in the work.
    """
    objects, replaced = "", 0
    for scores in all_scores:
        info = scores.read_info()
        radii = particle_radii(info, project.objects)
        thresholds = info.thresholds_at(settings.beta, settings.thresholds)
        objects = objects or ", ".join(
            f"{name} from {describe_threshold(name, thresholds[name], info, settings)}"
            for name in radii
        )
        queries = {PicksQuery(name, settings.user_id, settings.session_id) for name in radii}
        replaced += len(queries & set(scores.run.picks()))
    skipped = len(project.select(settings.runs)) - len(all_scores)
    return [
        f"would run  {len(all_scores)} runs: {shorten_list(s.run.name for s in all_scores)}",
        f"skipped    {skipped} runs without {settings.input}",
        f"localizer  {type(localizer).__name__}",
        f"objects    {objects}",
        f"written    picks of every object as {settings.user_id}/{settings.session_id}, in "
        f"{', '.join(project.overlays)}; {replaced} files are replaced",
    ]


def describe_threshold(
    name: str, threshold: float, info: PickingInfo, settings: LocalizeSettings
) -> str:
    """Say from which chance on an object's candidates become picks, or what will decide it."""
    if (
        settings.thresholds_from == "data"
        and name in info.chances
        and not has_typed_threshold(name, settings.thresholds)
    ):
        return f"a chance that is chosen from the data (training: {threshold:.3g})"
    return f"{threshold:.3g}"


def build_localizer(settings: LocalizeSettings, scores: RunScores) -> Localizer:
    """Build the localizer that the thresholds were calibrated with, or the one the user chose.

    Args:
        settings: of the command.
        scores: of the first run.
    """
    info = scores.read_info()
    where = f"Run {scores.run.name}: {settings.source} {settings.input}"
    if settings.checkpoint is not None:
        where = f"The checkpoint {shorten_list(settings.checkpoint, item_length=300)}"
    if not info.localizer and "_target_" not in settings.localizer:
        raise SettingError(
            "Nothing says how to localize: choose localizer=peaks, watershed or components."
        )
    localizer: Localizer
    node, localizer = build_part(
        settings.localizer, info.localizer, LOCALIZER, where=where, trust=settings.trust
    )
    if info.localizer and node != info.localizer:
        logger.warning("The thresholds were calibrated with another localizer.")
    if settings.accelerator == "gpu":
        from octopi.inference.gpu_peaks import gpu_finder  # noqa: PLC0415  torch is slow to import

        if not isinstance(localizer, Peaks):
            raise SettingError("accelerator=gpu needs localizer=peaks; others work on the CPU.")
        localizer.find_maxima = gpu_finder()
    return localizer


main = Command("localize", localize, start_workers=start_workers)

if __name__ == "__main__":
    main()
