"""Errors name close matches, and say the same in whichever process they are raised."""

import errno
import json
import pickle

import pytest

from octopi.errors import (
    DataError,
    ExitCode,
    NotInProjectError,
    StoppedBySignal,
    closest_matches,
    did_you_mean,
    exit_code_of,
    is_interruption,
    shorten,
    shorten_list,
    users_code,
)
from octopi.project.queries import TomogramQuery


def test_an_error_from_another_process_has_the_same_message():
    available = [
        TomogramQuery("wbp", 10.0),
        TomogramQuery("wbp", 10.0),
        TomogramQuery("denoised", 10.0),
    ]
    error = NotInProjectError("Run TS_1", "tomogram", TomogramQuery("wpb", 10.0), iter(available))
    text = (
        "Run TS_1 has no tomogram wpb@10.0. Did you mean wbp@10.0? It has: wbp@10.0, denoised@10.0."
    )
    assert str(error) == text
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == text
    assert isinstance(again, NotInProjectError)


def test_close_matches_are_named_also_for_what_other_projects_call_a_setting():
    assert did_you_mean("chanels", ["channels", "strides"]) == " Did you mean channels?"
    assert (
        did_you_mean("batch_size", ["crop_size", "crops_per_step"])
        == " Did you mean crops_per_step?"
    )
    assert did_you_mean("batch_size", ["strides"]) == ""


def test_a_name_that_only_looks_the_same_is_said_to_be_another():
    composed, decomposed = "F\u00e4hre", "Fa\u0308hre"
    message = did_you_mean(composed, ["Fahre", decomposed])
    assert message.startswith(f" Did you mean {decomposed}? It only looks the same")
    assert "looks the same" not in did_you_mean("Faehre", [decomposed, "Fahre"])


@pytest.mark.parametrize(
    ("error", "code", "interrupts"),
    [
        (DataError(), ExitCode.DATA, False),
        (ValueError(), ExitCode.MISTAKE, False),
        (SystemExit(9), 9, False),
        (SystemExit("text"), ExitCode.SETTING, False),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, True),
        (StoppedBySignal(143, "x"), ExitCode.TERMINATED, True),
        (StoppedBySignal(0, "x"), ExitCode.DONE, False),
    ],
)
def test_an_error_stands_for_an_exit_code(error, code, interrupts):
    assert exit_code_of(error) == code
    assert is_interruption(error) == interrupts


def test_a_list_of_more_than_five_is_cut_short():
    assert shorten_list([]) == ""
    assert shorten_list([1, 2, 3, 4, 5]) == "1, 2, 3, 4, 5"
    assert shorten_list("abcdefgh", "; ") == "a; b; c; d; e; … and 3 more"


RUNS = [f"20240117_grid3_lamella{number:03d}_ts001" for number in range(500)]


def test_of_many_runs_the_closest_are_named_first_and_the_others_counted():
    text = str(NotInProjectError("Project", "run", "20240117_grid3_lamela007_ts001", RUNS))
    assert "It has: 20240117_grid3_lamella007_ts001, " in text
    assert text.endswith(" more.")
    assert len(text) <= 600


@pytest.mark.parametrize("length", [1, 64, 255, 4000])
@pytest.mark.parametrize("number", [0, 1, 5, 6, 10_000])
def test_a_message_stays_short_however_many_and_long_the_names(number, length):
    names = [f"{index:06d}".rjust(length, "x") for index in range(number)]
    cure = "octopi segment makes score maps; input=… names others."
    assert len(str(NotInProjectError("Project", "run", "x" * length, names, cure))) <= 600
    assert len(shorten_list(names)) <= 300


def test_a_list_without_a_long_name_shows_five():
    assert shorten_list("abcdefg") == "a, b, c, d, e, … and 2 more"
    assert shorten_list("abc", "; ") == "a; b; c"


def test_of_a_long_text_the_middle_is_left_out():
    text = shorten("begin" + 1000 * "x" + "end", 100)
    assert len(text) == 100
    assert text.startswith("begin")
    assert text.endswith("end")


def _raised_by(work):
    with pytest.raises(Exception) as raised:
        work()
    return raised.value


class ItsName(str):
    """What octopi compares and prints, with a mistake of the user's."""

    __slots__ = ()

    def __str__(self):
        return json.loads("{")  # the library raises, and the user is to blame


def test_an_error_in_code_of_the_user_that_octopi_calls_is_theirs():
    error = _raised_by(lambda: closest_matches(ItsName("x"), ["y"], number=1, cutoff=0.5))
    assert exit_code_of(error) == ExitCode.SETTING
    place = users_code(error)
    assert (place.filename, place.name) == (__file__, "__str__")


def test_an_error_in_octopi_itself_is_a_mistake_whoever_calls_it():
    error = _raised_by(lambda: closest_matches("x", [1], number="three", cutoff=0.5))
    assert (exit_code_of(error), users_code(error)) == (ExitCode.MISTAKE, None)
    error = _raised_by(lambda: 1 / 0)
    assert (exit_code_of(error), users_code(error)) == (ExitCode.MISTAKE, None)


@pytest.mark.parametrize(
    "number",
    [errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG],
)
def test_what_a_disk_refuses_is_no_mistake(number):
    assert exit_code_of(OSError(number, "x", "file")) == ExitCode.RESOURCE
