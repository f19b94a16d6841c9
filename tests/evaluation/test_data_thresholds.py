"""The scores of candidates travel between processes unchanged, and nothing else is believed."""

import numpy as np
import pytest

from octopi.errors import DataError
from octopi.evaluation.data_thresholds import RunCandidates
from octopi.picking import PickingInfo

INFO = PickingInfo(objects=["ribosome", "virus"], radii={"ribosome": 100.0, "virus": 200.0})


def test_scores_are_read_back_exactly():
    raw = {
        "ribosome": np.random.default_rng(0).random(100, np.float32),
        "virus": np.zeros(0, np.float32),
    }
    encoded = RunCandidates(INFO, raw, {}).encode_raw()
    read = RunCandidates.decode_raw(INFO, encoded | {"unknown": "AAAA"}).raw
    assert read.keys() == raw.keys()
    for name, scores in raw.items():
        np.testing.assert_array_equal(read[name], scores)
        assert read[name].dtype == np.float32


@pytest.mark.parametrize("wrong", ["AAA", "AAAA", 7, ["a"], None])
def test_what_is_no_scores_is_damaged(wrong):
    with pytest.raises(DataError, match=r"is damaged\. Start the same command again"):
        RunCandidates.decode_raw(INFO, {"ribosome": wrong})
