"""Arguments of the published functions become words, and Hydra is left as it was."""

import enum
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobRuntime
from omegaconf import OmegaConf

from octopi import call
from octopi.errors import ResourceError, SettingError
from octopi.job import Job, Stopped


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("plain", "plain"),
        ("two words, a comma", "two words, a comma"),
        ("it's", "it's"),
        ("C:\\data\\", "C:\\data\\"),
        ("[x]{y}=$z", "[x]{y}=$z"),
        ("${not.an.interpolation}", "${not.an.interpolation}"),
        ("\\${nor.this}", "\\${nor.this}"),
        ("1", "1"),
        ("null", "null"),
        ("", ""),
        ("größe", "größe"),
        (None, None),
        (True, True),
        (3, 3),
        (10.012, 10.012),
        (1e-12, 1e-12),
        ([], []),
        (["TS_01", "1", "a,b"], ["TS_01", "1", "a,b"]),
        ((2, (3, 4)), [2, [3, 4]]),
        ({"apo-ferritin": 0.5, "a": [1]}, {"apo-ferritin": 0.5, "a": [1]}),
        (Path("a b/c"), "a b/c"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (Colour.RED, "red"),
        ({"x": 1}.keys(), ["x"]),
    ],
    ids=str,
)
def test_a_value_is_read_back_as_it_was(value, read):
    with call._hydra("localize"):
        cfg = hydra.compose("localize", overrides=[call.word("thresholds", value)])
    assert OmegaConf.to_container(cfg, resolve=True)["thresholds"] == read


def test_what_cannot_be_written_as_a_setting_is_refused():
    with pytest.raises(SettingError, match=r"model.act cannot be <built-in function abs>"):
        call.word("model.act", abs)


@pytest.mark.parametrize(
    ("name", "found"), [("UNet", "unet"), ("Unet", "unet"), ("swin-UNETR", "swin_unetr")]
)
def test_a_choice_is_found_by_any_spelling_of_its_name(name, found):
    assert call.choice("model", name, "architecture") == found


def test_an_unknown_choice_is_answered_with_close_ones():
    with pytest.raises(SettingError, match=r"no architecture 'Unett'. Did you mean unet"):
        call.choice("model", "Unett", "architecture")


@pytest.mark.parametrize("wrong", [("a", "b"), "abc", ("a", "b", None), ("a", "b", "c", "d"), 3])
def test_a_triple_is_three_names(wrong):
    with pytest.raises(SettingError, match=r"target_info is .name, user_id, session_id."):
        call.address(wrong, "target_info")


def test_a_project_is_one_config_or_several(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert call.config_paths("a.json") == [a]
    assert call.config_paths(["a.json", b]) == [a, b]
    assert call.config_paths({"one": "a.json", "two": b}) == [a, b]


@pytest.mark.parametrize("wrong", [{}, [], {"name": {"overlay_root": "x"}}, [None], None, 3])
def test_what_is_no_config_is_refused(wrong):
    with pytest.raises(SettingError, match="config is the path of a copick config"):
        call.config_paths(wrong)


def test_hydra_goes_on_with_what_it_was_doing():
    JobRuntime.instance().set("name", "mine")
    with hydra.initialize_config_dir(str(call.CONF_DIR)):
        busy = GlobalHydra.instance().hydra
        JobRuntime.instance().set("name", "mine")
        call.compose("evaluate", [])
        assert GlobalHydra.instance().hydra is busy
        assert JobRuntime.instance().get("name") == "mine"
    assert not GlobalHydra.instance().is_initialized()
    with pytest.raises(SettingError):
        call.compose("evaluate", ["scorer=nothing"])
    assert not GlobalHydra.instance().is_initialized()


def test_what_hydra_refuses_is_a_setting_error_with_the_cure():
    with pytest.raises(SettingError, match="Did you mean unet"):
        call.compose("train", ["model=unett"])


def test_a_job_leaves_its_words_and_its_log(tmp_path, caplog):
    job = Job(tmp_path / "job", ["seed=1"])
    done = call.work("train", lambda _settings, _job: call.logger.info("done") or 7, None, job)
    assert done == 7
    assert (job.folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8") == "- seed=1\n"
    assert "INFO done" in (job.folder / "train.log").read_text(encoding="utf-8")
    call.logger.info("later")
    assert "later" not in (job.folder / "train.log").read_text(encoding="utf-8")


def raising(error):
    def do(settings, job):
        raise error

    return do


def test_ctrl_c_is_a_keyboard_interrupt(tmp_path):
    stopped = Stopped(130, "Continue with: octopi train resume=job")
    with pytest.raises(KeyboardInterrupt, match="resume=job"):
        call.work("train", raising(stopped), None, Job(tmp_path, []))


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
def test_too_little_of_anything_is_a_resource_error(tmp_path, error, raised):
    with pytest.raises(raised):
        call.work("train", raising(error), None, Job(tmp_path, []))


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResourceError, match="file"):
        call.work("train", raising(AssertionError()), None, Job(tmp_path / "file" / "job", []))
