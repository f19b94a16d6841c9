"""A search space as data: which settings vary, over what, and which exist only beside others."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from octopi.config.overrides import hydra_literal
from octopi.errors import SettingError, did_you_mean

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

UNCONDITIONAL = ""  # the condition of settings that every trial has
PARAMS, WHEN = "hydra.sweeper.params", "hydra.sweeper.when"


@dataclass(frozen=True)
class Space:
    """Which settings a search varies, and how.

    A condition is "setting=value" or "setting=value|value". A name is that of a setting or, where
    a setting has other values under other conditions, "setting if condition".

    Args:
        params: name -> what it is drawn from, in every trial.
        conditional: condition -> the same, in the trials in which it holds.
        fixed: words that every trial gets.
        fixed_when: condition -> words for the trials in which it holds.
    """

    params: "dict[str, BaseDistribution]"
    conditional: "dict[str, dict[str, BaseDistribution]]"
    fixed: list[str]
    fixed_when: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterSource:
    """Where a setting's value comes from: a word, or what the sampler draws it from.

    Args:
        key: the setting as a word begins, with its "+" if it has one.
        word: the whole word, if the setting is fixed.
        distribution: otherwise.
    """

    key: str
    word: str | None = None
    distribution: "BaseDistribution | None" = None

    def allows(self, value: Any) -> bool:
        """Whether a trial may have this value."""
        from optuna.distributions import FloatDistribution, IntDistribution  # noqa: PLC0415

        if isinstance(self.distribution, FloatDistribution | IntDistribution):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and self.distribution.low <= value <= self.distribution.high
        return any(_same(value, known) for known in self.known_values())

    def known_values(self) -> list[Any]:
        """Its values, if they are not a range of numbers."""
        from optuna.distributions import CategoricalDistribution  # noqa: PLC0415

        if self.word is not None:
            override = _parse(self.word)
            return [] if override.is_delete() else [override.value()]
        if isinstance(self.distribution, CategoricalDistribution):
            return [_last_value(_hydra_literal(choice)) for choice in self.distribution.choices]
        return []


ConditionalSources = dict[str, dict[str, ParameterSource]]  # condition -> setting -> source


def read_space(
    params: Mapping[str, Any],
    when: Mapping[str, Mapping[str, Any]],
    arguments: Sequence[str],
) -> Space:
    """The space that a config describes and a command line narrows.

    Args:
        params: setting -> what to draw it from, in Hydra's sweep syntax.
        when: condition -> params that exist only where a trial chose, or the command line fixed,
            such a value.
        arguments: the command line's own words. A setting that is typed leaves the space, or is
            drawn from what was typed, wherever the space holds it.
    """
    from_config: ConditionalSources = {UNCONDITIONAL: _sources(params or {}, PARAMS)}
    for condition, section in (when or {}).items():
        from_config[condition] = _sources(section or {}, f"{WHEN}.{condition}")
    _check_conflicts(from_config)
    with_overrides = _typed(from_config, arguments)
    _check_conditions(from_config, with_overrides)
    return _space(_resolve_fixed_conditions(with_overrides))


def suggest(space: Space, trial: "BaseTrial") -> list[str]:
    """The words for a trial: every parameter that applies, drawn by the trial."""
    values = dict(_known(word) for word in space.fixed)
    words: list[str] = []

    def draw(condition: str, params: "Mapping[str, BaseDistribution]") -> None:
        for name, distribution in params.items():
            add(f"{key_of(name)}={_hydra_literal(_drawn(trial, name, distribution))}")
        for word in space.fixed_when.get(condition, ()):
            add(word)

    def add(word: str) -> None:
        setting, value = _known(word)
        if setting not in values:
            values[setting] = value
            words.append(word)

    draw(UNCONDITIONAL, space.params)
    waiting = list(dict.fromkeys([*space.conditional, *space.fixed_when]))
    while ready := [condition for condition in waiting if _holds(condition, values)]:
        waiting.remove(ready[0])
        draw(ready[0], space.conditional.get(ready[0], {}))
    return words


def key_of(name: str) -> str:
    """The setting behind the name of a parameter."""
    return name.split(" if ", maxsplit=1)[0]


def describe(space: Space) -> dict[str, Any]:
    """The space in plain words and lists, the same for the same space."""
    return {
        "params": {name: str(drawn) for name, drawn in space.params.items()},
        "when": {
            condition: {name: str(drawn) for name, drawn in params.items()}
            for condition, params in space.conditional.items()
        },
        "fixed": list(space.fixed),
        "fixed_when": {condition: list(words) for condition, words in space.fixed_when.items()},
    }


# From words to sources


def _sources(params: Mapping[str, Any], where: str) -> dict[str, ParameterSource]:
    sources = {}
    for key, text in params.items():
        word = f"{key}={'null' if text is None else text}"
        sources[_setting(key)] = _source(word, f"{where}: {word}")
    return sources


def _typed(written: ConditionalSources, arguments: Iterable[str]) -> ConditionalSources:
    """The draft with the command line's words in it."""
    typed = {condition: dict(section) for condition, section in written.items()}
    for word in arguments:
        source = _source(word, word)
        setting = _setting(source.key)
        places = [section for section in typed.values() if setting in section]
        for section in places or [typed[UNCONDITIONAL]]:
            section[setting] = source
    return typed


