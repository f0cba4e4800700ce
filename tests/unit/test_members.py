"""How many members of a group are under way at a time."""

from __future__ import annotations

from typing import Any

from fanwood.model.commands import Finished
from fanwood.model.states import RunState
from fanwood.sdk.children.births import Birth
from fanwood.sdk.children.members import _Stream

END = Finished(RunState.COMPLETED, "1", None, "t")


def test_who_was_let_go_makes_no_room_for_others() -> None:
    sent: list[Any] = []
    stream = _Stream(1, lambda request, _birth: sent.append(request))
    requests: list[Any] = [object() for _ in range(4)]
    for number, request in enumerate(requests):
        assert stream.grow(1) == number
        stream.send(number, request, Birth("", number, stream.release))
    assert sent == requests[:1]
    stream.release(2)  # whatever room there is
    assert sent == [requests[0], requests[2]]
    stream.put(2, END)
    assert sent == [requests[0], requests[2]]
    stream.put(0, END)
    assert sent == [requests[0], requests[2], requests[1]]
    stream.put(1, END)
    assert sent == [requests[0], requests[2], requests[1], requests[3]]
