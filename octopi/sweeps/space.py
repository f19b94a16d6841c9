"""Search spaces: which settings a search varies, over what, and under which conditions."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import HydraException
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from octopi.config.overrides import hydra_literal, override_key
from octopi.errors import SettingError, did_you_mean, shorten_list
from octopi.system.job_folder import WITHOUT_EFFECT

UNCONDITIONAL = ""  # the condition of the settings that every trial has
PARAMS, WHEN = "hydra.sweeper.params", "hydra.sweeper.when"


@dataclass(frozen=True)
class Space:
    """The settings that a search varies, and those that it fixes.

    A condition is "setting=value" or "setting=value|value". A parameter has the name of its setting
    or, where that is drawn from something else under another condition, "setting if condition".

    Args:
        params: condition -> parameter -> its distribution, in the trials in which that holds.
        fixed: condition -> overrides of the trials in which it holds.
    """

    params: dict[str, dict[str, BaseDistribution]]
    fixed: dict[str, list[str]]


@dataclass(frozen=True)
class ParameterSource:
    """The source of a setting's value: an override that fixes it, or a distribution.

    Args:
        key: the setting as its override begins, with a "+" if that has one.
        override: as it was typed; None where the value is drawn.
        distribution: None where the value is fixed.
    """

    key: str
    override: str | None = None
    distribution: BaseDistribution | None = None


ConditionalSources = dict[str, dict[str, ParameterSource]]  # condition -> setting -> source


def read_space(
    params: Mapping[str, Any],
    when: Mapping[str, Mapping[str, Any] | None],
    overrides: Sequence[str],
) -> Space:
    """Read the space that a config describes and a command line narrows.

    Args:
        params: setting -> what to draw it from, in Hydra's sweep syntax.
        when: condition -> params of the trials in which it holds.
        overrides: of the command line. A setting that is typed leaves the space, or is drawn from
            what was typed, under every condition under which the space has it.

    Raises:
        SettingError: for an expression that cannot be searched, a condition on a setting that the
            search does not set, or two values of a setting in every trial.
    """
    sources = {UNCONDITIONAL: _read_section(params, PARAMS)}
    for condition, section in when.items():
        sources[condition] = _read_section(section or {}, f"{WHEN}.{condition}")
    for override in overrides:
        source = _read_source(override, override)
        setting = _setting(source.key)
        sections = [section for section in sources.values() if setting in section]
        for section in sections or [sources[UNCONDITIONAL]]:
            section[setting] = source
    _check_conditions(sources)
    return _as_space(_resolve_fixed_conditions(sources))


def suggest_overrides(space: Space, trial: BaseTrial) -> list[str]:
    """Draw every parameter that applies to a trial; return its overrides, the fixed ones too.

    Raises:
        SettingError: if two conditions that hold in the trial give a setting different values.
    """
    values: dict[str, Any] = {}
    overrides: list[str] = []

    def add(condition: str) -> None:
        params = space.params.get(condition, {})
        drawn = [_draw(trial, name, distribution) for name, distribution in params.items()]
        for override in [*space.fixed.get(condition, ()), *drawn]:
            setting, value = _parse_setting(override)
            if setting not in values:
                values[setting] = value
                overrides.append(override)
            elif not _same(values[setting], value):
                raise _conflict(setting, condition)

    add(UNCONDITIONAL)
    undecided = [c for c in dict.fromkeys([*space.params, *space.fixed]) if c != UNCONDITIONAL]
    while met := next((c for c in undecided if _holds(c, values)), None):
        undecided.remove(met)
        add(met)
    return overrides


def strip_condition(parameter: str) -> str:
    """Return the setting behind a parameter's name, which may have a condition."""
    return parameter.split(" if ", maxsplit=1)[0]


def describe_space(space: Space) -> dict[str, Any]:
    """Describe the space in text and lists, equal for equal spaces; not what changes no result."""
    return {
        condition or "always": {
            "params": {n: str(d) for n, d in space.params.get(condition, {}).items()},
            "fixed": [
                override
                for override in space.fixed.get(condition, [])
                if override_key(override) not in WITHOUT_EFFECT
            ],
        }
        for condition in dict.fromkeys([*space.params, *space.fixed])
    }


# From text to sources


def _read_section(params: Mapping[str, Any], path: str) -> dict[str, ParameterSource]:
    sources = {}
    for key, text in params.items():
        override = f"{key}={'null' if text is None else text}"
        sources[_setting(key)] = _read_source(override, f"{path}: {override}")
    return sources


def _read_source(override: str, text: str) -> ParameterSource:
    """Read an override; `text` is how an error shows it."""
    try:
        parsed = _parse(override)
        if parsed.is_delete() or parsed.is_list_extend():
            return ParameterSource(override, override=override)
        if not parsed.is_sweep_override():
            return ParameterSource(parsed.get_key_element(), override=override)
        return ParameterSource(parsed.get_key_element(), distribution=_distribution(parsed))
    except (HydraException, ValueError, AssertionError, NotImplementedError) as error:
        raise SettingError(f"{text} cannot be searched: {_reason(error)}") from error


def _distribution(override: Override) -> BaseDistribution:
    sweep: Any = override.value()
    if getattr(sweep, "shuffle", False):
        raise ValueError("the order of choices has no meaning here. Leave shuffle(…) out.")
    if unknown := set(getattr(sweep, "tags", ())) - {"log"}:
        raise ValueError(f"there is no tag {sorted(unknown)[0]}; the only one is log.")
    if override.is_choice_sweep():
        return CategoricalDistribution([_choice(value) for value in override.sweep_iterator()])
    return create_optuna_distribution_from_override(override)


