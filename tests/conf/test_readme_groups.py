"""The README's table of config groups names every group and choice that a user can type."""

import re

import pytest

from octopi.config.files import CONF_DIR, choices

README = CONF_DIR.parent / "README.md"
PARTS_OF_OTHERS = {"hydra", "space"}  # folders that no command has as a group
UNNAMED = {("model", "unet_demo")}  # of the demo alone


def named_choices():
    """Read which words of the table's second column belong to each group."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    return {group: set(re.findall(r"\w+", words)) for group, words in rows}


@pytest.mark.parametrize(
    "group", sorted({path.name for path in CONF_DIR.iterdir() if path.is_dir()} - PARTS_OF_OTHERS)
)
def test_every_choice_of_a_group_is_in_the_table(group):
    named = named_choices()[group]
    expected = {name for name in choices(group) if (group, name) not in UNNAMED}
    if "_sized" in named:  # written …_sized, of the families that are named
        expected = {name.removesuffix("_sized") for name in expected}
    assert expected <= named


def test_the_table_names_no_group_that_is_gone():
    assert set(named_choices()) <= {path.name for path in CONF_DIR.iterdir()}
