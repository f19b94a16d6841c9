"""Errors say the same in whichever process they are raised."""

import pickle

from octopi.errors import NotInProjectError, shorten_list
from octopi.project import TomogramQuery


def test_an_error_from_another_process_says_what_it_said_there():
    held = [TomogramQuery("wbp", 10.0), TomogramQuery("wbp", 10.0), TomogramQuery("denoised", 10.0)]
    error = NotInProjectError("Run TS_1", "tomogram", TomogramQuery("wpb", 10.0), iter(held))
    text = (
        "Run TS_1 has no tomogram wpb@10.0. Did you mean wbp@10.0? It has: wbp@10.0, denoised@10.0."
    )
    assert str(error) == text
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == text
    assert isinstance(again, NotInProjectError)


def test_a_list_of_more_than_five_is_cut_short():
    assert shorten_list([]) == ""
    assert shorten_list([1, 2, 3, 4, 5]) == "1, 2, 3, 4, 5"
    assert shorten_list("abcdefgh", "; ") == "a; b; c; d; e; … and 3 more"
