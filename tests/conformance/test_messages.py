"""Messages on every store: each is received once, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from fanwood import RunState
from fanwood.errors import RunEndedError, RunNotFoundError, UsageError
from fanwood.model.commands import ClaimedRun, Record
from fanwood.model.matching import Wanted, inbox_mark
from fanwood.model.states import RunKind
from fanwood.store.auditing import findings
from fanwood.store.outside import AT_ONCE
from tests.conformance.costs import cost
from tests.conformance.stage import SECOND, Stage

MESSAGE = RunKind.MESSAGE
MANY = 2_000


async def receiving(stage: Stage, parent: ClaimedRun, name: str = "n", **about: Any) -> bytes:
    """A receive that waits."""
    what = stage.ids.new_id().hex()
    record = stage.part(parent, what, kind=MESSAGE, awaits=inbox_mark(parent.key, name), **about)
    record.input = msgspec.json.encode(Wanted(name)).decode()
    await stage.commit(records=[record])
    return record.id


async def outputs(stage: Stage, *ids: bytes) -> list[str | None]:
    return [(await stage.get(id_)).output for id_ in ids]


async def test_messages_and_receives_are_paired_in_their_order(stage: Stage) -> None:
    run, other = await stage.running(), await stage.running("b")
    for n in range(3):
        await stage.store.send(run.key, "n", f"{n}")
    await stage.store.send(run.key, "m", '"m"')
    await stage.store.send(other.key, "n", '"other"')
    first, second = await receiving(stage, run), await receiving(stage, run)
    assert await outputs(stage, first, second) == [None, None]
    await stage.store.deliver(run.key, "n")
    assert await outputs(stage, first, second) == ["0", "1"]
    assert set((await stage.commit(mail=True)).finished) == {first, second}
    third, fourth, fifth = [await receiving(stage, run, name) for name in ("n", "n", "m")]
    await stage.store.send(run.key, "n", "3")  # the older one first
    await stage.store.deliver(run.key, "m")
    assert await outputs(stage, third, fourth, fifth) == ["2", "3", '"m"']
    await stage.store.deliver(run.key, "n")
    assert await stage.store.count("message") == 1
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


async def test_what_timed_out_takes_nothing(stage: Stage) -> None:
    run = await stage.running()
    late, later = await receiving(stage, run, timeout=SECOND), await receiving(stage, run)
    stage.clock.advance(1.5)
    await stage.store.tick()
    await stage.store.send(run.key, "n", "1")
    assert await outputs(stage, late, later) == [None, "1"]


@pytest.mark.parametrize("how", ["completed", "cancelled", "closed"])
async def test_a_run_that_has_ended_refuses_messages(stage: Stage, how: str) -> None:
    stage.sweeps = False
    root = await stage.running()
    run = await stage.running("b", root)
    wait = await receiving(stage, run)
    with pytest.raises(UsageError, match="a part of a run"):
        await stage.store.send(wait, "n", "1")
    with pytest.raises(RunNotFoundError):
        await stage.store.send(stage.ids.new_id(), "n", "1")
    if how == "completed":
        await stage.complete(run, closes=True)
    else:
        await stage.store.cancel(root.key if how == "closed" else run.key, "for a test")
    with pytest.raises(RunEndedError):
        await stage.store.send(run.key, "n", "1")
    await stage.store.deliver(run.key, "n")
    assert (await stage.get(wait)).state is not RunState.COMPLETED
    assert await stage.store.count("message") == 0


async def test_messages_go_with_their_run(stage: Stage) -> None:
    run = await stage.running()
    await stage.store.send(run.key, "n", "1")
    await stage.complete(run)
    stage.clock.advance(10)
    await stage.store.prune(stage.clock.now(), 100)
    assert await stage.store.count("message") == 0


async def test_what_is_sent_twice_under_one_key_is_sent_once(stage: Stage) -> None:
    run, other = await stage.running(), await stage.running("b")
    for to in (run, other):
        for _ in range(2):
            await stage.store.send(to.key, "n", '"a"', b"k" * 16)
    await stage.store.send(run.key, "n", '"b"', b"l" * 16)
    first = await receiving(stage, run)
    await stage.store.deliver(run.key, "n")
    await stage.store.send(run.key, "n", '"a"', b"k" * 16)  # received, and known still
    rest = [await receiving(stage, run) for _ in range(2)]
    await stage.store.deliver(run.key, "n")
    assert await outputs(stage, first, *rest) == ['"a"', '"b"', None]
    await stage.complete(run)
    await stage.store.send(run.key, "n", '"b"', b"l" * 16)  # as it was sent, that it has ended is no matter
    with pytest.raises(RunEndedError):
        await stage.store.send(run.key, "n", '"b"', b"m" * 16)


async def many_receiving(stage: Stage, run: ClaimedRun, names: Sequence[str]) -> list[Record]:
    """Receives that wait, of these names."""
    records: list[Record] = []
    for number, name in enumerate(names):
        record = stage.part(run, f"{number} {name}", kind=MESSAGE, awaits=inbox_mark(run.key, name))
        record.input = msgspec.json.encode(Wanted(name)).decode()
        records.append(record)
    await stage.commit(records=records)
    return records


async def test_a_message_is_received_behind_very_many_that_wait_for_others(stage: Stage) -> None:
    """Whatever the marks of the names are."""
    run = await stage.running()
    names = [f"{n}" for n in range(AT_ONCE + 1)]
    last = max(names, key=lambda name: inbox_mark(run.key, name))
    records = await many_receiving(stage, run, names)
    await stage.store.send(run.key, last, '"for the last"')
    assert await outputs(stage, records[names.index(last)].id) == ['"for the last"']
    assert await stage.store.count("message") == 0


@pytest.mark.parametrize("sent_first", [False, True])
async def test_a_message_comes_behind_very_many_that_are_spoilt(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, sent_first: bool
) -> None:
    for store in ("memory", "postgres", "sqlite"):
        monkeypatch.setattr(f"fanwood.store.{store}.outside.AT_ONCE", 3)
    run, spoilt = await stage.running(), []
    for _ in range(7):
        what = stage.ids.new_id().hex()
        record = stage.part(run, what, kind=MESSAGE, awaits=inbox_mark(run.key, "n"))
        record.input = msgspec.json.encode(Wanted("m")).decode()
        spoilt.append(record)
    await stage.commit(records=spoilt)
    if sent_first:
        assert await stage.store.send(run.key, "n", "1")
        id_ = await receiving(stage, run)
    else:
        id_ = await receiving(stage, run)
        assert await stage.store.send(run.key, "n", "1")
    assert await outputs(stage, id_) == [None]
    await stage.store.deliver(run.key, "n")
    assert await outputs(stage, id_) == ["1"]
    assert {(await stage.get(each.id)).state for each in spoilt} == {RunState.FAILED}
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


@pytest.mark.parametrize("alike", [True, False])
async def test_what_waits_on_is_not_read_with_each_message(stage: Stage, *, alike: bool) -> None:
    """Neither by who sends, nor by who asks."""
    costs: list[list[int]] = []
    for task, many in (("a", 10), ("b", 10), ("c", MANY)):  # (the first time costs more: statements are prepared)
        run = await stage.running(task)
        await many_receiving(stage, run, ["n" if alike else f"{n}" for n in range(many)])
        await stage.store.send(run.key, "first", "1")
        costs.append(
            [
                await cost(stage.store, lambda: stage.store.send(run.key, "n" if alike else "7", "1")),  # noqa: B023
                await cost(stage.store, lambda: stage.store.deliver(run.key, "n" if alike else "8")),  # noqa: B023
            ]
        )
    _, few, more = costs
    assert all(large < 2 * small + 200 for small, large in zip(few, more, strict=True)), costs


async def test_who_sends_once_more_is_told_that_more_may_be_to_be_done(stage: Stage) -> None:
    """He may not know what he was told: the answer was lost."""
    run = await stage.running()
    assert not await stage.store.send(run.key, "n", "1", b"k" * 16)
    assert await stage.store.send(run.key, "n", "1", b"k" * 16)
    await stage.store.deliver(run.key, "n")
    assert await stage.store.count("message") == 1
