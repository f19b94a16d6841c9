"""Processes share the runs of an output: each run is done once, whoever is lost on the way."""

import itertools
import os
import pickle
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from octopi.errors import DataError, ExitCode, LockedError, ResourceError, SettingError
from octopi.project import shared_work, work_folder
from octopi.project.shared_work import RunsFailedError, failing_alone, finish, output_settings
from octopi.project.work_folder import WorkFolder
from octopi.project.worker import Worker

OUTPUT, SETTINGS = "picks octopi/1", {"beta": 1, "names": ("a", "b")}
NUM_RUNS = 12


@pytest.fixture
def project(anywhere):
    """A project of a few runs, on each backend."""
    for number in range(NUM_RUNS):
        anywhere.at("Picks", run=f"TS_{number:02d}").mkdir(parents=True)
    return anywhere.open()


@pytest.fixture
def shared(request, anywhere):
    """A project that several processes can share; one in memory is a process's own."""
    if anywhere.overlay.startswith("memory:"):
        pytest.skip("what is in memory has one process")
    return request.getfixturevalue("project")


@pytest.fixture
def local(files):
    for number in range(NUM_RUNS):
        files.at("Picks", run=f"TS_{number:02d}").mkdir(parents=True)
    return files


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(shared_work, "POLLING", (0.01, 0.05))


def writing(project, settings=SETTINGS):
    return project.writing(project.runs, OUTPUT, settings, dry_run=False)


def folder_of(project):
    return WorkFolder.for_output(project.runs[0].copick_run.root, OUTPUT)


def do_all(project, work, log):
    for run in work.one_by_one(project.runs, lambda run: run):
        run.check_claim()
        log.append(run.name)


def work_together(files, num_workers):
    """Do all runs by several workers at once; return the names of the runs that they did."""
    start, log = threading.Barrier(num_workers), []

    def work_beside_others(project):
        with writing(project) as work:
            start.wait(30)
            do_all(project, work, log)

    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(work_beside_others, [files.open() for _ in range(num_workers)]))
    return log


def test_each_run_is_done_once_by_those_who_work_at_the_same_time(shared, anywhere):
    log = work_together(anywhere, 4)
    assert sorted(log) == [run.name for run in shared.runs]
    assert not folder_of(shared).list_files().modified


def test_a_later_job_does_all_again_and_one_that_joins_does_not(local):
    project, log = local.open(), []
    for _ in range(2):
        with writing(project) as work:
            do_all(project, work, log)
    assert len(log) == 2 * NUM_RUNS
    with writing(project) as work:
        do_all(project, work, log)
        other = local.open()
        with writing(other) as others_work:
            do_all(other, others_work, log)
        assert others_work.num_elsewhere == NUM_RUNS
    assert len(log) == 3 * NUM_RUNS


@pytest.mark.parametrize(("age", "job"), [(0, 1), (60, 2)])
def test_a_job_whose_file_is_being_written_is_joined_but_not_one_of_a_lost_writer(local, age, job):
    folder = folder_of(local.open())
    folder.fs.makedirs(folder.path)
    assert folder.create("job.1", "")
    path = Path(folder.path, "job.1")
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    worker = Worker(folder, SETTINGS, OUTPUT)
    worker.join()
    worker.leave()
    assert worker.job == job


def test_another_with_other_settings_is_refused_and_says_what_differs(project, anywhere):
    other = {**SETTINGS, "beta": 2}
    with writing(project):
        message = r"picks octopi/1 with other settings: beta is 1 there, 2 here \(process \d+ on"
        with pytest.raises(LockedError, match=message), writing(anywhere.open(), other):
            pass
        with anywhere.open().writing(project.runs, "picks octopi/2", {}, dry_run=False):
            pass
    with writing(anywhere.open(), other):
        pass


def test_what_one_process_alone_may_write_is_refused_to_another_in_plain_words(local):
    alone = {"dry_run": False, "alone": True}
    with local.open().writing(local.open().runs, OUTPUT, SETTINGS, **alone):
        project = local.open()
        message = r"is writing picks octopi/1 \(process \d+ on"
        refused = pytest.raises(LockedError, match=message)
        with refused as error, project.writing(project.runs, OUTPUT, SETTINGS, **alone):
            pass
    assert "session_id" not in str(error.value)


def lose_worker(project, run_names):
    """Let a process that was killed have claimed runs; return its claims."""
    process = subprocess.Popen(["true"])
    process.wait()
    worker = Worker(folder_of(project), SETTINGS, OUTPUT)
    worker.id = worker.id.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    worker.join()
    worker._stop.set()
    worker.look()
    return [worker.claim(name) for name in run_names]