def _choice(value: Any) -> bool | int | float | str:
    """Return a choice as Optuna can store it: a number, or the text that Hydra reads back to it."""
    if isinstance(value, bool | int | float):
        return value
    text = Transformer.str(value)
    if isinstance(value, str) and not _reads_back(text, value):
        return hydra_literal(value, "choice")
    return text


def _reads_back(text: str, value: str) -> bool:
    try:
        override = _parse(f"key={text}")
    except HydraException:
        return False
    return not override.is_sweep_override() and _same(override.value(), value)


def _reason(error: Exception) -> str:
    """Return the line of Hydra's message that says what is wrong."""
    noise = ("Error when parsing", "Error parsing", "See http", "Available:")
    lines = [line for line in str(error).splitlines() if line and not line.startswith(noise)]
    return lines[0] if lines else type(error).__name__


@functools.lru_cache(maxsize=4096)
def _parse(override: str) -> Override:
    return OverridesParser.create().parse_overrides([override])[0]


def _parse_setting(override: str) -> tuple[str, Any]:
    """Return the setting and its value; of a deletion, the whole override and None."""
    parsed = _parse(override)
    if parsed.is_delete() or parsed.is_list_extend():
        return override, None
    return _setting(parsed.get_key_element()), parsed.value()


def _setting(key: str) -> str:
    return key.lstrip("+")


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


# Conditions


@functools.cache
def _condition(text: str) -> tuple[str, tuple[Any, ...]]:
    """Return the setting that a condition is about, and the values with which it holds."""
    setting, equals, values = text.partition("=")
    try:
        if not (setting and equals and values):
            raise ValueError
        return setting, tuple(_parse(f"key={value}").value() for value in values.split("|"))
    except (HydraException, ValueError) as error:
        raise SettingError(
            f"{WHEN}: '{text}' is no condition. Write setting=value or setting=value|value."
        ) from error


def _holds(condition: str, values: Mapping[str, Any]) -> bool:
    setting, accepted = _condition(condition)
    return setting in values and any(_same(values[setting], value) for value in accepted)


def _check_conditions(sources: ConditionalSources) -> None:
    """Raise SettingError for a condition on a setting that the search does not set."""
    settings = dict.fromkeys(setting for section in sources.values() for setting in section)
    for condition in sources:
        if condition != UNCONDITIONAL and (setting := _condition(condition)[0]) not in settings:
            raise SettingError(
                f"{WHEN}: '{condition}' cannot occur, for the search does not set {setting}."
                f"{did_you_mean(setting, settings)} "
                f"It sets: {shorten_list(settings, closest_to=setting)}."
            )


def _conflict(setting: str, condition: str) -> SettingError:
    return SettingError(
        f"{WHEN}: {setting} has other values under '{condition}' than elsewhere in the same trial. "
        "Give it the same values, or conditions that exclude each other."
    )


def _resolve_fixed_conditions(sources: ConditionalSources) -> ConditionalSources:
    """Give every trial what stands under conditions that fixed settings meet.

    Conditions that they do not meet are dropped, and those on settings that nothing sets any more.
    """
    in_every_trial = dict(sources[UNCONDITIONAL])
    undecided = {c: section for c, section in sources.items() if c != UNCONDITIONAL}
    while True:
        fixed = dict(_parse_setting(s.override) for s in in_every_trial.values() if s.override)
        settings = {s for section in (in_every_trial, *undecided.values()) for s in section}
        on = {condition: _condition(condition)[0] for condition in undecided}
        decided = next((c for c in undecided if on[c] in fixed or on[c] not in settings), None)
        if decided is None:
            return {UNCONDITIONAL: in_every_trial, **undecided}
        section = undecided.pop(decided)
        for setting, source in section.items() if _holds(decided, fixed) else ():
            if in_every_trial.setdefault(setting, source) != source:
                raise _conflict(setting, decided)


# From sources to the space


def _as_space(sources: ConditionalSources) -> Space:
    space = Space({}, {})
    for condition, section in sources.items():
        for setting, source in section.items():
            if source.distribution is None:
                assert source.override is not None
                space.fixed.setdefault(condition, []).append(source.override)
            else:
                name = _parameter_name(setting, condition, sources)
                space.params.setdefault(condition, {})[name] = source.distribution
    return space


def _parameter_name(setting: str, condition: str, sources: ConditionalSources) -> str:
    """Name a parameter for Optuna, to which a name with two distributions is an error."""
    source = sources[condition][setting]
    others = [section[setting] for section in sources.values() if setting in section]
    differs = any(other.distribution != source.distribution for other in others)
    return f"{source.key} if {condition}" if differs and condition != UNCONDITIONAL else source.key


def _draw(trial: BaseTrial, name: str, distribution: BaseDistribution) -> str:
    """Draw a parameter; return the override that gives its setting the value."""
    d = distribution
    value: Any
    if isinstance(d, FloatDistribution):
        value = trial.suggest_float(name, d.low, d.high, step=d.step, log=d.log)
    elif isinstance(d, IntDistribution):
        value = trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
    else:
        assert isinstance(d, CategoricalDistribution)
        value = trial.suggest_categorical(name, d.choices)
    key = strip_condition(name)  # a choice of text is written as Hydra reads it: see _choice
    return f"{key}={value if isinstance(value, str) else hydra_literal(value, key)}"
