"""Passwords in addresses are masked wherever text is logged, shown or stored."""

import pytest

from octopi.system.passwords import mask_passwords


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://lab:secret@db/octopi", "postgresql://lab:***@db/octopi"),
        ("https://lab:p@ss@server:5000/x", "https://lab:***@server:5000/x"),
        ("at https://a:b@c and https://d:e@f.", "at https://a:***@c and https://d:***@f."),
        ("sqlite:///outputs/mlflow.db", "sqlite:///outputs/mlflow.db"),
        ("http://server:5000/a@b", "http://server:5000/a@b"),
    ],
)
def test_the_password_of_an_address_is_masked(text, masked):
    assert mask_passwords(text) == masked
    assert mask_passwords({"uri": [text]}) == {"uri": [masked]}
