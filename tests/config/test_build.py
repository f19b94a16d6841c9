"""What a constructor raises becomes the error of its setting."""

import errno

import pytest
from torch import nn

from octopi.config.build import build
from octopi.errors import DataError, SettingError


class Failing(nn.Module):
    """A network of a user that cannot be built.

    Args:
        out_channels: of the logits.
    """

    fault: BaseException

    def __init__(self, out_channels):
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (KeyError("weights"), "cannot be built: KeyError: 'weights'"),
        (AttributeError("no norm"), "AttributeError: no norm"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (FileNotFoundError(errno.ENOENT, "No such file", "lut.npy"), "lut.npy"),
        (NotImplementedError(), "NotImplementedError"),
        (ValueError("channels are odd"), "model: channels are odd"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_class_of_the_user_raises_names_the_setting(monkeypatch, fault, words):
    monkeypatch.setattr(Failing, "fault", fault, raising=False)
    with pytest.raises(SettingError) as refused:
        build({"_target_": f"{__name__}.Failing"}, "model", out_channels=2)
    assert str(refused.value).startswith("model: ")
    assert words in str(refused.value)


@pytest.mark.parametrize("fault", [MemoryError("3 GiB"), DataError("no picks")])
def test_what_says_more_than_that_a_setting_is_wrong_is_raised_on(monkeypatch, fault):
    monkeypatch.setattr(Failing, "fault", fault, raising=False)
    with pytest.raises(type(fault), match=str(fault)):
        build({"_target_": f"{__name__}.Failing"}, "model", out_channels=2)
