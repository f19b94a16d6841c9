"""Passwords in addresses are masked wherever text is logged, shown or stored."""

import logging

import pytest

from octopi.errors import SettingError
from octopi.system.passwords import MaskingFormatter, mask_passwords, to_printable, with_passwords


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://lab:secret@db/octopi", "postgresql://lab:***@db/octopi"),
        ("https://lab:p@ss@server:5000/x", "https://lab:***@server:5000/x"),
        ("at https://a:b@c and https://d:e@f.", "at https://a:***@c and https://d:***@f."),
        ("sqlite:///outputs/mlflow.db", "sqlite:///outputs/mlflow.db"),
        ("postgresql://db/x?user=a&password=b&x=1", "postgresql://db/x?user=a&password=***&x=1"),
        ("+logger.api_key=abc", "+logger.api_key=***"),
        ("fs_args: {'secret': 'a', 'key': 'b'}", "fs_args: {'secret': '***', 'key': 'b'}"),
        ("seed=3 tokens are few", "seed=3 tokens are few"),
        ("http://server:5000/a@b", "http://server:5000/a@b"),
    ],
)
def test_the_password_of_an_address_is_masked(text, masked):
    assert mask_passwords(text) == masked
    assert mask_passwords({"uri": [text]}) == {"uri": [masked]}


def test_what_stands_under_the_key_of_a_secret_is_masked():
    node = {"api_key": "abc", "password": None, "token": "", "seed": 1, "aws": {"secret": "x"}}
    masked = {"api_key": "***", "password": None, "token": "", "seed": 1, "aws": {"secret": "***"}}
    assert mask_passwords(node) == masked


def test_a_log_line_and_its_traceback_hold_no_password():
    formatter = MaskingFormatter(logging.Formatter("%(message)s"))
    record = logging.makeLogRecord({"msg": "at %s", "args": ("http://a:secret@b",)})
    record.exc_text = "ValueError: http://a:secret@b"
    assert formatter.format(record) == "at http://a:***@b\nValueError: http://a:***@b"


def test_a_masked_password_is_typed_again_or_taken_from_the_environment(monkeypatch):
    stored = {"logger": {"tracking_uri": "http://lab:***@server", "run_name": "a"}, "seed": 1}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SettingError, match=r"(?s)logger.tracking_uri.*MLFLOW_TRACKING_URI"):
        with_passwords(stored, [], "config.yaml")
    for key in ("logger", "logger.tracking_uri"):
        assert with_passwords(stored, [key], "config.yaml") == stored
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:secret@elsewhere")
    with pytest.raises(SettingError):
        with_passwords(stored, [], "config.yaml")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab:secret@server")
    restored = with_passwords(stored, [], "config.yaml")
    assert restored["logger"]["tracking_uri"] == "http://lab:secret@server"


def test_control_characters_do_not_reach_a_terminal():
    assert to_printable("run \x1b[31mred\x07\r\x9b\nü\tx") == "run \\x1b[31mred\\x07\\r\\x9b\nü\tx"
    record = logging.makeLogRecord({"msg": "TS\x1b]0;owned\x07"})
    assert MaskingFormatter(logging.Formatter("%(message)s")).format(record).isprintable()
