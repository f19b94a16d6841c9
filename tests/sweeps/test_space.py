"""What a search draws, what the command line takes out of it, and what it refuses."""

import subprocess
import sys

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from octopi.errors import SettingError
from octopi.sweeps.space import describe, read_space, suggest

NUMBERS = {"lr": "tag(log, interval(1e-4, 1e-2))", "depth": "range(2, 5)"}
FAMILIES = {"model": "choice(unet, dynunet)"}
BY_FAMILY = {
    "model=unet": {"model.depth": "range(2, 4)", "crop": "choice([64,64,64], [32,32,32])"},
    "model=dynunet": {"model.strides": "choice([1,2], [1,2,2])", "crop": "choice([16,16,16])"},
    "model.strides=[1,2,2]": {"model.heads": "range(0, 3)"},
}


def value_of(word):
    override = OverridesParser.create().parse_overrides([word])[0]
    assert not override.is_sweep_override()
    return override.value()


def words_of(space, **drawn):
    return suggest(space, FixedTrial(drawn))


def many_words(space, number=40, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [suggest(space, study.ask()) for _ in range(number)]


def test_expressions_become_distributions():
    params = {**NUMBERS, "drop": "interval(0, 0.5)", "n": "int(interval(1, 30))", "act": "a, b"}
    assert read_space(params, {}, []).params == {
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "depth": IntDistribution(2, 4),
        "drop": FloatDistribution(0, 0.5),
        "n": IntDistribution(1, 30),
        "act": CategoricalDistribution(["a", "b"]),
    }


def test_a_plain_value_is_a_fixed_word():
    space = read_space({"model": "unet", "flag": True, "size": [1, 2], "no": None}, {}, ["seed=3"])
    assert space.params == {}
    assert space.fixed == ["model=unet", "flag=True", "size=[1, 2]", "no=null", "seed=3"]


def test_a_parameter_exists_only_under_its_condition():
    space = read_space(FAMILIES, BY_FAMILY, [])
    crop = {"crop if model=unet": "[32,32,32]", "crop if model=dynunet": "[16,16,16]"}
    assert words_of(space, model="unet", **{"model.depth": 3}, **crop) == [
        "model=unet",
        "model.depth=3",
        "crop=[32,32,32]",
    ]
    drawn = {"model.strides": "[1,2]", "model.heads": 2, **crop}
    assert words_of(space, model="dynunet", **drawn) == [
        "model=dynunet",
        "model.strides=[1,2]",
        "crop=[16,16,16]",
    ]


def test_a_condition_may_wait_for_a_parameter_of_another():
    space = read_space(FAMILIES, dict(reversed(BY_FAMILY.items())), [])
    drawn = {"model.strides": "[1,2,2]", "crop if model=dynunet": "[16,16,16]", "model.heads": 2}
    assert words_of(space, model="dynunet", **drawn)[-1] == "model.heads=2"


def test_a_condition_may_name_several_values():
    space = read_space({"loss": "choice(a, b, c)"}, {"loss=a|c": {"alpha": "interval(0, 1.0)"}}, [])
    held = [len(words_of(space, loss=loss, alpha=0.5)) for loss in "abc"]
    assert held == [2, 1, 2]


def test_true_is_not_one():
    space = read_space({"x": "choice(1, true)"}, {"x=1": {"y": "choice(5)"}}, [])
    assert words_of(space, x=True, y=5) == ["x=true"]
    assert words_of(space, x=1, y=5) == ["x=1", "y=5"]


def test_a_range_of_numbers_meets_a_condition_inside_it():
    space = read_space({"n": "range(1, 4)"}, {"n=3": {"y": "choice(5)"}}, [])
    assert words_of(space, n=3, y=5) == ["n=3", "y=5"]
    with pytest.raises(SettingError, match="n is never 4"):
        read_space({"n": "range(1, 4)"}, {"n=4": {"y": "choice(5)"}}, [])


def test_the_same_values_under_two_conditions_are_one_parameter():
    when = {
        "model=unet": {"drop": "interval(0, 0.3)"},
        "model=dynunet": {"drop": "interval(0,0.3)"},
    }
    space = read_space(FAMILIES, when, [])
    assert [list(section) for section in space.conditional.values()] == [["drop"], ["drop"]]


def test_a_typed_value_takes_a_parameter_out_of_the_space():
    space = read_space(NUMBERS, {}, ["lr=1e-3"])
    assert list(space.params) == ["depth"]
    assert space.fixed == ["lr=1e-3"]


def test_a_typed_value_decides_conditions():
    space = read_space(FAMILIES, BY_FAMILY, ["model=dynunet"])
    assert list(space.params) == ["model.strides", "crop"]
    assert list(space.conditional) == ["model.strides=[1,2,2]"]
    both = read_space(FAMILIES, BY_FAMILY, ["model=dynunet", "model.strides=[1, 2, 2]"])
    assert list(both.params) == ["crop", "model.heads"]
    assert both.conditional == {}


def test_a_typed_value_of_a_conditional_parameter_stays_with_its_condition():
    space = read_space(FAMILIES, BY_FAMILY, ["model.depth=7"])
    unet = words_of(space, model="unet", **{"crop if model=unet": "[64,64,64]"})
    assert unet == ["model=unet", "crop=[64,64,64]", "model.depth=7"]
    assert not any("depth" in word for word in many_words(space)[0] if "model=dynunet" in word)
    assert "model.depth=7" not in space.fixed


def test_a_typed_expression_replaces_or_adds():
    space = read_space(FAMILIES, BY_FAMILY, ["crop=choice([8,8,8])", "lr=interval(0, 1.0)"])
    assert {
        tuple(d.choices) for s in space.conditional.values() for n, d in s.items() if n == "crop"
    }
    assert [n for s in space.conditional.values() for n in s].count("crop") == 2
    assert space.params["lr"] == FloatDistribution(0, 1)


def test_a_narrower_choice_leaves_out_what_can_no_longer_occur():
    space = read_space(FAMILIES, BY_FAMILY, ["model=choice(unet)"])
    assert list(space.conditional) == ["model=unet"]


def test_words_with_signs_are_kept_as_they_were_typed():
    typed = ["~callbacks.early_stopping", "+x.y=3", "data.runs=[a,b]", "logger@more=csv"]
    assert read_space(NUMBERS, {}, typed).fixed == typed


def test_a_sign_before_a_setting_does_not_hide_it():
    assert list(read_space(NUMBERS, {}, ["++lr=1e-3"]).params) == ["depth"]
    space = read_space(NUMBERS, {}, ["+net.kernel=choice(3, 5)"])
    drawn = {"lr": 1e-3, "depth": 2, "+net.kernel": 3}
    assert words_of(space, **drawn)[-1] == "+net.kernel=3"


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
    seen = {key: [] for key in params}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(150):
        trial = study.ask()
        for word in suggest(space, trial):
            key = word.partition("=")[0]
            seen[key].append(value_of(word))
            if key in ("small", "number", "depth"):
                assert seen[key][-1] == trial.params[key]
                assert type(seen[key][-1]) is type(trial.params[key])
    assert set(seen["text"]) == set(HARD)
    assert all(value in ([1, "a b", [True, 2.5]], {"a": 1, "b": ["x"]}) for value in seen["nested"])


def test_no_trial_has_a_setting_twice_or_one_of_another_family():
    for words in many_words(read_space(FAMILIES, BY_FAMILY, [])):
        settings = [word.partition("=")[0] for word in words]
        assert len(settings) == len(set(settings))
        assert ("model.depth" in settings) == ("model=unet" in words)
        assert ("model.heads" in settings) == ("model.strides=[1,2,2]" in words)


def test_a_sampler_that_learns_takes_the_space():
    space = read_space(FAMILIES | NUMBERS, BY_FAMILY, [])
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=3)
    study = optuna.create_study(sampler=sampler)
    for number in range(12):
        trial = study.ask()
        for word in suggest(space, trial):
            value_of(word)
        study.tell(trial, float(number))
    assert len(study.trials) == 12


