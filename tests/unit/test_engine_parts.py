"""The engine's parts by themselves: its sleep, and its services."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections import deque

import pytest

from fanwood.engine import inbox as inbox_module
from fanwood.engine import services
from fanwood.engine.failing import Failing
from fanwood.engine.inbox import Inbox, Joint, SpawnRequest, SuspendRequest
from fanwood.engine.parts import REQUEST, Item
from fanwood.engine.services import Services
from fanwood.engine.waking import Waker
from fanwood.errors import EngineClosedError, StoreBusyError, StoreError, StoreValueError
from fanwood.model.commands import Batch, LogLine, Outcome, Record, SpawnKind, Suspend
from fanwood.model.states import RunState
from fanwood.store.postgres.hot import Call


def no_timer() -> None:
    return None


async def test_work_that_comes_before_the_flag_is_seen() -> None:
    """Whoever makes work just before the engine falls asleep finds it awake, and wakes nobody: it has to look again."""
    await asyncio.wait_for(Waker().sleep(lambda: True, no_timer), 60)


async def test_work_that_comes_after_the_last_look_wakes() -> None:
    waker = Waker()

    def look_and_find_nothing() -> bool:
        threading.Thread(target=waker.wake).start()  # it comes now, while nothing was found
        return False

    await asyncio.wait_for(waker.sleep(look_and_find_nothing, no_timer), 60)


async def test_a_sleeper_is_woken_by_its_own_thread_and_by_its_timer() -> None:
    waker = Waker()

    def find_nothing() -> bool:
        asyncio.get_running_loop().call_soon(waker.wake)
        return False

    await asyncio.wait_for(waker.sleep(find_nothing, no_timer), 60)
    await asyncio.wait_for(waker.sleep(lambda: False, lambda: -1.0), 60)


@pytest.mark.parametrize("error", [IndexError("list index out of range"), KeyError("x"), StoreBusyError("locked")])
async def test_a_service_that_fails_begins_anew(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(services, "RESTART_SECONDS", 0.0)
    monkeypatch.setattr(services, "TROUBLED_SECONDS", 0.0)
    begun, again, troubles = 0, asyncio.Event(), list[StoreError]()

    async def service() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise error
        again.set()
        await asyncio.Event().wait()

    supervised = Services(troubles.append)
    with caplog.at_level(logging.ERROR):
        supervised.start("the lease", service)
        await asyncio.wait_for(again.wait(), 60)
        await supervised.stop()
    told = [record.message for record in caplog.records if "the lease of this engine failed" in record.message]
    assert (troubles, len(told)) == (([error], 0) if isinstance(error, StoreError) else ([], 1))


def line(text: str) -> LogLine:
    return LogLine(b"r", 1, 1, "info", text)


def test_who_logs_more_than_is_stored_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "LOG_BYTES", 1000)
    inbox = Inbox()
    assert inbox.add_log(line("x" * 2000), 0.0), "one line always has room"
    assert not inbox.add_log(line("y"), 0.0), "who can't wait is told"
    waits = threading.Thread(target=lambda: inbox.add_log(line("z"), None))
    waits.start()
    batch = Batch()
    inbox.empty_into(batch)
    waits.join(60)
    assert not waits.is_alive()
    inbox.empty_into(batch)
    assert [logged.message[0] for logged in batch.logs] == ["x", "z"]


def test_many_lines_go_in_parts_and_before_the_end_of_who_says_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the engine has to do is not held up by a commit of all of them."""
    monkeypatch.setattr(inbox_module, "LOG_PART", 1000)
    monkeypatch.setattr(inbox_module, "LOG_BYTES", 4000)
    inbox = Inbox()

    def says(who: bytes, words: str) -> None:
        for word in words:
            assert inbox.add_log(LogLine(who, 1, 1, "info", word), 0.0)

    def taken() -> str:
        batch = Batch()
        inbox.empty_into(batch)
        if inbox.suspends:
            inbox.take_suspends(batch)
        return "".join([line.message for line in batch.logs] + [f" {end.run_id.decode()}" for end in batch.outcomes])

    def ends(who: bytes) -> None:
        inbox.outcomes.append([Outcome(who, 1, RunState.COMPLETED, "1")])

    says(b"r", "abcdefgh")
    assert taken() == "abcde"
    says(b"s", "1" * 4)
    says(b"r", "k" * 6)
    ends(b"s")
    ends(b"q")
    assert taken() == "fgh11 q"
    assert taken() == "11kkk s"
    says(b"s", "xyz")
    inbox.suspends.append(SuspendRequest(lambda: Suspend(b"s", 1, [], 1), lambda _: None))
    assert taken() == "kkkxyz"
    inbox.add_log(line("w" * 5000), 0.0)
    assert taken() == "w" * 5000, "one line always goes"
    ends(b"z")
    says(b"z", "z" * 10)
    for _ in range(4):  # code that goes on after its run's end, and says more for ever
        says(b"z", "z" * 5)
        assert taken() == "z" * 5
    assert taken() == "z" * 10 + " z"
    assert not inbox


