import json

import numpy as np
import pytest

from octopi.evaluation.scores import Czii, Matched, fbeta
from octopi.geometry import Points

RULES = [Czii, Matched]
RADII = {"a": 60.0, "b": 80.0}
WEIGHTS = {"a": 1.0, "b": 3.0}


def scorer(rule=Matched, **changes):
    return rule(**{"tolerance_scale": 0.5, "beta": 4.0, "num_resamples": 200, "seed": 0, **changes})


def line(num, offset=0.0):
    """Particles 200 Å apart."""
    return np.stack([np.arange(num) * 200.0 + offset, np.zeros(num), np.zeros(num)], axis=1)


def case(**objects):
    return {name: Points(np.asarray(positions)) for name, positions in objects.items()}


def random_runs(num_runs, seed=0, size=600):
    rng = np.random.default_rng(seed)

    def some():
        return Points(rng.uniform(0, size, (rng.integers(0, 60), 3)))

    return [{f"run{i}": {n: some() for n in RADII} for i in range(num_runs)} for _ in range(2)]


def official_fbeta(tp, fp, fn, beta):
    precision = tp / (tp + fp) if tp + fp > 0 else 0
    recall = tp / (tp + fn) if tp + fn > 0 else 0
    if precision + recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rule", RULES)
def test_the_total_is_the_weighted_mean_of_f_beta_of_counts_pooled_over_runs(rule, seed):
    picks, truth = random_runs(4, seed)
    report = scorer(rule)(picks, truth, radii=RADII, weights=WEIGHTS)
    total = 0
    for name, radius in RADII.items():
        counts = []
        for run in picks:
            both = picks[run][name].positions, truth[run][name].positions
            tp = (rule.first_hits(*both, radius / 2) >= 0).sum()
            counts.append((tp, len(both[0]) - tp, len(both[1]) - tp))
        tp, fp, fn = np.sum(counts, axis=0)
        score = report.scores[name]
        assert (score.tp, score.fp, score.fn) == (tp, fp, fn)
        assert score.fbeta == pytest.approx(official_fbeta(tp, fp, fn, 4), rel=1e-12)
        assert score.f1 == pytest.approx(official_fbeta(tp, fp, fn, 1), rel=1e-12)
        assert [report.runs[r][name] for r in picks] == counts
        total += WEIGHTS[name] * score.fbeta / 4
    assert report.total == pytest.approx(total)
    assert report.mean_f1 == pytest.approx(np.mean([s.f1 for s in report.scores.values()]))
    assert report.num_runs == 4


def test_one_pick_for_two_particles_scores_above_one_by_czii_as_in_the_challenge():
    picks = {"r": case(a=[[25.0, 0, 0]])}
    truth = {"r": case(a=[[0.0, 0, 0], [50.0, 0, 0]])}
    score = scorer(Czii)(picks, truth, radii=RADII, weights=WEIGHTS).scores["a"]
    assert (score.precision, score.recall) == (2, 1)
    assert score.fbeta == pytest.approx(34 / 33)


@pytest.mark.parametrize(
    ("picks", "expected"),
    [
        (np.concatenate([line(100), line(100, 1.0)]), 0.944),  # every particle found twice
        (np.concatenate([line(50, i) for i in range(4)]), 0.472),  # half found, four picks each
        (line(100, 36.0), 0.0),  # all off by 0.6 of the radius
    ],
)
@pytest.mark.parametrize("rule", RULES)
def test_what_older_counting_praised_is_scored_for_what_it_is(rule, picks, expected):
    report = scorer(rule)(
        {"r": case(a=picks)}, {"r": case(a=line(100))}, radii=RADII, weights=WEIGHTS
    )
    assert report.total == pytest.approx(expected, abs=5e-4)


def test_a_run_without_picks_has_found_nothing_and_one_without_truth_only_false_positives():
    truth = {"r1": case(a=line(4)), "r2": case(a=line(6))}
    picks = {"r1": case(a=line(4)), "r3": case(a=line(3))}
    report = scorer()(picks, truth, radii=RADII, weights=WEIGHTS)
    score = report.scores["a"]
    assert (score.tp, score.fp, score.fn) == (4, 3, 6)
    assert report.runs["r2"]["a"] == (0, 0, 6)
    assert report.num_runs == 3


def test_an_object_without_truth_is_not_applicable_and_not_in_the_total():
    truth = {"r": case(a=line(4))}
    picks = {"r": case(a=line(2), b=line(5))}
    report = scorer()(picks, truth, radii=RADII, weights=WEIGHTS)
    absent = report.scores["b"]
    assert (absent.tp, absent.fp, absent.fn) == (0, 5, 0)
    assert absent.fbeta is absent.f1 is absent.recall is absent.interval is None
    assert report.total == report.scores["a"].fbeta
    assert report.mean_f1 == report.scores["a"].f1


def test_no_picks_at_all_score_zero():
    report = scorer()({}, {"r": case(a=line(4))}, radii=RADII, weights=WEIGHTS)
    assert report.total == 0
    assert report.scores["a"].precision == 0


@pytest.mark.parametrize("truth", [{}, {"r": {}}])
def test_no_truth_at_all_has_no_total(truth):
    report = scorer()({"r": case(a=line(2))}, truth, radii=RADII, weights=WEIGHTS)
    assert report.total is report.interval is report.mean_f1 is None
    assert "n/a" in report.table()


