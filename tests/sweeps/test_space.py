"""Search spaces: what a trial draws, what the command line fixes, and what is refused."""

import json

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from octopi.errors import SettingError
from octopi.sweeps.space import UNCONDITIONAL, describe_space, read_space, suggest_overrides

NUMBERS = {"lr": "tag(log, interval(1e-4, 1e-2))", "depth": "range(2, 5)"}
FAMILIES = {"model": "choice(unet, dynunet)"}
BY_FAMILY = {
    "model=unet": {"model.depth": "range(2, 4)", "crop": "choice([64,64,64], [32,32,32])"},
    "model=dynunet": {"model.strides": "choice([1,2], [1,2,2])", "crop": "choice([16,16,16])"},
    "model.strides=[1,2,2]": {"model.heads": "range(0, 3)"},
}


def parse_value(override):
    parsed = OverridesParser.create().parse_overrides([override])[0]
    assert not parsed.is_sweep_override()
    return parsed.value()


def suggest_from(space, **values):
    """Suggest the overrides of a trial that draws these values."""
    return suggest_overrides(space, FixedTrial(values))


def suggest_many(space, number=40, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [suggest_overrides(space, study.ask()) for _ in range(number)]


def test_expressions_become_distributions():
    params = {**NUMBERS, "drop": "interval(0, 0.5)", "n": "int(interval(1, 30))", "act": "a, b"}
    assert read_space(params, {}, []).params[UNCONDITIONAL] == {
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "depth": IntDistribution(2, 4),
        "drop": FloatDistribution(0, 0.5),
        "n": IntDistribution(1, 30),
        "act": CategoricalDistribution(["a", "b"]),
    }


def test_a_plain_value_is_fixed():
    space = read_space({"model": "unet", "flag": True, "size": [1, 2], "no": None}, {}, ["seed=3"])
    assert space.params == {}
    fixed = ["model=unet", "flag=True", "size=[1, 2]", "no=null", "seed=3"]
    assert space.fixed == {UNCONDITIONAL: fixed}
    assert suggest_from(space) == fixed


def test_a_parameter_exists_only_under_its_condition():
    space = read_space(FAMILIES, BY_FAMILY, [])
    crop = {"crop if model=unet": "[32,32,32]", "crop if model=dynunet": "[16,16,16]"}
    assert suggest_from(space, model="unet", **{"model.depth": 3}, **crop) == [
        "model=unet",
        "model.depth=3",
        "crop=[32,32,32]",
    ]
    drawn = {"model.strides": "[1,2]", "model.heads": 2, **crop}
    assert suggest_from(space, model="dynunet", **drawn) == [
        "model=dynunet",
        "model.strides=[1,2]",
        "crop=[16,16,16]",
    ]


def test_a_condition_may_be_about_a_parameter_under_another_condition():
    space = read_space(FAMILIES, dict(reversed(BY_FAMILY.items())), [])
    drawn = {"model.strides": "[1,2,2]", "crop if model=dynunet": "[16,16,16]", "model.heads": 2}
    assert suggest_from(space, model="dynunet", **drawn)[-1] == "model.heads=2"


def test_a_condition_may_name_several_values():
    space = read_space({"loss": "choice(a, b, c)"}, {"loss=a|c": {"alpha": "interval(0, 1.0)"}}, [])
    assert [len(suggest_from(space, loss=loss, alpha=0.5)) for loss in "abc"] == [2, 1, 2]


def test_true_is_not_one():
    space = read_space({"x": "choice(1, true)"}, {"x=1": {"y": "choice(5)"}}, [])
    assert suggest_from(space, x=True, y=5) == ["x=true"]
    assert suggest_from(space, x=1, y=5) == ["x=1", "y=5"]


def test_a_number_of_a_range_meets_a_condition():
    space = read_space({"n": "range(1, 4)"}, {"n=3": {"y": "choice(5)"}}, [])
    assert suggest_from(space, n=3, y=5) == ["n=3", "y=5"]


def test_a_condition_that_never_holds_adds_nothing():
    space = read_space(FAMILIES, {"model=unett": {"x": "range(1, 3)"}}, [])
    assert suggest_from(space, model="unet") == ["model=unet"]


def test_the_same_values_under_two_conditions_are_one_parameter():
    when = {
        "model=unet": {"drop": "interval(0, 0.3)"},
        "model=dynunet": {"drop": "interval(0,0.3)"},
    }
    space = read_space(FAMILIES, when, [])
    assert list(map(list, space.params.values())) == [["model"], ["drop"], ["drop"]]


def test_a_typed_value_takes_a_parameter_out_of_the_space():
    space = read_space(NUMBERS, {}, ["lr=1e-3"])
    assert list(space.params[UNCONDITIONAL]) == ["depth"]
    assert space.fixed == {UNCONDITIONAL: ["lr=1e-3"]}


def test_a_typed_value_decides_conditions():
    space = read_space(FAMILIES, BY_FAMILY, ["model=dynunet"])
    assert list(space.params[UNCONDITIONAL]) == ["model.strides", "crop"]
    assert list(space.params) == [UNCONDITIONAL, "model.strides=[1,2,2]"]
    both = read_space(FAMILIES, BY_FAMILY, ["model=dynunet", "model.strides=[1, 2, 2]"])
    assert list(map(list, both.params.values())) == [["crop", "model.heads"]]


def test_a_typed_value_of_a_conditional_parameter_stays_with_its_condition():
    space = read_space(FAMILIES, BY_FAMILY, ["model.depth=7"])
    unet = suggest_from(space, model="unet", **{"crop if model=unet": "[64,64,64]"})
    assert unet == ["model=unet", "model.depth=7", "crop=[64,64,64]"]
    for overrides in suggest_many(space):
        assert ("model.depth=7" in overrides) == ("model=unet" in overrides)
    assert space.fixed == {"model=unet": ["model.depth=7"]}


def test_a_typed_expression_replaces_or_adds():
    space = read_space(FAMILIES, BY_FAMILY, ["crop=choice([8,8,8])", "lr=interval(0, 1.0)"])
    crops = [d for s in space.params.values() for n, d in s.items() if n == "crop"]
    assert [tuple(crop.choices) for crop in crops] == [("[8,8,8]",)] * 2
    assert space.params[UNCONDITIONAL]["lr"] == FloatDistribution(0, 1)


def test_a_narrower_choice_leaves_out_the_parameters_of_the_others():
    space = read_space(FAMILIES, BY_FAMILY, ["model=choice(unet)"])
    settings = {o.partition("=")[0] for overrides in suggest_many(space) for o in overrides}
    assert settings == {"model", "model.depth", "crop"}


def test_a_fixed_setting_leaves_out_what_only_another_value_of_it_brings():
    space = read_space(FAMILIES, BY_FAMILY, ["model=unet"])
    assert list(map(list, space.params.values())) == [["model.depth", "crop"]]


def test_overrides_with_signs_are_kept_as_they_were_typed():
    typed = ["~callbacks.early_stopping", "+x.y=3", "data.runs=[a,b]", "logger@more=csv"]
    assert read_space(NUMBERS, {}, typed).fixed == {UNCONDITIONAL: typed}


def test_a_sign_before_a_setting_does_not_hide_it():
    space = read_space(NUMBERS, {}, ["++lr=1e-3"])
    assert list(space.params[UNCONDITIONAL]) == ["depth"]
    space = read_space(NUMBERS, {}, ["+net.kernel=choice(3, 5)"])
    drawn = {"lr": 1e-3, "depth": 2, "+net.kernel": 3}
    assert suggest_from(space, **drawn)[-1] == "+net.kernel=3"


HARD = ["a b", "it's", "1", "null", "true", "a,b", "x=y", "[1]", "${z}", "c:\\d", "", "1e-3", "{"]


def test_every_suggestion_is_read_back_as_it_was_drawn():
    quoted = ", ".join("'" + text.replace("'", "\\'") + "'" for text in HARD)
    params = {
        "text": f"choice({quoted})",
        "nested": "choice([1,'a b',[true,2.5]], {a: 1, b: [x]})",
        "small": "tag(log, interval(1e-30, 1e-3))",
        "number": "choice(1, 2.5, true, -3e-7)",
        "depth": "range(2, 5)",
    }
    space = read_space(params, {}, [])
    suggested = {key: [] for key in params}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(150):
        trial = study.ask()
        for override in suggest_overrides(space, trial):
            key = override.partition("=")[0]
            suggested[key].append(parse_value(override))
            if key in ("small", "number", "depth"):
                assert suggested[key][-1] == trial.params[key]
                assert type(suggested[key][-1]) is type(trial.params[key])
    assert set(suggested["text"]) == set(HARD)
    assert all(
        value in ([1, "a b", [True, 2.5]], {"a": 1, "b": ["x"]}) for value in suggested["nested"]
    )


def test_no_trial_has_a_setting_twice_or_one_of_another_family():
    for overrides in suggest_many(read_space(FAMILIES, BY_FAMILY, [])):
        settings = [override.partition("=")[0] for override in overrides]
        assert len(settings) == len(set(settings))
        assert ("model.depth" in settings) == ("model=unet" in overrides)
        assert ("model.heads" in settings) == ("model.strides=[1,2,2]" in overrides)


def test_a_sampler_that_learns_takes_the_space():
    space = read_space(FAMILIES | NUMBERS, BY_FAMILY, [])
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=3)
    study = optuna.create_study(sampler=sampler)
    for number in range(12):
        trial = study.ask()
        for override in suggest_overrides(space, trial):
            parse_value(override)
        study.tell(trial, float(number))
    assert len(study.trials) == 12


