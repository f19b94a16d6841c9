"""What an error becomes on its way to the shell."""

import errno
import logging
import re
import subprocess
import sys

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from tiny import TINY

from octopi.cli.error_report import explain_hydra_error, report_error
from octopi.config.overrides import compose_config
from octopi.errors import DataError, DivergedError, ResourceError, SettingError, StoppedBySignal


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingError("x"), 2),
        (HydraException("x"), 2),
        (DataError("x"), 3),
        (ResourceError("x"), 4),
        (MisconfigurationException("profiler must be simple"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 4),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "f"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 4),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []"), 4),
        (MemoryError(), 4),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 4),
        (DivergedError("x"), 5),
        (KeyboardInterrupt(), 130),
        (StoppedBySignal(143, "x"), 143),
    ],
)
def test_every_error_has_its_exit_code(error, code, capsys):
    assert report_error(error) == code
    err = capsys.readouterr().err
    assert err.startswith("octopi: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (KeyboardInterrupt(), 130),
        (StoppedBySignal(143, "Stopped."), 143),
        (OSError(errno.EMFILE, "Too many open files", "f"), 4),
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (OSError(errno.EROFS, "Read-only file system"), 4),
        (MemoryError(), 4),
    ],
)
def test_what_ended_the_work_is_told_where_code_of_others_hides_it(stop, code, capsys):
    with pytest.raises(UnboundLocalError) as hidden:
        try:
            raise stop
        finally:  # as Hydra, which closes a file that it has not opened yet
            raise UnboundLocalError("file")
    assert report_error(hidden.value) == code
    assert "mistake" not in capsys.readouterr().err


def test_an_error_of_the_system_that_a_mistake_met_before_hides_no_mistake(capsys):
    with pytest.raises(UnboundLocalError) as mistake:
        try:
            raise FileNotFoundError(errno.ENOENT, "No such file", "f")
        finally:
            raise UnboundLocalError("file")
    assert report_error(mistake.value) == 1
    assert "mistake" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (OSError(errno.EMFILE, "Too many open files", "f"), ("open files: f", "ulimit -n")),
        (
            OSError(errno.ENOSPC, "No space left on device", "f"),
            ("device: f", "Make room", "resume="),
        ),
        (OSError(errno.EFBIG, "File too large", "f" * 900), ("File too large: f", "ulimit -f")),
        (OSError(errno.ENOSPC, "No space left on device"), ("output of octopi", "Make room")),
    ],
)
def test_what_the_machine_lacks_is_named_with_what_to_do(error, names, capsys):
    report_error(error)
    message = capsys.readouterr().err
    assert all(name in message for name in names)
    assert re.search(r"\w\.\n$", message)


def test_an_interrupted_command_says_how_a_training_goes_on(capsys):
    report_error(KeyboardInterrupt())
    err = capsys.readouterr().err
    assert "The same command does the rest" in err
    assert "resume=FOLDER" in err


def test_a_path_that_cannot_be_is_named_with_what_to_do(capsys):
    assert report_error(OSError(errno.ENAMETOOLONG, "File name too long", "q" * 900)) == 4
    message = capsys.readouterr().err
    assert re.fullmatch(r"octopi: File name too long: q+ … q+\. Name another path.*\n", message)


def test_an_error_in_the_class_of_a_user_names_file_and_line(here, octopi_command, capfd):
    (here / "my_parts.py").write_text(
        "import pytorch_lightning as pl\n"
        "class Mine(pl.Callback):\n"
        "    def on_fit_start(self, *_):\n"
        "        {}['metrics']\n",
        encoding="utf-8",
    )
    assert octopi_command("create_targets") == 0
    assert octopi_command("train", *TINY, "+callbacks.mine={_target_: my_parts.Mine}") == 2
    message = capfd.readouterr().err.rpartition("octopi: ")[2]
    assert message.startswith("KeyError: 'metrics'. Correct it in ")
    assert "my_parts.py, line 4, in on_fit_start." in message
    assert "mistake in octopi" not in message


def test_memory_that_is_short_is_answered_with_what_needs_less(capsys):
    assert report_error(MemoryError("Unable to allocate 3 GiB for an array")) == 4
    err = capsys.readouterr().err
    assert "3 GiB" in err
    assert "data.crop_size" in err