def test_an_object_of_no_weight_is_scored_but_not_in_the_total():
    truth = {"r": case(a=line(4), b=line(4))}
    report = scorer()({"r": case(a=line(4))}, truth, radii=RADII, weights={"a": 1.0, "b": 0.0})
    assert report.total == 1
    assert report.scores["b"].fbeta == 0


def test_intervals_hold_the_value_and_are_the_same_every_time():
    picks, truth = random_runs(12)
    first, second = (
        scorer(num_resamples=500)(picks, truth, radii=RADII, weights=WEIGHTS) for _ in range(2)
    )
    assert first == second
    low, high = first.interval
    assert low < first.total < high
    for score in first.scores.values():
        assert score.interval[0] < score.fbeta < score.interval[1]
        assert set(score.intervals) == {"precision", "recall", "f1"}
        for name, (least, most) in score.intervals.items():
            assert least < getattr(score, name) < most
    low, high = first.mean_f1_interval
    assert low < first.mean_f1 < high


def test_the_bootstrap_resamples_whole_runs():
    truth = {f"r{i}": case(a=line(5)) for i in range(8)}
    half = {run: case(a=line(5)) for run in list(truth)[:4]}
    same = {run: case(a=np.concatenate([line(2), line(3, 90)])) for run in truth}
    spread, none = (
        scorer(num_resamples=2000)(p, truth, radii=RADII, weights=WEIGHTS) for p in (half, same)
    )
    assert none.interval[0] == none.interval[1]
    # of 8 runs, 1 to 7 are found in 19 resamples of 20: recall 1/8 … 7/8
    share = np.random.default_rng(1).binomial(8, 0.5, 20000) / 8
    recall = np.percentile(share, [2.5, 97.5])
    assert spread.interval == pytest.approx(17 * recall / (16 + recall), abs=0.01)
    assert spread.scores["a"].intervals["recall"] == pytest.approx(recall, abs=0.01)
    assert spread.scores["a"].intervals["precision"] == (1, 1)
    assert spread.mean_f1_interval == pytest.approx(2 * recall / (1 + recall), abs=0.01)


def test_a_single_run_has_no_interval():
    report = scorer()({}, {"r": case(a=line(4))}, radii=RADII, weights=WEIGHTS)
    assert report.interval is report.mean_f1_interval is report.scores["a"].interval is None
    assert report.scores["a"].intervals == {}


def test_a_report_is_json_and_an_aligned_table():
    picks, truth = random_runs(3)
    truth = {run: {"a": objects["a"]} for run, objects in truth.items()}
    report = scorer()(picks, truth, radii=RADII, weights=WEIGHTS)
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["total"] == report.total
    assert told["num_runs"] == 3
    assert told["scores"]["b"]["fbeta"] is None
    assert told["runs"]["run0"]["a"] == list(report.runs["run0"]["a"])
    head, first, second, last = report.table().splitlines()
    column = head.index("F4") + 2
    assert first[:column].endswith(f"{report.scores['a'].fbeta:.3f}")
    assert second[:column].endswith("n/a")
    assert last[:column].endswith(f"{report.total:.3f}")


@pytest.mark.parametrize("changes", [{"tolerance_scale": 0}, {"beta": 0}, {"num_resamples": -1}])
def test_a_setting_out_of_its_range_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        scorer(**changes)


@pytest.mark.parametrize("rule", RULES)
def test_the_curve_gives_the_scores_at_each_threshold(rule):
    picks, truth = random_runs(5, seed=2, size=400)
    rng = np.random.default_rng(0)
    scored = {
        run: {"a": Points(p["a"].positions, rng.integers(1, 30, len(p["a"])) / 30)}
        for run, p in picks.items()
    }
    arguments = {"radii": {"a": RADII["a"]}, "weights": WEIGHTS}
    curve = scorer(rule)(scored, truth, **arguments).curves["a"]
    every = np.unique(np.concatenate([p["a"].scores for p in scored.values()]))[::-1]
    assert curve["threshold"] == pytest.approx(every)
    for i, threshold in enumerate(curve["threshold"]):
        kept = {run: {"a": p["a"].above(threshold)} for run, p in scored.items()}
        score = scorer(rule)(kept, truth, **arguments).scores["a"]
        for name in ("precision", "recall", "fbeta"):
            assert curve[name][i] == pytest.approx(getattr(score, name))


def test_a_curve_without_picks_is_empty_and_without_truth_has_no_recall():
    arguments = {"radii": {"a": 1.0}, "weights": WEIGHTS}
    nothing = scorer()({}, {"r": {"a": Points(line(2))}}, **arguments)
    assert nothing.curves["a"] == {"threshold": [], "precision": [], "recall": [], "fbeta": []}
    picks = {"r": {"a": Points(line(2), np.array([0.5, 0.25]))}}
    blind = scorer()(picks, {}, **arguments).curves["a"]
    assert blind == {"threshold": [0.5, 0.25], "precision": [0, 0], "recall": [], "fbeta": []}


def test_f_beta_without_truth_is_not_a_number():
    assert np.isnan(fbeta(np.array([0, 5, 0]), 4))
