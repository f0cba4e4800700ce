"""Events on every store: which waits they end, once, and what is left for later."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fanwood import RunState
from fanwood.errors import EventConflictError
from fanwood.model.commands import ClaimedRun
from fanwood.model.matching import Event, Wanted, mark_of
from fanwood.model.states import RunKind
from fanwood.store.auditing import findings
from fanwood.store.outside import EventFilter
from fanwood.store.spreading import finish
from fanwood.store.why import explain
from tests.conformance.stage import SECOND, Stage

EVENT = RunKind.EVENT
WAITING, DONE = RunState.WAITING, RunState.COMPLETED


async def waiting(stage: Stage, parent: ClaimedRun, key: Any = "k", **about: Any) -> bytes:
    """A wait for an event."""
    wanted = {name: about.pop(name) for name in ("scope", "match", "expression") if name in about}
    wait = Wanted(key, **wanted)
    record = stage.part(parent, f"{wait} {stage.ids.new_id()!r}", kind=EVENT, awaits=mark_of(wait), **about)
    record.input = msgspec.json.encode(wait).decode()
    await stage.commit(records=[record])
    return record.id


async def pushed(stage: Stage, payload: str = "{}", key: str = "k", **about: Any) -> Event:
    event = Event(about.pop("id", None) or stage.ids.new_id().hex(), key, payload, **about)
    (kept,) = await stage.store.push([event])
    return kept


async def states(stage: Stage, *ids: bytes) -> list[RunState]:
    return [await stage.state(id_) for id_ in ids]


async def sound(stage: Stage) -> None:
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


async def test_an_event_ends_the_waits_that_it_fits(stage: Stage) -> None:
    parent = await stage.running()
    fits = [
        await waiting(stage, parent, **about)
        for about in (
            {}, {"scope": "s"}, {"match": {"id": 7}}, {"match": {"id": 7.0}}, {"match": {"a.b.1": "x", "id": 7}},
            {"match": {"a": {"b": [True, "x"]}}, "scope": "s"}, {"match": {"none": None}},
        )
    ]  # fmt: skip
    others = [
        await waiting(stage, parent, **about)
        for about in (
            {"key": "K"}, {"key": "k "}, {"scope": "t"}, {"match": {"id": 8}}, {"match": {"id": "7"}},
            {"match": {"id": True}}, {"match": {"a.b.2": "x"}}, {"match": {"a.b.-1": "x"}},
            {"match": {"missing": None}},
            {"match": {"id.x": 7}}, {"match": {"a.b": [1, "x"]}}, {"match": {"id": 7}, "scope": "t"},
        )
    ]  # fmt: skip
    await sound(stage)
    event = await pushed(stage, '{"id":7,"a":{"b":[true,"x"]},"none":null}', scope="s")
    assert not event.open
    assert await states(stage, *fits) == [DONE] * len(fits)
    assert await states(stage, *others) == [WAITING] * len(others)
    assert (await stage.get(fits[0])).output == event.payload
    assert set((await stage.commit(mail=True)).finished) == set(fits)
    await sound(stage)
    await pushed(stage, '{"id":8}')
    assert [await stage.state(id_) for id_ in others].count(DONE) == 1


async def test_an_event_ends_only_who_waited_before(stage: Stage) -> None:
    parent = await stage.running()
    first = await waiting(stage, parent)
    event = await pushed(stage)
    second = await waiting(stage, parent)
    await finish(stage.store, event)
    assert await states(stage, first, second) == [DONE, WAITING]
    assert await stage.store.number() >= event.number + 1


async def test_an_id_is_one_event(stage: Stage) -> None:
    parent = await stage.running()
    one = await pushed(stage, '{"a":1,"b":2}', id="mine", metadata='{"x":1}')
    wait = await waiting(stage, parent)
    assert await pushed(stage, '{"b":2,"a":1}', id="mine") == one
    assert await stage.state(wait) is WAITING
    for other in (
        {"payload": '{"a":2,"b":2}'},
        {"payload": one.payload, "key": "K"},
        {"payload": one.payload, "scope": "s"},
    ):
        event = msgspec.convert({"id": "mine", "key": "k", **other}, Event)
        with pytest.raises(EventConflictError):
            await stage.store.push([Event("new", "k", "1"), event])
    assert await stage.store.event("new") is None
    assert await stage.state(wait) is WAITING
    assert await stage.store.event("mine") == one
    twice = Event("twice", "other", "1")
    kept = await stage.store.push([twice, twice])
    assert kept[0] == kept[1]


async def test_what_ends_too_many_goes_on_in_pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("outside", "memory.outside", "sqlite.outside", "postgres.outside"):
        monkeypatch.setattr(f"fanwood.store.{module}.AT_ONCE", 3)
    for name in ("memory.outside.SPREAD", "sqlite.outside.SPREAD", "postgres.outside.PAGE"):
        monkeypatch.setattr(f"fanwood.store.{name}", 2)
    parent = await stage.running()
    ids = [await waiting(stage, parent, match={"n": 1} if n % 2 else {}) for n in range(8)]
    event = await pushed(stage, '{"n":1}')
    assert event.open
    assert (await states(stage, *ids)).count(DONE) == 3
    assert await stage.store.spread(event)
    assert (await states(stage, *ids)).count(DONE) == 5
    late = await waiting(stage, parent)
    assert await stage.store.open_events(10) == [event]
    other = await stage.another_store()  # whoever comes first
    await finish(other, event)
    assert await states(stage, *ids, late) == [*[DONE] * 8, WAITING]
    assert await stage.store.open_events(10) == []
    await sound(stage)


async def test_what_has_not_ended_all_its_waits_is_not_forgotten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However old it is."""
    for module in ("outside", "memory.outside", "sqlite.outside", "postgres.outside"):
        monkeypatch.setattr(f"fanwood.store.{module}.AT_ONCE", 3)
    parent = await stage.running()
    ids = [await waiting(stage, parent) for _ in range(8)]
    event = await pushed(stage, '{"n":1}')
    stage.clock.advance(3600)
    assert await stage.store.forget_events(stage.clock.now(), 10) == 0
    await finish(stage.store, event)
    assert await states(stage, *ids) == [DONE] * 8
    assert await stage.store.forget_events(stage.clock.now(), 10) == 1