@pytest.mark.parametrize(
    ("params", "when", "typed", "told"),
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
        (FAMILIES, {"model=unett": {"x": "range(1, 3)"}}, [], "never unett. Did you mean unet?"),
        (FAMILIES, {"model=unet|x": {"x": "range(1, 3)"}}, [], "model is never x"),
        (FAMILIES, {"model": {"x": "range(1, 3)"}}, [], "no condition. Write setting=value"),
        (FAMILIES, {"a=1": {"b": "range(1, 3)"}, "b=1": {"a": "range(1, 3)"}}, [], "not set a"),
        (
            FAMILIES | {"x": "range(1, 9)"},
            {"model=unet": {"x": "range(1, 3)"}},
            [],
            "x has different values under hydra.sweeper.params and 'model=unet'",
        ),
        (
            FAMILIES | {"loss": "choice(a, b)"},
            {"model=unet": {"x": "range(1, 3)"}, "loss=a": {"x": "range(1, 4)"}},
            [],
            "under 'model=unet' and 'loss=a', which may hold together",
        ),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(params, when, typed, told):
    with pytest.raises(SettingError, match=told):
        read_space(params, when, typed)


def test_conditions_exclude_each_other_through_what_they_stand_on():
    when = BY_FAMILY | {"model.strides=[1,2]": {"model.depth": "range(7, 9)"}}
    assert "model.depth if model=unet" in read_space(FAMILIES, when, []).conditional["model=unet"]


def test_a_description_tells_spaces_apart_and_nothing_else():
    one = describe(read_space(FAMILIES, BY_FAMILY, ["seed=1"]))
    assert one == describe(read_space(FAMILIES, BY_FAMILY, ["seed=1"]))
    wider = BY_FAMILY | {"model=unet": BY_FAMILY["model=unet"] | {"model.depth": "range(2, 5)"}}
    other = describe(read_space(FAMILIES, wider, ["seed=1"]))
    assert {key for key in one if one[key] != other[key]} == {"when"}
    plain = (str, list, dict)
    assert all(isinstance(value, plain) for section in one.values() for value in section)


def test_the_module_is_light():
    code = (
        "import sys, octopi.sweeps.space;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'optuna', 'hydra')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
