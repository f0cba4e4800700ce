"""The reference names all that there is."""

from __future__ import annotations

import inspect

import pytest

from fanwood import Fanwood, testing
from fanwood.testing import Stub, TestApp, effects, faults
from tests.docs.pages import page

PAGE = page("docs/reference/testing.md")
FAULTS = [faults.lose_worker, faults.lose_answer, faults.jump_clock, faults.no_worker]
FUNCTIONS = [testing.explore, testing.on_memory, effects.record, effects.recorded, TestApp.stub, *FAULTS]


def test_that_every_name_is_there():
    assert set(testing.__all__) <= set(dir(testing))
    assert testing.__all__ == sorted(testing.__all__)
    assert [name for name in testing.__all__ if f"`{name}" not in PAGE] == []
    own = [name for name in dir(TestApp) if not name.startswith("_") and name not in dir(Fanwood)]
    assert [name for name in own if f"`{name}" not in PAGE] == []
    known = {"in_place_of", "stands_in_for"}
    assert [name for name in dir(Stub) if not name.startswith("_") and name not in known and name not in PAGE] == []
    with pytest.raises(AttributeError, match="nothing"):
        testing.nothing  # noqa: B018


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_that_every_argument_is_there(function):
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    assert [name for name in names if name not in PAGE] == []
