"""Numbers of the settings have ranges of their own."""

import dataclasses

import pytest

from octopi.cli.python_api import compose
from octopi.config.setting_types import Rules
from octopi.errors import SettingError


@pytest.mark.parametrize("rule", [field.name for field in dataclasses.fields(Rules)])
def test_a_rule_of_the_plan_below_zero_is_refused_by_name(rule):
    with pytest.raises(SettingError, match=rf"rules\.{rule} must be"):
        compose("plan", [f"rules.{rule}=-7"])
