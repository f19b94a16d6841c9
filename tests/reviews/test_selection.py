"""A person is asked first about what a decision teaches most, everywhere in turn, and once."""

import itertools

import numpy as np
import pytest

from octopi.geometry import Points
from octopi.reviews.selection import (
    DOUBTED,
    UNCERTAIN,
    UNMARKED,
    RunToReview,
    choose_cards,
    count_kinds,
)

RADII = {"apo": 60.0, "ribosome": 150.0}
THRESHOLDS = {"apo": 0.5, "ribosome": 0.3}


def points(*places):
    """Candidates at x Å with a chance, far from others in y and z."""
    positions = np.array([[x, 0.0, 0.0] for x, _ in places]).reshape(-1, 3)
    return Points(positions, np.array([chance for _, chance in places], np.float32))


def marks(*places):
    return Points(np.array([[x, 0.0, 0.0] for x in places]).reshape(-1, 3))


def choose(*runs, num=100):
    return choose_cards(runs, RADII, THRESHOLDS, num)


def chances(cards):
    return [round(card.chance, 3) for card in cards]


def test_without_annotations_those_nearest_to_the_threshold_come_first_from_both_sides():
    run = RunToReview("a", {"apo": points((0, 0.9), (1000, 0.52), (2000, 0.45), (3000, 0.05))})
    cards = choose(run)
    assert chances(cards) == [0.52, 0.45, 0.9, 0.05]
    assert {card.kind for card in cards} == {UNCERTAIN}
    run = RunToReview("a", {"ribosome": points((0, 0.5), (1000, 0.3), (2000, 0.12))})
    assert chances(choose(run)) == [0.3, 0.5, 0.12]  # as far in log-odds: 0.5 nearer than 0.12


def test_a_confident_candidate_without_a_mark_is_unmarked_and_one_with_a_mark_is_no_question():
    candidates = {"apo": points((0, 0.99), (1000, 0.98), (2000, 0.02))}
    run = RunToReview("a", candidates, {"apo": marks(1029)})
    (missed, unsure) = choose(run)
    assert (missed.kind, missed.position) == (UNMARKED, (0.0, 0.0, 0.0))
    assert (unsure.kind, round(unsure.chance, 3)) == (UNCERTAIN, 0.02)
    run = RunToReview("a", candidates, {"apo": marks(1031)})  # farther than half a radius
    assert [card.kind for card in choose(run)][:2] == [UNMARKED, UNMARKED]


def test_a_mark_without_a_candidate_above_the_threshold_is_doubted():
    candidates = {"apo": points((0, 0.9), (1000, 0.1))}
    run = RunToReview("a", candidates, {"apo": marks(0, 1050, 5000)})
    doubted = [card for card in choose(run) if card.kind == DOUBTED]
    assert [card.position[0] for card in doubted] == [5000, 1050]
    assert chances(doubted) == [0.0, 0.1]


def test_an_object_that_is_not_annotated_in_a_run_has_neither_unmarked_nor_doubted_places():
    candidates = {"apo": points((0, 0.99)), "ribosome": points((3000, 0.99))}
    cards = choose(RunToReview("a", candidates, {"apo": marks()}))
    assert {card.object_name: card.kind for card in cards} == {
        "apo": UNMARKED,
        "ribosome": UNCERTAIN,
    }
    assert count_kinds(cards) == "1 uncertain, 1 unmarked, 0 doubted"


def test_objects_and_runs_have_their_turns():
    many = [(1000 * i, 0.5) for i in range(50)]
    runs = [
        RunToReview("a", {"apo": points(*many), "ribosome": points((1e6, 0.2))}),
        RunToReview("b", {"apo": points(*many)}),
        RunToReview("c", {"apo": points((0, 0.9))}),
    ]
    cards = choose(*runs, num=20)
    assert {(card.run_name, card.object_name) for card in cards} == {
        ("a", "apo"),
        ("a", "ribosome"),
        ("b", "apo"),
        ("c", "apo"),
    }
    numbers = [sum((c.run_name, c.object_name) == (n, "apo") for c in cards) for n in "ab"]
    assert numbers == [9, 9]
    assert [(c.run_name, c.object_name) for c in cards[:2]] == [("a", "apo"), ("b", "apo")]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_runs_and_candidates_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    runs = []
    for name in "abc":
        found = {n: Points(rng.uniform(0, 2000, (30, 3)), rng.random(30)) for n in RADII}
        runs.append(RunToReview(name, found, {"apo": Points(rng.uniform(0, 2000, (9, 3)))}))
    expected = choose(*runs, num=40)
    for order in itertools.permutations(runs):
        assert choose(*order, num=40) == expected
    shuffled = [
        RunToReview(
            run.name,
            {n: p[rng.permutation(len(p))] for n, p in run.candidates.items()},
            run.annotated,
        )
        for run in runs
    ]
    assert choose(*shuffled, num=40) == expected
    assert choose(*runs, num=15) == expected[:15]


def test_a_place_is_shown_once_with_the_likeliest_other_object():
    candidates = {"apo": points((0, 0.5), (1000, 0.9)), "ribosome": points((70, 0.8), (1080, 0.01))}
    cards = {card.position[0]: card for card in choose(RunToReview("a", candidates))}
    assert cards[0.0].other == "ribosome"
    assert 70.0 not in cards  # half a ribosome's radius is 75 Å
    assert cards[1000.0].other is None
    assert 1080.0 in cards


def test_what_was_decided_before_is_not_asked_again_of_this_object():
    candidates = {"apo": points((0, 0.5), (1000, 0.5)), "ribosome": points((1e4, 0.3))}
    run = RunToReview("a", candidates, {"apo": marks(2000)}, {"apo": marks(10, 1990)})
    assert [(c.object_name, c.position[0]) for c in choose(run)] == [
        ("apo", 1000.0),
        ("ribosome", 1e4),
    ]


def test_expected_mistakes_are_wrong_picks_and_missed_candidates():
    run = RunToReview("a", {"apo": points((0, 0.9), (1000, 0.4)), "ribosome": points((0, 0.3))})
    assert run.expected_mistakes(THRESHOLDS) == pytest.approx(0.1 + 0.4 + 0.7)


def test_nothing_to_look_at_is_an_empty_list():
    assert choose(RunToReview("a", {"apo": Points.empty()}), RunToReview("b", {})) == []
