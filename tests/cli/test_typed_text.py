"""What a setting wants as text stays as it was typed; numbers and lists stay what they are."""

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_names import NAMES
from omegaconf import OmegaConf

from octopi.cli.overrides import expand_overrides
from octopi.cli.typed_text import check_yaml_texts, quote_texts
from octopi.config.overrides import compose_config, override_text, override_value, shell_override
from octopi.errors import SettingError
from octopi.sweeps.grid import list_combinations


def read(override, verb="localize", *, multirun=False):
    """Return the value that a command gets for what was typed."""
    (quoted,) = quote_texts([override], verb, multirun=multirun)
    return override_value(quoted)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("session_id=1_0", "1_0"),
        ("session_id=1e3", "1e3"),
        ("session_id=2024_11_25", "2024_11_25"),
        ("session_id=007", "007"),
        ("session_id=1", "1"),
        ("session_id=true", "true"),
        ("session_id=nan", "nan"),
        ("session_id=no", "no"),
        ("runs=1_0", "1_0"),
        ("runs=[1_0,TS_1,'2_0',1]", ["1_0", "TS_1", "2_0", "1"]),
        ("runs=[lam 8 (1), Größe]", ["lam 8 (1)", "Größe"]),
        ("tomo_type=null", None),
        ("checkpoint=/a/epoch=3-step=12/b.pth", "/a/epoch=3-step=12/b.pth"),
        ("checkpoint=[/a/e=3/b.pth,c.pth]", ["/a/e=3/b.pth", "c.pth"]),
        ("project.config=/data (copy 2)/p.json", "/data (copy 2)/p.json"),
        ("input=/wt,ko:a/1", "/wt,ko:a/1"),
        ("project.config=/Alain's #1/p.json", "/Alain's #1/p.json"),
        ("hydra.run.dir=runs (1)", "runs (1)"),
        ("thresholds={70: 3e-1}", {70: 0.3}),
        ("thresholds=5e-1", 0.5),
        ("beta=1e0", 1.0),
        ("num_workers=1_0", 10),
        ("dry_run=true", True),
    ],
)
def test_the_annotation_decides(typed, value):
    assert read(typed) == value


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data.validation_runs=[1_0]", ["1_0"]),
        ("data.crop_size=[1_6,32,32]", [16, 32, 32]),
        ("trainer.accelerator=1_0", "1_0"),
        ("optim.optimizer.lr=1e-3", 0.001),
    ],
)
def test_the_annotation_of_an_argument_decides(typed, value):
    assert read(typed, "train") == value


def test_numbers_stay_as_they_were_typed():
    assert quote_texts(["optim.optimizer.lr=1e-3"], "train", multirun=False) == [
        "optim.optimizer.lr=1e-3"
    ]


def test_a_number_with_an_underscore_is_a_name_where_a_name_may_stand():
    assert read("membrane_label=1_0", "extract") == "1_0"
    assert read("membrane_label=10", "extract") == 10
    assert read("experiment=1_0", "train") == "1_0"
    assert read("+model={a: 1_0}", "train") == {"a": 10}


def test_names_with_quotes_can_be_swept():
    (typed,) = quote_texts(["data.validation_runs=[\"it's\"],['a\"b']"], "train", multirun=True)
    (first, second) = list_combinations([typed])
    assert [override_value(c.overrides[0]) for c in (first, second)] == [["it's"], ['a"b']]


def test_each_value_of_a_sweep_is_text():
    (quoted,) = quote_texts(["runs=[1_0],[2_0]"], "train", multirun=True)
    assert quoted == 'runs=["1_0"],["2_0"]'


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("runs=TS_1,TS_2", "runs=[TS_1,TS_2]"),
        ("checkpoint=/wt,ko/b.pth", 'checkpoint="/wt,ko/b.pth"'),
        ("project.config=/wt,ko/p.json", 'project.config="/wt,ko/p.json"'),
        ("num_workers=1,2", "-m"),
        ("runs=a (1),b (2)", 'runs=["A 1",B]'),
        ("session_id='x", "quotes"),
        ("thresholds={Größe: 0.3}", "experiment=experiment/mine.yaml"),
        ("thresholds={1e3: 0.3}", "experiment=experiment/mine.yaml"),
    ],
)
def test_what_may_be_meant_otherwise_is_refused_with_what_to_type(typed, advice):
    with pytest.raises(SettingError) as refused:
        quote_texts([typed], "localize", multirun=False)
    assert advice in str(refused.value)
    assert len(str(refused.value)) <= 600