def _source(word: str, source_text: str) -> ParameterSource:
    """What a word says, `told` being how an error shows it."""
    from hydra.errors import HydraException  # noqa: PLC0415  keeps the import of this file quick

    try:
        override = _parse(word)
        if override.is_delete() or override.is_list_extend():
            return ParameterSource(word, word=word)
        if not override.is_sweep_override():
            return ParameterSource(override.get_key_element(), word=word)
        return ParameterSource(override.get_key_element(), distribution=_distribution(override))
    except (HydraException, ValueError, AssertionError, NotImplementedError) as error:
        raise SettingError(f"{source_text} cannot be searched: {_reason(error)}") from error


def _distribution(override: "Override") -> "BaseDistribution":
    from hydra_plugins.hydra_optuna_sweeper._impl import (  # noqa: PLC0415
        create_optuna_distribution_from_override,
    )
    from optuna.distributions import CategoricalDistribution  # noqa: PLC0415

    sweep: Any = override.value()
    if getattr(sweep, "shuffle", False):
        raise ValueError("the order of choices has no meaning here. Leave shuffle(…) out.")
    if unknown := set(getattr(sweep, "tags", ())) - {"log"}:
        raise ValueError(f"there is no tag {sorted(unknown)[0]}; the only one is log.")
    if override.is_choice_sweep():
        return CategoricalDistribution([_choice(x) for x in override.sweep_iterator()])
    return create_optuna_distribution_from_override(override)


def _choice(value: Any) -> bool | int | float | str:
    """A choice as Optuna can store it: a plain number, or the text that Hydra reads back to it."""
    from hydra.core.override_parser.types import Transformer  # noqa: PLC0415

    if isinstance(value, bool | int | float):
        return value
    text = Transformer.str(value)
    if isinstance(value, str) and not _reads_back(text, value):
        return hydra_literal(value, "choice")
    return text


def _reads_back(text: str, value: str) -> bool:
    from hydra.errors import HydraException  # noqa: PLC0415

    try:
        override = _parse(f"key={text}")
    except HydraException:
        return False
    return not override.is_sweep_override() and _same(override.value(), value)


def _reason(error: Exception) -> str:
    """The line of Hydra's message that says what is wrong."""
    noise = ("Error when parsing", "Error parsing", "See http", "Available:")
    lines = [line for line in str(error).splitlines() if line and not line.startswith(noise)]
    return lines[0] if lines else type(error).__name__


@functools.cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415

    return OverridesParser.create()


@functools.lru_cache(maxsize=4096)
def _parse(word: str) -> "Override":
    return _parser().parse_overrides([word])[0]


def _last_value(text: str) -> Any:
    return _parse(f"key={text}").value()


def _known(word: str) -> tuple[str, Any]:
    """The setting of a word and its value; a deletion has none."""
    override = _parse(word)
    if override.is_delete() or override.is_list_extend():
        return word, None
    return _setting(override.get_key_element()), override.value()


def _setting(key: str) -> str:
    return key.lstrip("+")


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


# Conditions


@functools.cache
def _condition(text: str) -> tuple[str, tuple[Any, ...]]:
    """The setting a condition looks at, and the values it waits for."""
    from hydra.errors import HydraException  # noqa: PLC0415

    setting, equals, values = text.partition("=")
    try:
        if not (setting and equals and values):
            raise ValueError
        return setting, tuple(_last_value(value) for value in values.split("|"))
    except (HydraException, ValueError) as error:
        raise SettingError(
            f"{WHEN}: '{text}' is no condition. Write setting=value or setting=value|value."
        ) from error


def _holds(condition: str, values: Mapping[str, Any]) -> bool:
    setting, wanted = _condition(condition)
    return setting in values and any(_same(values[setting], value) for value in wanted)


def _reachable(draft: ConditionalSources) -> dict[str, list[ParameterSource]]:
    """Setting -> its sources, without those whose conditions can never hold."""
    reachable: dict[str, list[ParameterSource]] = {}
    waiting = list(draft)

    def can_hold(condition: str) -> bool:
        if condition == UNCONDITIONAL:
            return True
        setting, wanted = _condition(condition)
        return any(s.allows(value) for s in reachable.get(setting, ()) for value in wanted)

    while ready := [condition for condition in waiting if can_hold(condition)]:
        for condition in ready:
            waiting.remove(condition)
            for setting, source in draft[condition].items():
                reachable.setdefault(setting, []).append(source)
    return reachable


def _check_conditions(written: ConditionalSources, typed: ConditionalSources) -> None:
    """Raise SettingError for a condition that neither the config nor the words can meet."""
    found = _reachable(written)
    for setting, sources in _reachable(typed).items():
        found.setdefault(setting, []).extend(sources)
    for condition in written:
        if condition == UNCONDITIONAL:
            continue
        setting, wanted = _condition(condition)
        if setting not in found:
            raise SettingError(
                f"{WHEN}: '{condition}' cannot occur, for the search does not set {setting}."
                f"{did_you_mean(setting, found)} It sets: {', '.join(found)}."
            )
        for value in wanted:
            if not any(source.allows(value) for source in found[setting]):
                raise SettingError(f"{WHEN}: {_impossible(condition, value, found[setting])}")