def test_what_can_not_be_recorded_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also if the commit with the end is split, and looked at anew."""
    failing = Failing(Inbox())
    record = Record(SpawnKind("t", parent_id=b"r", parent_attempt=1), b"i", b"x", "{}", state=RunState.COMPLETED)
    failing.note(Item(REQUEST, SpawnRequest(records=[record], needed=True)), StoreValueError("too large"))
    end = Outcome(b"r", 1, RunState.COMPLETED, "1")
    for batch in (Batch(outcomes=[end]), Batch(outcomes=[end])):
        failing.judge(batch)
    assert end.state is RunState.FAILED
    assert len([record for record in caplog.records if "can't be stored" in record.message]) == 1


def test_nobody_waits_to_log_for_an_engine_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "LOG_BYTES", 1)
    inbox = Inbox()
    inbox.add_log(line("x"), None)
    waits = threading.Thread(target=lambda: inbox.add_log(line("y"), None))
    waits.start()
    inbox.fail_all(EngineClosedError("over"))
    waits.join(60)
    assert not waits.is_alive()


def test_what_a_run_has_said_is_never_left_behind_by_its_end():
    """It says it, and ends, on a thread of its own, while the batch is put together."""
    inbox, line = Inbox(), LogLine(b"r" * 16, 1, 0, "info", "the last words")

    class Ending(deque[list[Outcome]]):
        def popleft(self) -> list[Outcome]:
            inbox.add_log(line, None)
            return super().popleft()

    inbox.outcomes = Ending([[Outcome(line.run_id, 1, RunState.COMPLETED, "1")]])
    batch = Batch()
    inbox.empty_into(batch)
    assert (len(batch.outcomes), batch.logs) == (1, [line])


def a_record(number: int, kind: SpawnKind | None = None) -> Record:
    kind = kind or SpawnKind("~promise", parent_id=b"p" * 16, parent_attempt=1, root_id=b"p" * 16, metadata="{}")
    return Record(kind, number.to_bytes(16, "big"), number.to_bytes(16, "big"), "{}", RunState.WAITING, number)


def test_a_batch_has_a_bounded_number_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are: a server gives up a commit that takes seconds, and would be sent it again for ever."""
    monkeypatch.setattr(inbox_module, "BATCH_RECORDS", 10)
    inbox = Inbox()
    inbox.records.extend(SpawnRequest(records=[a_record(number)]) for number in range(25))
    assert len(inbox.take_records(1_000_000)) == 10
    assert inbox.behind == {(b"p" * 16, 1)}
    assert len(inbox.take_records(1_000_000)) == 10
    assert [request.records[0].index for request in inbox.take_records(1_000_000)] == [20, 21, 22, 23, 24]
    assert not inbox.behind
    inbox.records.append(SpawnRequest(records=[a_record(number) for number in range(30)]))
    assert len(inbox.take_records(1_000_000)) == 1, "one request always goes"


def test_records_are_added_while_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "BATCH_RECORDS", 1)
    inbox, request, going_on = Inbox(), SpawnRequest(records=[a_record(0)]), True
    added = threading.Event()
    for _ in range(20_000):
        inbox.add_record(request)

    def add() -> None:
        while going_on:
            inbox.add_record(request)
            added.set()

    adding = threading.Thread(target=add)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        adding.start()
        assert added.wait(60)
        for _ in range(20):
            assert len(inbox.take_records(1_000_000)) == 1
    finally:
        sys.setswitchinterval(interval)
        going_on = False
        adding.join(60)


def test_steps_join_those_before_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "BATCH_RECORDS", 10)
    inbox, joint = Inbox(), Joint(records=[a_record(0)], told=[lambda _: None])
    assert [inbox.join(joint, a_record(number), lambda _: None) for number in range(12)] == [True] * 9 + [False] * 3


def test_equal_kinds_are_told_to_a_server_once() -> None:
    """It finds the kind of a run by counting from the first: with as many as there are runs that would be quadratic."""
    other = SpawnKind("~promise", parent_id=b"p" * 16, parent_attempt=1, root_id=b"p" * 16, metadata="{}", deadline=7)
    call = Call(Batch(records=[*map(a_record, range(20)), a_record(20, other), a_record(21)]))
    assert [kind.deadline for kind in call._kind_rows] == [None, 7]
    assert [record["kind"] for record in json.loads(call._records() or "[]")] == [1] * 20 + [2, 1]
