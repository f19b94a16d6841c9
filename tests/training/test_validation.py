"""What a training says of the share of particles that is annotated, and what validates it."""

import copy
import logging

import numpy as np
import pytest

from octopi.geometry import Points
from octopi.models.net_output import NetOutput
from octopi.project.queries import SegmentationQuery
from octopi.training.dataset_info import DatasetInfo
from octopi.training.validation import Validation, log_shares

LABELS = {"ribosome": 1, "apo-ferritin": 2, "membrane": 3}


@pytest.fixture
def say(caplog):
    """Log the shares of a ribosome with twelve annotated particles; return level and message."""

    def log(shares, *partial):
        radii = {name: 100.0 for name in LABELS if name != "membrane"}
        info = DatasetInfo(
            runs=[],
            target=SegmentationQuery.parse("targets:octopi/1"),
            tomograms=[],
            labels=LABELS,
            picks={},
            radii=radii,
            weights={},
            partial=frozenset(partial),
        )
        truth = {"TS_01": {"ribosome": Points(np.zeros((12, 3)))}, "TS_02": {}}
        with caplog.at_level(logging.INFO):
            log_shares(shares, truth, info)
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    return log


def test_the_share_of_partial_objects_is_logged_in_words(say):
    first, second = say({"ribosome": [0.31, 0.24, 0.4]}, "ribosome", "membrane")
    assert first == ("INFO", "About 31% of the ribosome seem annotated (24% to 40%).")
    assert second[1].startswith("Not all of membrane, ribosome is annotated, and the metrics of ")


def test_clearly_incomplete_annotations_said_to_be_complete_are_warned_of_once(say):
    ((level, message),) = say({"ribosome": [0.31, 0.24, 0.4], "apo-ferritin": [1.0, 0.7, 1.0]})
    assert level == "WARNING"
    assert (
        "octopi create_targets 'targets.annotation={ribosome: partial}' overwrite=true" in message
    )


def test_complete_annotations_are_not_spoken_of(say):
    assert say({"ribosome": [1.0, 0.8, 1.0]}) == []


def test_a_copy_of_a_module_shares_what_validates_it():
    """The averages of weights copy the module; a project and its runs cannot be copied."""
    validation = Validation(*[object()] * 4, divisor=8, net_output=NetOutput(), beta=2.0)
    assert copy.deepcopy({"validation": validation})["validation"] is validation
