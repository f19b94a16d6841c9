"""`-m workers=N` starts jobs of SLURM alone, all with the same settings."""

import re

import pytest

from octopi.cli.compose import composed_job

SLURM = "hydra/launcher=submitit_slurm"
VERBS = {
    "create_targets": [],
    "segment": ["checkpoint=none.pth"],
    "localize": [],
    "extract": ["pairs=[10,500]"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["workers=3"], "type -m hydra/launcher=submitit_slurm workers=3"),
        (["workers=0"], "workers must be int of 1 … 512, not 0"),
        (["-m", "workers=0", SLURM], "workers must be int of 1 … 512, not 0"),
        (["-m", "workers=3"], "workers=3 needs hydra/launcher=submitit_slurm, not basic"),
        (["-m", "workers=3", "hydra/launcher=submitit_local"], "not submitit_local"),
        (["-m", "workers=2,3", SLURM], "Give workers one value"),
        (["--multirun", "workers=2", "session_id=1,2", SLURM], "Give session_id one value"),
        (["-m", "workers=2", "overwriet=true", SLURM], "Did you mean overwrite"),
        (["-m", "workers=2", "dry_run=true", SLURM], "leave out -m"),
    ],
)
def test_other_uses_are_refused_before_anything_is_submitted(
    here, octopi_command, capsys, verb, words, message
):
    if verb == "create_targets":
        message = message.replace("session_id", "targets.session_id")
        words = [word.replace("session_id", "targets.session_id") for word in words]
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    assert octopi_command(verb, *VERBS[verb], *words) == 2
    assert message in capsys.readouterr().err
    assert not list(here.rglob(".submitit"))


@pytest.mark.parametrize(("job_id", "end"), [(None, ""), ("12", "/12")])
def test_jobs_of_an_array_that_start_in_one_second_have_folders_of_their_own(
    monkeypatch, job_id, end
):
    if job_id:
        monkeypatch.setenv("SLURM_JOB_ID", job_id)
    with composed_job("train", []) as (job, _):
        time = r"\d+-\d\d-\d\d_\d\d-\d\d-\d\d"
        assert re.search(f"/outputs/train/{time}{end}$", str(job.folder))
