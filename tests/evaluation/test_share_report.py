"""Sentences on the share of particles that is annotated, and the advice to say so."""

import numpy as np
import pytest

from octopi.config.overrides import shell_override
from octopi.evaluation.share_report import advise_partial, count_annotated, describe_shares
from octopi.geometry import Points

CLEAR, OPEN = [0.31, 0.24, 0.4], [0.8, 0.6, 1.0]


def advise(shares, *, number=30, partial=(), objects=("ribosome", "apo-ferritin")):
    return advise_partial(
        shares,
        dict.fromkeys(shares, number),
        partial=partial,
        object_names=objects,
        write_override=shell_override,
    )


def test_partial_objects_are_described_with_their_interval():
    assert describe_shares({"ribosome": CLEAR, "apo-ferritin": OPEN}, {"ribosome"}) == [
        "About 31% of the ribosome seem annotated (24% to 40%)."
    ]


def test_a_share_that_nothing_tells_is_said_to_be_taken_as_1():
    (sentence,) = describe_shares({}, {"ribosome"})
    assert sentence.startswith("Nothing tells which part of the ribosome is annotated")
    assert "All count as annotated." in sentence


def test_the_advice_names_object_figure_and_the_one_override():
    advice = advise({"ribosome": CLEAR, "apo-ferritin": OPEN})
    assert advice is not None
    assert advice.startswith("About 31% of the ribosome seem annotated (24% to 40%).")
    assert "'targets.annotation={ribosome: partial}' overwrite=true" in advice
    assert "run the training again" in advice
    assert "ferritin" not in advice
    assert len(advice) <= 600


@pytest.mark.parametrize(
    ("shares", "changes"),
    [
        ({"ribosome": OPEN}, {}),
        ({"ribosome": [0.8, 0.7, 0.9]}, {}),  # nearly all
        ({"ribosome": CLEAR}, {"number": 9}),
        ({"ribosome": CLEAR}, {"partial": ("ribosome",)}),
    ],
)
def test_no_advice_where_nothing_is_clearly_incomplete(shares, changes):
    assert advise(shares, **changes) is None


def test_the_override_keeps_what_is_partial_already():
    advice = advise({"ribosome": CLEAR}, partial={"a"}, objects=("ribosome", "a", "b"))
    assert advice is not None
    assert "'targets.annotation={a: partial, ribosome: partial}'" in advice
    advice = advise({"ribosome": CLEAR}, partial={"apo-ferritin"})
    assert advice is not None
    assert "create_targets targets.annotation=partial overwrite=true" in advice


def test_many_objects_and_names_that_no_command_line_holds_fit_into_the_advice():
    names = [f"β-galactosidase-{i}" for i in range(6)]
    advice = advise(dict.fromkeys(names, CLEAR), objects=[*names, "other"])
    assert advice is not None
    assert all(name in advice for name in names)
    assert "targets.annotation=partial" in advice


def test_particles_are_counted_where_they_are_annotated():
    two, one = Points(np.zeros((2, 3))), Points(np.zeros((1, 3)))
    truth = {"r": {"a": two, "b": one}, "s": {"a": one}}
    assert count_annotated(truth, ["a", "c"]) == {"a": 3, "c": 0}