def test_the_traceback_of_a_mistake_in_octopi_is_in_the_log_or_on_the_screen(
    tmp_path, monkeypatch, capsys
):
    log = logging.FileHandler(tmp_path / "job.log", encoding="utf-8")
    for handlers, where in (([log], "is in the job's log file"), ([], "with the traceback above")):
        monkeypatch.setattr(logging.getLogger(), "handlers", handlers)
        assert report_error(RuntimeError("a mistake")) == 1
        err = capsys.readouterr().err
        message = "octopi: RuntimeError: a mistake\nThis looks like a mistake in octopi."
        assert err.startswith(message) == bool(handlers)  # else the traceback stands before it
        assert message in err
        assert where in err
    log.close()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("serch=unet", "There is no setting or group serch. Did you mean search?"),
        ("modle=unet", "There is no setting or group modle. Did you mean model?"),
        ("lr=1e-3", "There is no setting or group lr. Did you mean optim.optimizer.lr?"),
        ("epochs=5", "There is no setting or group epochs. Did you mean trainer.max_epochs?"),
        ("search.num_trials=3", "search has no settings of its own: choose search=NAME, as"),
        (
            "trainer.max_epoch=3",
            "There is no setting trainer.max_epoch. Did you mean max_epochs? To add one, write "
            "+trainer.max_epoch=3",
        ),
        (
            "data.batch_size=4",
            "There is no setting data.batch_size. Did you mean crops_per_step? To add one, write "
            "+data.batch_size=4",
        ),
        (
            "targets.picks=a/1",
            "There is no setting or group targets. Did you mean target? targets belongs",
        ),
        ("user_id=me", "There is no setting or group user_id. user_id belongs to segment"),
        ("seed.x=3", "There is no setting seed.x. To add one, write +seed.x=3"),
        ("~nothing", "Could not delete from config. 'nothing' does not exist."),
    ],
)
def test_an_unknown_setting_is_answered_with_close_ones(override, message):
    with pytest.raises(HydraException) as refused:
        compose_config("train", [override])
    assert explain_hydra_error(refused.value).startswith(message)


def test_an_unknown_choice_is_answered_with_close_ones():
    with pytest.raises(HydraException) as refused:
        compose_config("train", ["model=unett"])
    message = explain_hydra_error(refused.value)
    assert message.startswith("There is no model unett. Did you mean unet")
    assert "segresnet, swin_unetr" in message
    assert "search path" not in message


def test_a_yaml_file_with_tabs_is_named_with_its_line(tmp_path):
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\ndata:\n\tworking_spacing: 20\n", encoding="utf-8")
    search = f"hydra.searchpath=['file://{tmp_path}']"
    with pytest.raises(SettingError, match=r"mine.yaml, line 3: .*Indent with blanks, not tabs"):
        compose_config("create_targets", [search, "experiment=mine"])


def test_a_word_that_sets_nothing_is_answered_with_how_settings_are_typed():
    with pytest.raises(HydraException) as error:
        compose_config("check", ["TS_01"])
    text = explain_hydra_error(error.value)
    assert text.startswith("TS_01 is not understood.")
    assert "SETTING=VALUE" in text
    assert "hydra.cc" not in text


@pytest.mark.parametrize("error", [SettingError, DataError, ValueError])
def test_no_message_is_longer_than_a_person_reads(error, capsys):
    report_error(error("cause " + "run, " * 100_000 + "cure"))
    message = capsys.readouterr().err.partition("octopi: ")[2]
    assert len(message) <= 600
    assert "cause" in message
    assert "cure" in message or "mistake in octopi" in message


@pytest.mark.parametrize(
    ("verb", "override", "message"),
    [
        ("export", "out=x", "format must be set. Choose format=csv or "),
        ("check", "+project=demo", "project has a choice already: type project=CHOICE"),
        ("check", "search=grid", "This command has no setting or group 'search'."),
        ("check", "=TS_01", "This command has no setting or group ''."),
        ("check", "project=", "project= is empty. Choices: demo, local"),
        ("check", "config=x.json", "Did you mean project.config?"),
        ("check", "x.json", "as in project.config=x.json."),
        ("check", "hydra.mode=x", "Invalid value 'x', expected one of [RUN, MULTIRUN]"),
        ("check", "hydra.run.dir=${HOME}/x", r"where the signs themselves are meant, type \${…}"),
    ],
)
def test_what_hydra_refuses_is_said_in_octopis_words(verb, override, message, capsys):
    with pytest.raises((HydraException, OmegaConfBaseException)) as refused:
        _ = compose_config(verb, [override]).hydra.run.dir
    assert report_error(refused.value) == 2
    text = capsys.readouterr().err
    assert message in text
    assert "object_type" not in text


ALIASES = "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("session_id: !!python/object/apply:os.mkdir [marker]\n", "bad.yaml, line 2"),
        ("session_id: !!python/name:os.mkdir\n", "bad.yaml, line 2"),
        (f"a: &a [x, x]\n{ALIASES}", "bad.yaml cannot be read: it is nested more than"),
    ],
    ids=["call", "name", "aliases"],
)
def test_a_yaml_file_that_calls_or_explodes_is_refused(
    tmp_path, monkeypatch, octopi_command, capfd, text, fault
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bad.yaml").write_text(
        f"# @package _global_\n{text}", encoding="utf-8"
    )
    assert octopi_command("localize", "experiment=experiment/bad.yaml") == 2
    assert fault in capfd.readouterr().err
    assert not (tmp_path / "marker").exists()


def test_an_output_that_nobody_reads_any_more_ends_the_command_with_a_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # which is replaced
    assert report_error(BrokenPipeError(errno.EPIPE, "Broken pipe")) == 141
    sys.stdout.write("to nobody")
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "mistake" not in captured.err


def test_the_exit_code_tells_of_a_full_disk_where_no_message_can(here):
    command = f'"{sys.executable}" -m octopi.train --help >/dev/full 2>&1'
    assert subprocess.run(["bash", "-c", command], check=False, cwd=here).returncode == 4


def test_a_command_works_with_closed_streams(here):
    command = f'"{sys.executable}" -m octopi.doctor >&- 2>&- <&-'
    done = subprocess.run(["bash", "-c", command], check=False, cwd=here, capture_output=True)
    assert done.returncode == 0
