"""Whether a training begins in its folder or goes on there."""

from types import SimpleNamespace

import pytest

from octopi.training.folder import resumes


@pytest.mark.parametrize(
    ("resume", "restarts", "files", "goes_on"),
    [
        (None, "0", ["last.ckpt"], False),
        ("job", "0", ["last.ckpt"], True),
        ("auto", "0", [], False),
        ("auto", "0", ["config.yaml", "train.log"], False),  # ended before the first step
        ("auto", "0", ["last.ckpt"], True),
        ("auto", "0", ["fold_0"], True),
        (None, "1", [], False),
        (None, "1", ["last.ckpt"], True),
    ],
)
def test_auto_and_a_restarted_job_go_on_where_a_training_has_begun(
    tmp_path, monkeypatch, resume, restarts, files, goes_on
):
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    for name in files:
        (tmp_path / name).touch()
    assert resumes(tmp_path, SimpleNamespace(resume=resume)) is goes_on
