"""Back-pressure: what is held back, in which order it goes on, and that it is never held for long."""

from __future__ import annotations

from collections import deque

from fanwood.engine.admission import HELD_SECONDS, Admission, Room
from fanwood.engine.inbox import SpawnRequest
from fanwood.engine.waits import Collector
from fanwood.model.commands import Spawn, SpawnKind

PARENT, OTHER = b"p" * 16, b"o" * 16


def request(runs: int, parent: bytes | None = PARENT, *, waits: bool = True, task: str = "ours") -> SpawnRequest:
    kind = SpawnKind(task, parent_id=parent, parent_attempt=1)
    spawns = [Spawn(kind, bytes(16), None, "{}") for _ in range(runs)]
    return SpawnRequest(spawns=spawns, kinds=[kind], collector=Collector(fail_fast=True) if waits else None)


def admit(
    admission: Admission, *arrived: SpawnRequest, runs: int | None, size: int = 1 << 20, now: float = 0.0
) -> list[int]:
    """The sizes of what goes into the batch."""
    admitted = admission.admit(deque(arrived), lambda task: task == "ours", Room(runs, size, now))
    return [len(request.spawns) for request in admitted]


def test_without_a_limit_everything_goes_in() -> None:
    admission = Admission()
    assert admit(admission, request(5), request(6), runs=None) == [5, 6]
    assert not admission.held


def test_what_there_is_no_room_for_is_held_and_goes_on_in_order() -> None:
    admission = Admission()
    assert admit(admission, request(5), request(6), request(7), runs=11) == [5, 6]
    assert admission.held
    assert admit(admission, request(8), runs=0) == []
    assert admit(admission, runs=7) == [7]
    assert admit(admission, runs=None) == [8]
    assert not admission.held


def test_the_first_may_be_too_large_or_it_would_never_go() -> None:
    admission = Admission()
    assert admit(admission, request(500), request(1), runs=3) == [500]
    assert admit(admission, request(500), runs=3) == [1]
    assert admit(admission, runs=3) == [500]


def test_what_nobody_waits_for_or_others_execute_is_never_held() -> None:
    admission = Admission()
    passing = [
        request(2, None),
        request(3, OTHER, waits=False),
        request(4, b"x" * 16, task="theirs"),
    ]
    assert admit(admission, request(1), *passing, runs=0) == [2, 3, 4]


def test_nothing_of_a_parent_overtakes_what_is_held_of_it() -> None:
    admission = Admission()
    assert admit(admission, request(5), runs=0) == []
    assert admit(admission, request(1, waits=False), request(2, OTHER, waits=False), runs=0) == [2]
    assert admit(admission, runs=None) == [5, 1]


def test_nothing_is_held_for_long() -> None:
    admission = Admission()
    admit(admission, request(5), runs=0, now=7.0)
    admit(admission, request(5, OTHER), runs=0, now=7.0 + HELD_SECONDS / 2)
    assert not admission.has_waited_long(7.0 + HELD_SECONDS * 0.9)
    assert admission.has_waited_long(admission.until())
    assert admission.until() == 7.0 + HELD_SECONDS
    assert admit(admission, request(1, None), runs=0, now=7.0 + HELD_SECONDS * 0.9) == [1]
    assert admit(admission, request(1, None), runs=0, now=7.0 + HELD_SECONDS) == [5, 1], (
        "whatever else went on meanwhile"
    )
    assert admission.until() == 7.0 + HELD_SECONDS / 2 + HELD_SECONDS
    assert admit(admission, runs=0, now=8.0) == [5]
    assert not admission.has_waited_long(9.0)


def test_a_batch_has_a_bounded_size() -> None:
    admission = Admission()
    arrived = deque([request(5), request(6), request(7)])
    room = Room(None, 11, 0.0)
    admitted = admission.admit(arrived, lambda _: True, room)
    assert [len(r.spawns) for r in admitted] == [5, 6]
    assert [len(r.spawns) for r in arrived] == [7]


def test_what_follows_on_what_was_held_is_not_held() -> None:
    admission = Admission()
    assert admit(admission, request(5), request(6), runs=0) == []
    assert admit(admission, runs=None) == [5, 6]
    assert admit(admission, request(1), runs=None) == [1]
    assert not admission.held
