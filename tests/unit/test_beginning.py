"""Attempts that a worker has slots for, on their way to the loop that executes them."""

from __future__ import annotations

import contextvars
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from fanwood.worker.executor import Executor


def _attempt(**about: Any) -> Any:
    usual = {"run": SimpleNamespace(id="A1"), "interruption": None, "coroutine_task": None, "code_ended": False}
    return SimpleNamespace(**{**usual, **about})


LOST = {"interruption": "the worker lost its lease"}


@pytest.mark.parametrize(
    ("about", "later", "ends"),
    [
        (LOST, False, True),
        (LOST, True, True),  # its run is here again, as a later attempt
        ({**LOST, "code_ended": True}, True, False),  # it was given twice
        ({**LOST, "coroutine_task": "its code"}, False, False),
        ({}, True, False),
    ],
)
def test_what_is_over_before_it_begins_gives_its_slot_back(about: dict[str, Any], later: bool, ends: bool) -> None:
    attempt, loop, ended = _attempt(**about), SimpleNamespace(create_task=None), list[Any]()
    executor: Any = object.__new__(Executor)
    executor._place = SimpleNamespace(lock=threading.Lock(), loop=loop, thread=0)
    executor._running = {"A1": _attempt() if later else attempt}
    executor._base = contextvars.Context()
    executor._finish = lambda attempt, outcome: ended.append((attempt, outcome))
    executor._begin(loop, [attempt])
    assert ended == ([(attempt, None)] if ends else [])
