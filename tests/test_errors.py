"""Errors name close matches, and say the same in whichever process they are raised."""

import pickle

import pytest

from octopi.errors import (
    DataError,
    ExitCode,
    NotInProjectError,
    StoppedBySignal,
    did_you_mean,
    exit_code_of,
    is_interruption,
    shorten_list,
)
from octopi.project import TomogramQuery


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
