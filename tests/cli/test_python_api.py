"""Arguments of the published functions become overrides, and a command runs in a folder."""

import pytest

from octopi.cli import python_api
from octopi.errors import ResourceError, SettingError, StoppedBySignal
from octopi.system.job_folder import Job


@pytest.mark.parametrize(
    ("name", "choice"), [("UNet", "unet"), ("Unet", "unet"), ("swin-UNETR", "swin_unetr")]
)
def test_a_choice_is_found_by_any_spelling_of_its_name(name, choice):
    assert python_api.resolve_choice("model", name, "architecture") == choice


def test_an_unknown_choice_is_answered_with_close_ones():
    with pytest.raises(SettingError, match=r"no architecture 'Unett'. Did you mean unet"):
        python_api.resolve_choice("model", "Unett", "architecture")


@pytest.mark.parametrize("wrong", [("a", "b"), "abc", ("a", "b", None), ("a", "b", "c", "d"), 3])
def test_a_triple_is_three_names(wrong):
    with pytest.raises(SettingError, match=r"target_info is .name, user_id, session_id."):
        python_api.query_text(wrong, "target_info")


def test_a_project_is_one_config_or_several(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert python_api.config_paths("a.json") == [a]
    assert python_api.config_paths(["a.json", b]) == [a, b]
    assert python_api.config_paths({"one": "a.json", "two": b}) == [a, b]


@pytest.mark.parametrize("wrong", [{}, [], {"name": {"overlay_root": "x"}}, [None], None, 3])
def test_other_values_than_paths_of_configs_are_refused(wrong):
    with pytest.raises(SettingError, match="config is the path of a copick config"):
        python_api.config_paths(wrong)


def test_an_error_of_hydra_is_a_setting_error_with_close_matches():
    with pytest.raises(SettingError, match="Did you mean unet"):
        python_api.compose("train", ["model=unett"])


def test_a_job_writes_its_overrides_and_its_log(tmp_path, caplog):
    job = Job(tmp_path / "job", ["seed=1"])
    result = python_api.run_in_folder(
        "segment", lambda _settings, _job: python_api.logger.info("done") or 7, None, job
    )
    assert result == 7
    assert (job.folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8") == "- seed=1\n"
    assert "INFO done" in (job.folder / "segment.log").read_text(encoding="utf-8")
    python_api.logger.info("later")
    assert "later" not in (job.folder / "segment.log").read_text(encoding="utf-8")


def test_a_training_opens_its_folder_itself(tmp_path):
    job = Job(tmp_path / "job", ["seed=1"])

    def train(settings, job):
        assert not job.folder.exists()
        job.open_folder()
        python_api.logger.info("done")

    python_api.run_in_folder("train", train, None, job)
    assert "INFO done" in (job.folder / "train.log").read_text(encoding="utf-8")


def raising(error):
    def command(settings, job):
        raise error

    return command


def test_ctrl_c_is_a_keyboard_interrupt(tmp_path):
    stopped = StoppedBySignal(130, "Continue with: octopi train resume=job")
    with pytest.raises(KeyboardInterrupt, match="resume=job"):
        python_api.run_in_folder("train", raising(stopped), None, Job(tmp_path, []))


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (PermissionError(13, "Permission denied", "f"), ResourceError),
        (MemoryError(), ResourceError),
        (RuntimeError("CUDA out of memory"), ResourceError),
        (RuntimeError("a mistake"), RuntimeError),
        (ResourceError("as it is"), ResourceError),
    ],
)
def test_too_little_memory_or_permission_is_a_resource_error(tmp_path, error, raised):
    with pytest.raises(raised):
        python_api.run_in_folder("train", raising(error), None, Job(tmp_path, []))


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResourceError, match="file"):
        python_api.run_in_folder(
            "segment", raising(AssertionError()), None, Job(tmp_path / "file" / "job", [])
        )