def test_the_runs_of_a_lost_worker_are_taken_over_once(shared, anywhere):
    lost, *_ = lose_worker(shared, ["TS_03", "TS_07"])
    log = work_together(anywhere, 3)
    assert sorted(log) == [run.name for run in shared.runs]
    with pytest.raises(LockedError):
        lost.check()
    assert not folder_of(shared).list_files().modified


def test_a_run_whose_worker_is_lost_after_it_has_shared_is_still_to_be_done(local):
    project, log = local.open(), []
    by_name = {run.name: run for run in project.runs}
    with writing(project) as work:
        lost, *_ = lose_worker(project, ["TS_03"])
        lost.share({"scores": [1]})
        rounds = work.rounds(project.runs, lambda run: run, until_shared=True)
        own = list(itertools.chain.from_iterable(rounds))
        assert {run.name for run in own} == by_name.keys() - {"TS_03"}
        assert work.read_shared(by_name["TS_03"]) == {"scores": [1]}
        assert work.read_shared(by_name["TS_04"]) == {}
        for run in own:
            finish(run)
        do_all(project, work, log)
    assert log == ["TS_03"]
    assert not folder_of(project).list_files().modified


def test_a_worker_of_another_machine_keeps_its_runs_for_the_lease(local):
    project = local.open()
    folder = folder_of(project)
    far = Worker(folder, SETTINGS, OUTPUT)
    far.id = "far-away-0-1-abc"
    far.join()
    far._stop.set()
    far.look()
    claim = far.claim("TS_00")
    near = Worker(folder, SETTINGS, OUTPUT)
    near.join()
    near.look()
    assert near.job == far.job
    assert near.claim("TS_00") is False
    written = Path(folder.path, f"worker.{far.id}")
    os.utime(written, (0, written.stat().st_mtime - work_folder.LEASE))
    near.look()
    assert near.claim("TS_00").number == claim.number + 1
    near.leave()


def test_a_worker_that_was_silent_for_the_lease_takes_no_other_run(local):
    worker = Worker(folder_of(local.open()), SETTINGS, OUTPUT)
    worker.join()
    worker.look()
    worker._shown -= work_folder.LEASE + 1
    with pytest.raises(LockedError, match="could write nothing for 5 minutes"):
        worker.claim("TS_00")
    worker.show_life()
    with pytest.raises(LockedError):
        worker.claim("TS_00")
    worker.leave()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SettingError("wrong"), ValueError("odd")])
def test_an_error_or_a_signal_drops_the_claims(local, error):
    project = local.open()
    with pytest.raises(error if isinstance(error, type) else type(error)), writing(project) as work:
        for _ in next(work.rounds(project.runs, lambda run: run)):
            assert folder_of(project).list_files().claims()
            raise error
    listing = folder_of(project).list_files()
    assert not listing.claims()
    is_of_the_run = isinstance(error, ValueError) and not isinstance(error, SettingError)
    assert bool(listing.failed(1)) == bool(listing.modified) == is_of_the_run


class Broken:
    """Work in which one run fails, as long as it is broken."""

    def __init__(self):
        self.is_broken = True
        self.tries, self.done = [], []

    def do_all(self, project):
        with writing(project) as work:
            for run in work.one_by_one(project.runs, lambda run: run):
                with failing_alone(run):
                    if run.name == "TS_05" and self.is_broken:
                        self.tries.append(run.claim.number)
                        raise DataError("Run TS_05: the tomogram is damaged.")
                    self.done.append(run.name)


def test_a_run_that_fails_is_tried_three_times_by_all_workers_and_the_others_are_done(
    shared, anywhere
):
    work, start = Broken(), threading.Barrier(5)

    def work_beside_others(project):
        with writing(project):  # none leaves before all have come
            start.wait(30)
            with pytest.raises(RunsFailedError, match=r"Run TS_05: .* 1 of 12 runs") as caught:
                work.do_all(project)
            start.wait(30)
            assert caught.value.exit_code == ExitCode.DATA
            raise KeyboardInterrupt

    def work_and_leave(project):
        with pytest.raises(KeyboardInterrupt):
            work_beside_others(project)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work_and_leave, [anywhere.open() for _ in range(5)]))
    assert sorted(work.tries) == [1, 2, 3]
    assert sorted(work.done) == [run.name for run in shared.runs if run.name != "TS_05"]


def test_one_process_tries_a_failing_run_once_and_the_next_start_tries_it_again(local):
    work = Broken()
    for times in (1, 2):
        with pytest.raises(RunsFailedError):
            work.do_all(local.open())
        assert work.tries == [1] * times
        assert folder_of(local.open()).list_files().failed(times) == {"TS_05": 1}
    work.is_broken = False
    work.do_all(local.open())
    assert work.done.count("TS_05") == 1
    assert not folder_of(local.open()).list_files().modified


