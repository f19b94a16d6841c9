"""The summary of a search names the best trial and the causes of failures."""

import planted
import pytest
import yaml
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial
from planted import FBETA, FBETA_AND_COST

from octopi.sweeps.results import StudyResults, short_names
from octopi.sweeps.summary import collect_results, format_table, write_results


def test_the_best_trial_is_named_with_its_folder_values_and_params():
    study = planted.with_every_state()
    best = collect_results(StudyResults(study, FBETA))["best"]
    assert best["number"] == 2
    assert best["folder"] == "trial_2"
    assert best["values"] == {"object_fbeta": 0.9}
    assert best["params"] == study.trials[2].params


def test_every_trial_is_counted_under_its_state():
    counted = collect_results(StudyResults(planted.with_every_state(), FBETA))["trials"]
    assert counted == {"complete": 4, "pruned": 2, "failed": 3, "running": 1}


def test_failures_that_differ_in_numbers_only_are_one_cause():
    causes = collect_results(StudyResults(planted.with_every_state(), FBETA))["failures"]
    assert causes == [
        {"cause": "diverged: nan at step 17", "count": 2, "trials": [7, 8]},
        {"cause": "out of memory", "count": 1, "trials": [6]},
    ]


def test_the_solutions_of_two_objectives_are_the_pareto_front():
    results = collect_results(StudyResults(planted.with_a_front(), FBETA_AND_COST))
    assert [solution["number"] for solution in results["solutions"]] == [1, 2, 0]
    assert results["best"] == results["solutions"][0]
    assert [o["direction"] for o in results["objectives"]] == ["maximize", "minimize"]


def test_the_best_cost_is_the_lowest():
    study = planted.optuna.create_study(direction="minimize")
    for value in (3.0, 1.0, 2.0):
        study.add_trial(planted.trial({"model.dropout": 0.1}, value))
    assert collect_results(StudyResults(study, ["inference_gflop"]))["best"]["number"] == 1


def test_the_file_holds_the_results_and_how_to_train_the_best_again(tmp_path):
    study = planted.with_every_state()
    write_results(tmp_path, StudyResults(study, FBETA))
    results = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text(encoding="utf-8"))
    assert results.pop("retrain") == f"octopi train experiment={tmp_path}/best"
    assert results == collect_results(StudyResults(study, FBETA))
    assert [path.name for path in tmp_path.iterdir()] == ["optimization_results.yaml"]


def test_before_a_trial_is_complete_no_best_is_named(tmp_path):
    study = planted.empty()
    study.add_trial(planted.trial({"model.dropout": 0.1}, state=TrialState.FAIL))
    write_results(tmp_path, StudyResults(study, FBETA))
    results = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text(encoding="utf-8"))
    assert not {"best", "retrain"} & results.keys()
    assert results["failures"] == [{"cause": "no reason is known", "count": 1, "trials": [0]}]
    assert "No trial is complete yet." in format_table(StudyResults(study, FBETA))


def test_the_table_lists_the_best_first_and_the_causes():
    lines = format_table(StudyResults(planted.with_every_state(), FBETA)).splitlines()
    assert lines[0] == "10 trials: 4 complete, 2 pruned, 3 failed, 1 running"
    assert [line.split()[0] for line in lines[2:6]] == ["trial_2", "trial_1", "trial_0", "trial_3"]
    assert lines[2].split()[1:3] == ["0.9", "61"]
    assert lines[-2:] == ["failed 2 × diverged: nan at step 17", "failed 1 × out of memory"]


def test_the_table_has_no_column_for_a_parameter_that_does_not_vary():
    study = planted.empty()
    for value in (0.1, 0.2):
        params = {"model.dropout": value, "optim.optimizer.lr": 1e-3}
        study.add_trial(planted.trial(params, value))
    text = format_table(StudyResults(study, FBETA))
    assert "dropout" in text
    assert "lr" not in text


def test_the_table_marks_the_pareto_front():
    lines = format_table(StudyResults(planted.with_a_front(), FBETA_AND_COST)).splitlines()
    assert [line[:9] for line in lines[2:5]] == ["trial_1 *", "trial_2 *", "trial_0 *"]
    assert lines[-1].startswith("*")


def test_the_table_fits_a_screen_however_much_is_searched():
    study = planted.empty()
    space = {f"model.a_long_name_of_parameter_{i}": IntDistribution(0, 99) for i in range(30)}
    for number in range(12):
        params = {name: index + number for index, name in enumerate(space)}
        study.add_trial(create_trial(params=params, distributions=space, values=[number / 12]))
    study.add_trial(
        planted.trial({}, state=TrialState.FAIL, user_attrs={"reason": "a long story " * 20})
    )
    lines = format_table(StudyResults(study, FBETA)).splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("trial_") for line in lines) == 10
    assert any("a_long_name_of_parameter_29" in line for line in lines)


@pytest.mark.parametrize("num_trials", [12, 30])
def test_the_only_parameter_with_an_effect_is_ranked_first(num_trials):
    results = StudyResults(planted.dropout_decides(num_trials), FBETA)
    assert results.varying[0] == "model.dropout"
    assert results.importances[0]["model.dropout"] > 0.5


def test_short_names_are_the_shortest_unambiguous_ends():
    names = ["model.dropout", "net.head.dropout", "optim.optimizer.lr", "lr", "loss"]
    assert short_names(names) == {
        "model.dropout": "model.dropout",
        "net.head.dropout": "head.dropout",
        "optim.optimizer.lr": "optimizer.lr",
        "lr": "lr",
        "loss": "loss",
    }
