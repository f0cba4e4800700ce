"""The page of screens is what its script makes."""

from __future__ import annotations

import os

import pytest

from tests.docs.pages import page as written
from tests.docs.screens import COMMANDS, SIZES, page


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
def test_the_screens_are_those_of_today():
    assert written("docs/reference/screens.md") == page(), "make screens"


def test_every_screen_fits_its_terminal():
    _, *sizes = written("docs/reference/screens.md").split("\n## ")
    for (columns, _), text in zip(SIZES, sizes, strict=True):
        screens = text.split("```text\n")[1:]
        assert [screen.splitlines()[0] for screen in screens] == [f"$ fanwood {command}" for command in COMMANDS]
        lines = [line for screen in screens for line in screen.partition("```")[0].splitlines()]
        assert max(map(len, lines)) <= columns