@pytest.mark.parametrize("twice", [False, True], ids=["each once", "one twice"])
async def test_of_events_pushed_together_the_first_that_fits_ends_a_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, twice: bool
) -> None:
    for module in ("sqlite", "memory", "postgres"):
        monkeypatch.setattr(f"fanwood.store.{module}.outside.AT_ONCE", 3)
    parent = await stage.running()
    one, both, two = [await waiting(stage, parent, match=match) for match in ({"n": 1}, {}, {"n": 2})]
    late = await waiting(stage, parent, match={"n": 3})
    events = [Event(f"e{n}", "k", f'{{"n":{n}}}') for n in (1, 2, 3)]
    kept = await stage.store.push([*events, events[0]] if twice else events)
    assert [event.open for event in kept] == [False, False, True, False][: len(kept)]
    assert [(await stage.get(id_)).output for id_ in (one, both, two)] == ['{"n":1}', '{"n":1}', '{"n":2}']
    assert await stage.state(late) is WAITING
    await finish(stage.store, kept[2])
    assert await stage.state(late) is DONE
    await sound(stage)


@pytest.mark.parametrize("twice", [False, True])
async def test_each_of_many_events_pushed_together_ends_its_own_waits(stage: Stage, twice: bool) -> None:
    """`twice`: one of them comes twice, and ends nothing, as the first has ended all. What is closed ends with that."""
    stage.sweeps = False
    parent, other = await stage.running(), await stage.running("b")
    waits = {n: [await waiting(stage, parent, match={"n": n}) for _ in range(1 + n % 2)] for n in range(4)}
    closed = [await waiting(stage, other, match={"n": n}) for n in (1, 2)]
    left = await waiting(stage, parent, match={"n": 9})
    await stage.store.cancel(other.key, "for a test")
    numbers = [3, 0, 2, 1, *([3] if twice else [])]
    kept = await stage.store.push([Event(f"e{at}", "k", f'{{"n":{n},"at":{at}}}') for at, n in enumerate(numbers)])
    assert not any(event.open for event in kept)
    for n, ids in waits.items():
        said = f'{{"n":{n},"at":{numbers.index(n)}}}'
        assert [(await stage.get(id_)).output for id_ in ids] == [said] * len(ids)
    assert await states(stage, *closed, left) == [RunState.CANCELLED] * 2 + [WAITING]
    ended = (await stage.commit(mail=True)).finished
    assert {id_ for ids in waits.values() for id_ in ids} <= set(ended)
    await stage.sweep()
    await sound(stage)


