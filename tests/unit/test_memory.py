"""Who has one memory open is told of what others change."""

from __future__ import annotations

from fanwood.clock import SystemClock
from fanwood.store.memory.memory import Memory


def test_others_may_open_and_close_it_while_those_who_have_it_are_told() -> None:
    """That happened on threads of their own, and the commit that had been made was said to have failed."""
    memory, told = Memory(SystemClock()), list[str]()

    def opens_and_closes() -> None:
        told.append("first")
        memory.leave(second)
        memory.join(None, lambda: None)

    memory.join(None, opens_and_closes)
    second = memory.join(None, lambda: None)
    third = memory.join(None, lambda: told.append("third"))
    me = memory.join(None, lambda: told.append("me"))
    with memory.transaction(me):
        memory.tables.stirred = True
    assert told == ["first", "third"]
    memory.leave(third)
    with memory.transaction(0):
        memory.tables.stirred = True
    assert told == ["first", "third", "first", "me"]
