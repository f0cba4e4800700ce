"""What is said of a store's trouble: once, and not as often as it comes and goes."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from fanwood.engine import health
from fanwood.engine.health import Health
from fanwood.errors import StoreFullError, StoreUnavailableError

SECOND = 1_000_000


class Said:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 1_000 * SECOND
        self.health = Health(lambda: self.now)
        self._caplog = caplog

    def after(self, seconds: float, note: Callable[[], None]) -> str:
        """What is said of that: E for an error, W that it is over."""
        self.now += round(seconds * SECOND)
        self._caplog.clear()
        note()
        return "".join(record.levelname[0] for record in self._caplog.records)

    def full(self) -> None:
        self.health.note_trouble(StoreFullError("no space left"))

    def away(self) -> None:
        self.health.note_trouble(StoreUnavailableError("it does not answer"))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    caplog.set_level(logging.WARNING)
    return Said(caplog)


def test_trouble_that_passes_is_told_with_its_end(said: Said) -> None:
    assert [said.after(1, said.full) for _ in range(5)] == ["E", "", "", "", ""]
    assert [said.after(1, said.health.note_success) for _ in range(3)] == ["W", "", ""]
    assert said.after(30, said.full) == "E"
    assert said.after(1, said.health.note_success) == "W"


def test_what_comes_and_goes_is_told_once_and_its_end_when_it_stays_away(said: Said) -> None:
    turns = [said.after(0.3, note) for _ in range(120) for note in (said.full, said.health.note_success)]
    assert turns[:2] == ["E", "W"]
    assert turns.count("W") == 1
    assert turns.count("E") == 1 + 60 * SECOND // health.TOLD_EVERY
    assert said.after(1, said.health.note_quiet) == ""
    assert said.after(health.LASTING / SECOND, said.health.note_quiet) == "W"
    assert said.after(1, said.health.note_quiet) == said.after(1, said.health.note_success) == ""
    assert said.after(60, said.full) == "E"
    assert said.after(1, said.health.note_success) == "W"


def test_another_kind_of_trouble_is_told(said: Said) -> None:
    assert [said.after(0.1, note) for note in (said.full, said.health.note_success, said.away)] == ["E", "W", "E"]
    assert said.after(0.1, said.health.note_success) == "W"