@given(NAMES)
def test_any_text_is_taken_as_it_is_typed_or_refused(text):
    if "${" in text or text.strip().lower() in ("null", ""):
        return  # these have a meaning that is documented
    try:
        value = read(f"session_id={text}")
    except SettingError as error:
        assert len(str(error)) <= 600
        return
    is_quoted_or_escaped = text.strip()[0] in "'\"[{" or "\\" in text
    assert value == text.strip() or is_quoted_or_escaped


@given(st.one_of(NAMES, st.lists(NAMES, max_size=3)))
def test_what_octopi_writes_is_read_back(value):
    key = "runs" if isinstance(value, list) else "session_id"
    for override in (override_text(key, value), *shlex.split(shell_override(key, value))):
        (quoted,) = quote_texts([override], "localize", multirun=False)
        config = OmegaConf.create({key: override_value(quoted)})
        assert OmegaConf.to_container(config, resolve=True) == {key: value}


@pytest.mark.parametrize(
    ("line", "is_read"),
    [
        ("session_id: 1_0", False),
        ("session_id: 007", False),
        ("session_id: 2024-11-25", False),
        ("session_id: no", False),
        ("runs: [TS_1, 1_0]", False),
        ("runs: 010", False),
        ("session_id: '1_0'", True),
        ("session_id: 1", True),
        ("runs: [1, 2]", True),
        ("thresholds: {70: 0.3}", True),
        ("num_workers: 2", True),
        ("data: {x: 1_0}", True),
    ],
)
def test_text_that_yaml_reads_otherwise_is_refused_with_its_line(tmp_path, line, is_read):
    path = tmp_path / "mine.yaml"
    path.write_text(f"# @package _global_\n{line}\n", encoding="utf-8")
    if is_read:
        check_yaml_texts(path, "localize")
    else:
        with pytest.raises(SettingError, match=r"mine.yaml, line 2: YAML reads .* in quotes"):
            check_yaml_texts(path, "localize")


@pytest.mark.parametrize(
    ("verb", "typed", "key", "value"),
    [
        ("localize", "thresholds={Größe: 0.3}", "thresholds", {"Größe": 0.3}),
        ("localize", "thresholds={1e3: 0.3}", "thresholds", {"1e3": "VALUE"}),
        ("create_targets", "targets.radius_scales={Größe: 0.3}", "targets",
         {"radius_scales": {"Größe": 0.3}}),
    ],
)  # fmt: skip
def test_the_advice_on_names_that_cannot_be_typed_works(
    tmp_path, monkeypatch, verb, typed, key, value
):
    with pytest.raises(SettingError) as refused:
        quote_texts([typed], verb, multirun=False)
    lines = re.findall(r"`(.*?)`", str(refused.value))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("\n".join(lines), encoding="utf-8")
    config = compose_config(verb, expand_overrides(["experiment=experiment/mine.yaml"], verb=verb))
    found = OmegaConf.to_container(config[key])
    assert found == value or value.items() <= found.items()


@pytest.mark.parametrize(
    ("typed", "methods"),
    [
        ("[loss=dice,model=unet lr=1e-3]", ["loss=dice", "model=unet lr=1e-3"]),
        ("[data.crop_size=[32,64,64],seed=1]", ["data.crop_size=[32,64,64]", "seed=1"]),
    ],
)
def test_overrides_in_a_list_need_no_quotes(typed, methods):
    (quoted,) = quote_texts([f"methods={typed}"], "compare", multirun=False)
    assert override_value(quoted) == methods