async def test_of_expressions_somebody_else_decides(stage: Stage) -> None:
    parent = await stage.running()
    ids = [await waiting(stage, parent, expression="e", **about) for about in ({}, {"scope": "s"}, {"match": {"n": 2}})]
    event = await pushed(stage, '{"n":1}', scope="s")
    assert event.open
    asking = await stage.store.asking(event, b"", 10)
    assert {wait.id for wait in asking} == set(ids[:2])
    assert {wait.expression for wait in asking} == {"e"}
    assert await stage.store.asking(event, asking[0].mark, 10) == asking[1:]
    assert await stage.store.asking(event, b"", 1) == asking[:1]
    assert not await stage.store.spread(event)
    await stage.store.fulfil(event, [ids[0], parent.key, stage.ids.new_id()])
    await stage.store.fulfil(event, [ids[0]])
    assert await states(stage, *ids, parent.key) == [DONE, WAITING, WAITING, RunState.RUNNING]
    await stage.store.fulfil(event, [], [ids[0], ids[1], stage.ids.new_id()])
    assert await states(stage, *ids) == [DONE, RunState.FAILED, WAITING]
    assert "could not be read" in ((await stage.get(ids[1])).error or "")
    await stage.store.close_event(event.id)
    assert await stage.store.open_events(10) == []


async def test_a_wait_ends_once_by_whatever_comes_first(stage: Stage) -> None:
    stage.sweeps = False
    parent, other = await stage.running(), await stage.running("b")
    late = await waiting(stage, parent, timeout=SECOND)
    closed = await waiting(stage, other)
    stage.clock.advance(1.5)
    await stage.store.tick()
    await stage.store.cancel(other.key, "for a test")
    await pushed(stage)
    assert await states(stage, late, closed) == [RunState.FAILED, RunState.CANCELLED]
    await stage.sweep()
    await sound(stage)


async def test_why_says_when_a_wait_is_given_up(stage: Stage) -> None:
    parent = await stage.running()
    limited, open_ = await waiting(stage, parent, timeout=3600 * SECOND), await waiting(stage, parent, key="l")
    stage.clock.advance(30)
    about = await stage.store.circumstances(limited)
    assert about.expires_at == about.run.created_at + 3600 * SECOND
    said = explain(about)
    assert "it waits for event k since 30 s (and gives up in 60 min)" in said.text
    assert said.facts["due_at"] == about.expires_at
    said = explain(await stage.store.circumstances(open_))
    assert "it waits for event l since 30 s." in said.text
    assert said.facts["due_at"] is None
    assert (await stage.store.circumstances(parent.key)).expires_at is None


async def test_a_wait_that_failed_waits_again_with_a_new_number(stage: Stage) -> None:
    parent = await stage.running()
    id_ = await waiting(stage, parent, timeout=SECOND)
    stage.clock.advance(1.5)
    await stage.store.tick()
    event = await pushed(stage)
    again = await stage.retry(parent)
    assert again is not None
    record = stage.part(again, kind=EVENT, again=True, awaits=mark_of(Wanted("k")))
    record.id = id_
    await stage.commit(records=[record])
    await stage.store.spread(event)
    assert await stage.state(id_) is WAITING
    await pushed(stage, '"next"')
    assert (await stage.get(id_)).output == '"next"'


async def test_events_are_listed_and_forgotten(stage: Stage) -> None:
    events = [await pushed(stage, f"{n}", "ab"[n % 2], scope="xyz"[n % 3]) for n in range(6)]
    stage.clock.advance(10)
    events.append(await pushed(stage, "6", "a"))

    async def listed(**about: Any) -> list[str]:
        return [event.payload for event in await stage.store.events(EventFilter(**about))]

    assert await listed() == [*"6543210"]
    assert await listed(key="a") == [*"6420"]
    assert await listed(key="a", scope="x") == ["0"]
    assert await listed(scope="y", limit=1) == ["4"]
    assert await listed(before=events[3].number) == [*"210"]
    assert await listed(since=events[-1].at) == ["6"]
    assert await stage.store.forget_events(events[-1].at, 4) == 4
    assert await stage.store.forget_events(events[-1].at, 4) == 2
    assert await listed() == ["6"]


async def test_numbers_go_on_in_a_copy(stage: Stage) -> None:
    await stage.store.take_over("secret", 1000)
    assert (await pushed(stage)).number > 1000
    await stage.store.take_over("secret", 5)
    assert (await pushed(stage)).number > 1000