def _impossible(condition: str, value: Any, sources: Iterable[ParameterSource]) -> str:
    setting, _ = _condition(condition)
    known = list(dict.fromkeys(str(v) for source in sources for v in source.known_values()))
    choices_text = f" It is one of: {', '.join(known)}." if known else ""
    hint = did_you_mean(str(value), known)
    return f"'{condition}' cannot occur, for {setting} is never {value}.{hint}{choices_text}"


def _check_conflicts(written: ConditionalSources) -> None:
    """Raise SettingError where a trial could draw one setting from two different things."""
    for setting in dict.fromkeys(s for section in written.values() for s in section):
        places = [condition for condition, section in written.items() if setting in section]
        for i, one in enumerate(places):
            for other in places[i + 1 :]:
                same = written[one][setting] == written[other][setting]
                if not same and not _exclusive(
                    _required_values(one, written), _required_values(other, written)
                ):
                    raise SettingError(
                        f"{WHEN}: {setting} has different values under {_condition_text(one)} and "
                        f"{_condition_text(other)}, which may hold together. Give it the same "
                        f"values, or "
                        "conditions that exclude each other."
                    )


def _condition_text(condition: str) -> str:
    return PARAMS if condition == UNCONDITIONAL else f"'{condition}'"


def _required_values(condition: str, draft: ConditionalSources) -> dict[str, tuple[Any, ...]]:
    """Setting -> the values it must have for a condition to hold, those of its parents included."""
    implied: dict[str, tuple[Any, ...]] = {}
    while condition != UNCONDITIONAL:
        setting, wanted = _condition(condition)
        if setting in implied:
            break
        implied[setting] = wanted
        parents = [parent for parent, section in draft.items() if setting in section]
        condition = parents[0] if len(parents) == 1 else UNCONDITIONAL
    return implied


def _exclusive(one: Mapping[str, Iterable[Any]], other: Mapping[str, Sequence[Any]]) -> bool:
    return any(
        not any(_same(a, b) for a in wanted for b in other[setting])
        for setting, wanted in one.items()
        if setting in other
    )


# From sources to the space


def _resolve_fixed_conditions(draft: ConditionalSources) -> ConditionalSources:
    """The draft without conditions that the fixed words decide, one way or the other."""
    settled: ConditionalSources = {UNCONDITIONAL: dict(draft[UNCONDITIONAL])}
    waiting = [condition for condition in draft if condition != UNCONDITIONAL]
    reachable = _reachable(draft)
    while waiting:
        known = {
            s: source for s, source in settled[UNCONDITIONAL].items() if source.word is not None
        }
        decided = [c for c in waiting if _condition(c)[0] in known]
        if not decided:
            break
        waiting.remove(decided[0])
        setting, wanted = _condition(decided[0])
        if any(known[setting].allows(value) for value in wanted):
            settled[UNCONDITIONAL].update(draft[decided[0]])
    for condition in waiting:
        setting, wanted = _condition(condition)
        if any(source.allows(v) for source in reachable.get(setting, ()) for v in wanted):
            settled[condition] = draft[condition]
    return settled


def _space(draft: ConditionalSources) -> Space:
    params: dict[str, dict[str, BaseDistribution]] = {}
    fixed: dict[str, list[str]] = {}
    for condition, section in draft.items():
        for setting, source in section.items():
            if source.distribution is None:
                assert source.word is not None
                fixed.setdefault(condition, []).append(source.word)
            else:
                name = _name(setting, condition, draft)
                params.setdefault(condition, {})[name] = source.distribution
    return Space(
        params=params.pop(UNCONDITIONAL, {}),
        conditional=params,
        fixed=fixed.pop(UNCONDITIONAL, []),
        fixed_when=fixed,
    )


def _name(setting: str, condition: str, draft: ConditionalSources) -> str:
    """Optuna's name: a parameter with other values elsewhere is another parameter."""
    source = draft[condition][setting]
    others = [section[setting] for section in draft.values() if setting in section]
    differs = any(other.distribution != source.distribution for other in others)
    return f"{source.key} if {condition}" if differs and condition != UNCONDITIONAL else source.key


def _drawn(trial: "BaseTrial", name: str, distribution: "BaseDistribution") -> Any:
    from optuna.distributions import (  # noqa: PLC0415
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    d = distribution
    if isinstance(d, FloatDistribution):
        return trial.suggest_float(name, d.low, d.high, step=d.step, log=d.log)
    if isinstance(d, IntDistribution):
        return trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
    assert isinstance(d, CategoricalDistribution)
    return trial.suggest_categorical(name, d.choices)


def _hydra_literal(value: Any) -> str:
    """A drawn value as Hydra reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)) if isinstance(value, float) else str(value)