@pytest.mark.parametrize(
    ("params", "when", "typed", "message"),
    [
        ({"lr": "interval(1e-4"}, {}, [], "hydra.sweeper.params: lr=interval.*cannot be searched"),
        ({"lr": "intervall(0, 1)"}, {}, [], "Unknown function 'intervall'"),
        ({"lr": "interval(3, 1)"}, {}, [], "lr=interval"),
        ({"lr": "tag(lgo, interval(1, 3))"}, {}, [], "no tag lgo"),
        ({"lr": "shuffle(range(1, 5))"}, {}, [], "shuffle"),
        ({"lr": "glob(*)"}, {}, [], "lr=glob"),
        (NUMBERS, {}, ["lr=choice()"], "lr=choice.* empty choice"),
        (FAMILIES, {"model=unet": {"x": "rnge(1)"}}, [], "model=unet: x=rnge"),
        (FAMILIES, {"modle=unet": {"x": "range(1, 3)"}}, [], "modle=unet.*Did you mean model?"),
        (FAMILIES, {"model": {"x": "range(1, 3)"}}, [], "no condition. Write setting=value"),
        (
            FAMILIES | {"x": "range(1, 9)"},
            {"model=unet": {"x": "range(1, 3)"}},
            ["model=unet"],
            "x has other values under 'model=unet' than elsewhere in the same trial",
        ),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(params, when, typed, message):
    with pytest.raises(SettingError, match=message):
        read_space(params, when, typed)


def test_a_trial_in_which_two_conditions_give_a_setting_different_values_is_refused():
    when = {"model=unet": {"x": "choice(1, 2)"}, "loss=a": {"x": "choice(3, 4)"}}
    space = read_space(FAMILIES | {"loss": "choice(a, b)"}, when, [])
    values = {"x if model=unet": 1, "x if loss=a": 3}
    assert suggest_from(space, model="unet", loss="b", **values) == ["model=unet", "loss=b", "x=1"]
    with pytest.raises(SettingError, match="x has other values under 'loss=a'"):
        suggest_from(space, model="unet", loss="a", **values)


def test_the_description_differs_only_where_the_spaces_do():
    one = describe_space(read_space(FAMILIES, BY_FAMILY, ["seed=1"]))
    assert one == describe_space(read_space(FAMILIES, BY_FAMILY, ["seed=1"]))
    quiet = ["seed=1", "dry_run=true", "trainer.enable_progress_bar=false"]  # change no result
    assert one == describe_space(read_space(FAMILIES, BY_FAMILY, quiet))
    wider = BY_FAMILY | {"model=unet": BY_FAMILY["model=unet"] | {"model.depth": "range(2, 5)"}}
    other = describe_space(read_space(FAMILIES, wider, ["seed=1"]))
    assert {key for key in one if one[key] != other[key]} == {"model=unet"}
    assert one["always"]["fixed"] == ["seed=1"]
    assert json.loads(json.dumps(one)) == one