def test_where_every_run_fails_the_error_is_that_of_the_run(local):
    project = local.open()
    with pytest.raises(RunsFailedError) as caught, writing(project) as work:
        for run in work.one_by_one(project.runs[:1], lambda run: run):
            with failing_alone(run):
                raise DataError("Run TS_00: it is damaged. Copy it again.")
    assert str(caught.value) == "Run TS_00: it is damaged. Copy it again."
    assert caught.value.exit_code == ExitCode.DATA


def test_a_run_that_three_workers_were_lost_by_is_given_up(local):
    project, log = local.open(), []
    message = r"TS_03: process \d+ on .* was lost"
    with pytest.raises(RunsFailedError, match=message), writing(project) as work:
        for number in (1, 2, 3):
            (claim,) = lose_worker(project, ["TS_03"])
            assert claim.number == number
        do_all(project, work, log)
    assert sorted(log) == [run.name for run in project.runs if run.name != "TS_03"]
    with writing(project) as work:
        do_all(project, work, log)
    assert log.count("TS_03") == 1


def test_a_run_that_ended_three_processes_is_left_out_by_the_others(local):
    project, log = local.open(), []
    message = "Run TS_00: MemoryError: it does not fit"
    with pytest.raises(RunsFailedError, match=message), writing(project) as work:
        for _ in range(3):
            other = local.open()
            with pytest.raises(MemoryError), writing(other) as others_work:
                for run in next(others_work.rounds(other.runs[:1], lambda run: run)):
                    assert run.name == "TS_00"
                    raise MemoryError("it does not fit into the memory")
        do_all(project, work, log)
    assert sorted(log) == [run.name for run in project.runs[1:]]


def test_who_waits_takes_what_another_drops(local):
    project, log = local.open(), []
    holder = writing(project)
    work = holder.__enter__()
    free = next(work.rounds(project.runs, lambda run: run))
    for _ in range(3):
        next(free)  # claimed, and not done
    finish(project.runs[0])
    other = local.open()
    with writing(other) as others_work:
        timer = threading.Timer(0.3, holder.__exit__, [None, None, None])
        timer.start()
        do_all(other, others_work, log)
        timer.join()
    assert sorted(log) == [run.name for run in project.runs[1:]]


def test_tasks_of_an_array_that_come_late_find_nothing_to_do(local, monkeypatch):
    log = []

    def run_task(task, settings=SETTINGS):
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
        monkeypatch.setenv("SLURM_JOB_ID", task)
        project = local.open()
        with writing(project, settings) as work:
            do_all(project, work, log)

    run_task("7")
    run_task("8")
    assert len(log) == NUM_RUNS
    run_task("8")  # the same command again, in the same task
    assert len(log) == 2 * NUM_RUNS
    run_task("9", {"beta": 5})
    assert len(log) == 3 * NUM_RUNS


def test_a_run_keeps_its_claim_in_another_process(local):
    project = local.open()
    with writing(project) as work:
        (run, *_) = next(work.rounds(project.runs[:1], lambda run: run))
        copy = pickle.loads(pickle.dumps(run))
        copy.check_claim()
        finish(copy)
        with pytest.raises(LockedError):
            run.check_claim()


def test_a_dry_run_claims_nothing(local):
    project = local.open()
    with writing(project), project.writing(project.runs, OUTPUT, {"beta": 2}, dry_run=True) as work:
        assert [*work.one_by_one(project.runs, lambda run: run)] == project.runs


@pytest.mark.timeout(60)
@pytest.mark.parametrize("comes_back", [False, True])
def test_an_overlay_that_vanishes_ends_the_work_and_is_not_made_anew(local, comes_back):
    project, log = local.open(), []
    overlay = local.folder / "overlay"
    with (
        pytest.raises(ResourceError, match=r"overlay.* not there any more"),
        writing(project) as work,
    ):
        for run in work.one_by_one(project.runs, lambda run: run):
            log.append(run.name)
            if len(log) == 3:
                overlay.rename(local.folder / "gone")
                if comes_back:
                    overlay.mkdir()
    assert len(log) == 3
    assert overlay.exists() == comes_back
    assert not comes_back or not list(overlay.iterdir())


def test_settings_of_where_a_process_works_do_not_count():
    @dataclass
    class Settings:
        project: dict
        devices: int
        checkpoint: list
        beta: float

    settings = Settings({}, 3, ["here/best.pth"], 2.0)
    assert output_settings(settings, checkpoint=["abc"]) == {"checkpoint": ["abc"], "beta": 2.0}
