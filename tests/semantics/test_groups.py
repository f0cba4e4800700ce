"""Groups decide once how they come out; nothing of them outlives their block, and nothing is decided anew."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from fanwood import (
    BlockingCallError,
    Cancelled,
    Completed,
    Context,
    EvictionPolicy,
    Failed,
    FailedTaskRunExceptionGroup,
    Fanwood,
    PayloadError,
    RunState,
    TaskRunCancelled,
    TaskRunError,
    TimedOut,
    UsageError,
    aio_wait,
    as_completed,
)
from fanwood.engine.engine import Engine
from fanwood.engine.inbox import SuspendRequest
from fanwood.engine.waits import Stream
from fanwood.sdk.children import groups
from fanwood.sdk.children.members import Members
from tests.semantics.test_streams import states, until


@pytest.fixture
def gates() -> dict[int, threading.Event]:
    return {n: threading.Event() for n in range(-9, 10)}


@pytest.fixture
def began() -> list[int]:
    return []


@pytest.fixture
def member(app: Fanwood, gates: dict[int, threading.Event], began: list[int]) -> Any:
    """Ends when it is let: with its number, or if that is negative with an error."""

    @app.task
    async def member(n: int) -> int:
        began.append(n)
        while not gates[n].is_set():
            await asyncio.sleep(0.002)
        if n < 0:
            raise ValueError(f"{n} is negative")
        return n

    return member


DEADLINES = (0.7, 5.0, 30.0)
"""Seconds, in which some are to end: beside others that takes as long as it takes."""


def let(gates: dict[int, threading.Event], *numbers: int) -> None:
    for n in numbers:
        gates[n].set()


def shown(outcomes: list[Any]) -> list[Any]:
    return [outcome.value if isinstance(outcome, Completed) else type(outcome).__name__ for outcome in outcomes]


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_leaving_waits_for_all(app: Fanwood, member: Any, gates: dict[int, threading.Event], colour: str) -> None:
    let(gates, *range(5))

    @app.task
    async def awaits(_: dict, ctx: Context) -> list[Any]:
        async with ctx.group() as g:
            refs = [g.spawn(member, n) for n in range(5)]
            with pytest.raises(UsageError):
                shown(g.outcomes)
        return [*shown(g.outcomes), *[await ref for ref in refs]]

    @app.task
    def blocks(_: dict, ctx: Context) -> list[Any]:
        with ctx.group() as g:
            refs = [g.spawn(member, n) for n in range(5)]
        outcome = g.outcomes[3]
        assert isinstance(outcome, Completed)
        assert outcome.run_id == refs[3].id
        assert outcome.attempt == 1
        times: Any = outcome
        assert times.created_at <= times.started_at <= times.finished_at
        match outcome:
            case Completed(value):
                assert value == outcome.result() == 3
        return [*shown(g.outcomes), *[ref.result() for ref in refs]]

    assert (awaits if colour == "async" else blocks).run({}) == [*range(5), *range(5)]


def test_a_group_of_nobody(app: Fanwood) -> None:
    @app.task
    async def parent(_: dict, ctx: Context) -> int:
        async with ctx.group() as g:
            pass
        assert g.winner is None
        return len(g.outcomes)

    assert parent.run({}) == 0


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_the_first_failure_cancels_the_rest(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], colour: str
) -> None:
    let(gates, -1, 1)

    def members(g: Any) -> None:
        for n in (1, -1, 2, 3):
            g.spawn(member, n)

    def caught(g: Any, error: FailedTaskRunExceptionGroup) -> list[Any]:
        assert [single.message for single in error.exceptions] == ["-1 is negative"]
        assert "1 failed" in str(error)
        return shown(g.outcomes)

    @app.task
    async def awaits(_: dict, ctx: Context) -> list[Any]:
        g: Any = None
        try:
            async with ctx.group() as g:
                members(g)
        except FailedTaskRunExceptionGroup as error:
            return caught(g, error)
        return []

    @app.task
    def blocks(_: dict, ctx: Context) -> list[Any]:
        g: Any = None
        try:
            with ctx.group() as g:
                members(g)
        except FailedTaskRunExceptionGroup as error:
            return caught(g, error)
        return []

    run = (awaits if colour == "async" else blocks).run_no_wait({})
    assert run.result(60)[1:] == ["Failed", "Cancelled", "Cancelled"]
    until(lambda: {"CANCELLED", "FAILED"} <= set(states(app, run.id)) <= {"CANCELLED", "COMPLETED", "FAILED"})


@pytest.mark.parametrize(
    ("options", "numbers", "opened", "expected"),
    [
        ({"on_error": "collect"}, (1, -1, 2), (1, -1, 2), [1, "Failed", 2]),
        ({"quorum": 1}, (1, 2, 3), (2,), ["Cancelled", 2, "Cancelled"]),
        ({"quorum": 2}, (1, -1, 2, 3), (1, -1, 2), [1, "Failed", 2, "Cancelled"]),
        ({"quorum": 2}, (1, -1, -2), (-1, -2), None),
        ({"quorum": 2, "on_error": "collect"}, (1, -1, -2), (-1, -2), ["Cancelled", "Failed", "Failed"]),
        ({"until": lambda outcome: outcome.result() == 2}, (1, 2, 3), (2,), ["Cancelled", 2, "Cancelled"]),
        ({"tolerate": 1}, (-1, 2), (-1, 2), ["Failed", 2]),
        ({"tolerate": 0.5}, (-1, -2, 3, 4), (-1, -2, 3, 4), ["Failed", "Failed", 3, 4]),
        ({"tolerate": 0.25}, (-1, -2, 3, 4), (-1, -2), None),
    ],
)
def test_how_it_may_go(
    app: Fanwood,
    member: Any,
    gates: dict[int, threading.Event],
    began: list[int],
    options: dict[str, Any],
    numbers: tuple[int, ...],
    opened: tuple[int, ...],
    expected: list[Any] | None,
) -> None:
    let(gates, *opened)

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> list[Any] | None:
        result: list[Any] | None = None
        try:
            async with ctx.group("the one", **options) as g:
                for n in numbers:
                    g.spawn(member, n)
        except FailedTaskRunExceptionGroup:
            result = None
        else:
            result = shown(g.outcomes)
        if ctx.attempt_number == 1:
            assert result == expected
            began.clear()
            let(gates, *numbers)  # if one were run again, it would end
            raise ValueError("once more")
        return result

    run = parent.run_no_wait({})
    assert run.result(60) == expected
    assert began == []  # what was decided stands: nobody is run again, also no loser
    assert len([run for run in app.runs.children(run.id) if not run.task_name.startswith("~")]) == len(numbers)


def test_no_more_than_the_limit_are_under_way(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], began: list[int]
) -> None:
    @app.task
    async def parent(_: dict, ctx: Context) -> list[Any]:
        async with ctx.group(limit=2) as g:
            for n in range(6):
                g.spawn(member, n)
        return shown(g.outcomes)

    run = parent.run_no_wait({})
    until(lambda: len(began) == 2)
    assert len(app.runs.children(run.id)) == 2
    for n in range(6):
        until(lambda n=n: len(began) >= min(n + 2, 6))
        assert len(began) <= n + 2
        let(gates, n)
    assert run.result(60) == list(range(6))


def test_what_had_ended_makes_no_room_when_its_parent_is_tried_again(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    counts: list[int] = []
    send = Members._send_now

    def count(self: Members, request: Any, birth: Any) -> None:
        sent.append(request)
        send(self, request, birth)

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> list[Any]:
        if ctx.retry_count == 0:
            async with ctx.group(limit=1) as g:
                for n in range(2):
                    await g.spawn(member, n).aio_result()
                raise ValueError("again")
        async with ctx.group(limit=1) as g:
            assert g._members is not None
            sent.clear()
            for n in range(6):
                g.spawn(member, n)
            while {0, 1} & g._members.stream._open:  # they have not been told of yet
                await asyncio.sleep(0.002)
            counts.append(len(sent))
            let(gates, *range(6))
        return shown(g.outcomes)

    monkeypatch.setattr(Members, "_send_now", count)
    let(gates, 0, 1)
    assert parent.run({}, timeout=60) == list(range(6))
    assert counts[0] == 1


def test_losers_that_never_began(app: Fanwood, member: Any, gates: dict[int, threading.Event]) -> None:
    let(gates, 1)

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> list[Any]:
        async with ctx.group(limit=1, quorum=1) as g:
            refs = [g.spawn(member, n) for n in (1, 2, 3)]
        if ctx.attempt_number == 2:
            for ref in refs[1:]:
                with pytest.raises(TaskRunCancelled):
                    await ref
            return [g.winner.value if g.winner else None, *shown(g.outcomes)]
        raise ValueError("once more")

    run = parent.run_no_wait({})
    assert run.result(60) == [1, 1, "Cancelled", "Cancelled"]


async def broken_off(*_: Any) -> None:
    """In the place of what ends the others."""
    raise ValueError("once more")


def test_who_goes_on_cancels_whom_the_group_has_left_out(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since who decided has not come to it."""
    let(gates, 1)

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> list[str]:
        with monkeypatch.context() as breaking:
            if ctx.attempt_number == 1:
                breaking.setattr(groups, "abandon", broken_off)
            async with ctx.group(quorum=1) as g:
                g.spawn(member, 1)
                g.spawn(member, 2)
        runs = [await app.runs.aio_get(outcome.run_id) for outcome in g.outcomes]
        return [str(run.status) for run in runs]

    assert parent.run({}) == ["COMPLETED", "CANCELLED"]


@pytest.mark.parametrize("on_error", ["cancel", "collect"])
def test_its_time(app: Fanwood, member: Any, gates: dict[int, threading.Event], on_error: Any) -> None:
    let(gates, 1)

    @app.task(retries=1)
    async def parent(deadline: float, ctx: Context) -> list[Any]:
        result: list[Any] = []
        g: Any = None
        try:
            async with ctx.group(on_error=on_error, deadline=deadline, limit=2) as g:
                for n in (1, 2, 3):
                    g.spawn(member, n)
        except FailedTaskRunExceptionGroup as error:
            result.append(len(error.exceptions))
        result += shown(g.outcomes)
        if ctx.attempt_number == 1:
            let(gates, 2, 3)
            raise ValueError("once more")
        return result

    expected, came = [1, "TimedOut", "TimedOut"], list[Any]()
    for deadline in DEADLINES:
        came = parent.run(deadline)
        if came[-3:] != ["TimedOut"] * 3:  # else the one that may end had no time to
            break
        gates[2].clear()
        gates[3].clear()
    assert came == ([2, *expected] if on_error == "cancel" else expected)


def test_who_is_detached_outlives_it(app: Fanwood, member: Any, gates: dict[int, threading.Event]) -> None:
    let(gates, 1)

    @app.task
    async def parent(_: dict, ctx: Context) -> str:
        async with ctx.group() as g:
            ref = g.spawn(member, 2)
            g.spawn(member, 1)
            g.detach(ref)
            with pytest.raises(UsageError):
                g.detach(await member.aio_run_no_wait(3))
        assert shown(g.outcomes) == [1]
        return ref.id

    ref = member.get_run_ref(parent.run({}))
    assert ref.status() in (RunState.RUNNING, RunState.QUEUED)
    let(gates, 2, 3)
    assert ref.result(60) == 2


def test_who_is_detached_goes_on_also_if_there_was_no_room_for_it(
    app: Fanwood, member: Any, gates: dict[int, threading.Event]
) -> None:
    """The group is over before it would have been its turn."""
    let(gates, 1, 3)

    @app.task
    async def top(_: int, ctx: Context) -> list[int]:
        async with ctx.group(limit=1, quorum=1) as group:
            group.spawn(member, 1)
            left_out = [group.spawn(member, 2), group.spawn(member, 4)]
            group.detach(free := group.spawn(member, 3))
        for ref in left_out:
            with pytest.raises(TaskRunCancelled):
                await ref
        return [group.winner.value if group.winner else 0, await free]

    assert top.run(0, timeout=60) == [1, 3]


def test_references_to_whom_a_group_left_out_say_so_in_each_attempt(
    app: Fanwood, member: Any, gates: dict[int, threading.Event]
) -> None:
    """Whatever their rows say: the code would else go another way when it is run again."""
    let(gates, 1)
    seen: list[Any] = []

    @app.durable_task(retries=2)
    async def top(_: int, ctx: Context) -> None:
        async with ctx.group(quorum=1) as group:
            refs = [group.spawn(member, 2), group.spawn(member, 1)]
        done = (await aio_wait(refs, return_when="FIRST_COMPLETED")).done
        errors = await asyncio.gather(*refs, return_exceptions=True)
        seen.append(([ref in done for ref in refs], str(errors[0]), errors[1]))
        await ctx.aio_sleep_for(0.001)
        if len(seen) < 3:
            raise ValueError("again")

    top.run(0, timeout=60)
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == [True, False]


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_block_that_raises_cancels_all(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], colour: str
) -> None:
    @app.task
    async def awaits(_: dict, ctx: Context) -> None:
        async with ctx.group(limit=2) as g:
            for n in (1, 2, 3):
                g.spawn(member, n)
            raise ValueError("no")

    @app.task
    def blocks(_: dict, ctx: Context) -> None:
        with ctx.group() as g:
            g.spawn(member, 1)
            raise ValueError("no")

    run = (awaits if colour == "async" else blocks).run_no_wait({})
    with pytest.raises(TaskRunError, match="no"):
        run.result(60)
    until(lambda: set(states(app, run.id)) <= {"CANCELLED"})
    (error, *_) = {str(child.error) for child in app.runs.children(run.id)}
    assert "the block of its group raised ValueError" in error


@pytest.mark.parametrize("again", ["retry", "replay"])
@pytest.mark.parametrize("kind", ["task", "durable_task"])
def test_a_member_that_cannot_be_encoded_is_what_is_told_each_time(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], kind: str, again: str
) -> None:
    """And of the others, also to who awaits them, that the block has raised that: nobody was cancelled."""
    said: list[str] = []

    @app.task
    async def takes_all(_: Any) -> None: ...

    async def parent(_: dict, ctx: Context) -> None:
        first: Any = None
        try:
            async with ctx.group() as g:
                first = g.spawn(member, 1)
                g.spawn(takes_all, object())
        except PayloadError as error:
            said.append(str(error))
        try:
            await first.aio_result()
        except TaskRunCancelled as error:
            said.append(error.message)
        raise ValueError("once more")

    run = getattr(app, kind)(retries=int(again == "retry"))(parent).run_no_wait({})
    with pytest.raises(TaskRunError, match="once more"):
        run.result(60)
    if again == "replay":
        app.runs.replay(run.id)
        with pytest.raises(TaskRunError, match="once more"):
            run.result(60)
    assert len(said) == 4
    assert said[:2] == said[2:]
    assert "can't be encoded" in said[0]
    assert "the block of its group raised PayloadEncodingError" in said[1]


def test_nested_groups(app: Fanwood, member: Any, gates: dict[int, threading.Event]) -> None:
    let(gates, -1, 1, 2)

    @app.task
    async def parent(_: dict, ctx: Context) -> list[Any]:
        race: Any = None
        inner: Any = None
        with contextlib.suppress(FailedTaskRunExceptionGroup):
            async with ctx.group("outer") as outer:
                outer.spawn(member, 9)
                async with ctx.group("race", quorum=1) as race:
                    race.spawn(member, 1)
                    race.spawn(member, 8)
                async with ctx.group("inner") as inner:
                    inner.spawn(member, -1)
                    inner.spawn(member, 7)
        return [*shown(race.outcomes), *shown(inner.outcomes)]

    run = parent.run_no_wait({})
    assert run.result(60) == [1, "Cancelled", "Failed", "Cancelled"]
    until(lambda: "RUNNING" not in states(app, run.id))


def test_a_worker_that_dies_between_the_decision_and_its_end_changes_nothing(
    make_app: Any,
) -> None:
    """The loser completes as it is being cancelled; a loser it stays."""
    app = make_app(slots=4)

    @app.task
    async def member(n: int) -> int:
        if n:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        return n

    @app.task(retries=1)
    async def parent(_: dict, ctx: Context) -> list[Any]:
        async with ctx.group(quorum=1) as g:
            for n in (0, 1):
                g.spawn(member, n)
        if ctx.attempt_number == 1:
            raise ValueError("once more")
        assert isinstance(g.outcomes[1], Cancelled)
        return shown(g.outcomes)

    assert parent.run({}) == [0, "Cancelled"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"name": "x" * 501}, "name must have at most"),
        ({"on_error": "ignore"}, 'on_error must be "cancel" or "collect"'),
        ({"quorum": 0}, "quorum must be at least 1"),
        ({"quorum": 2**63}, "quorum must be at most"),
        ({"limit": 0}, "limit must be"),
        ({"limit": 1.5}, "limit must be a whole number"),
        ({"until": 3}, "until must be a function"),
        ({"deadline": -1}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"tolerate": 1.5}, "tolerate must be at most 1"),
        ({"tolerate": -1}, "tolerate must not be negative"),
        ({"tolerate": float("nan")}, "tolerate must be a finite number"),
        ({"tolerate": True}, "tolerate must be a whole number"),
    ],
)
def test_what_can_not_be_is_refused(app: Fanwood, options: dict[str, Any], match: str) -> None:
    @app.task
    async def parent(_: dict, ctx: Context) -> None:
        ctx.group(**options)

    with pytest.raises(TaskRunError, match=match):
        parent.run({})


def test_misuses(app: Fanwood, member: Any, gates: dict[int, threading.Event]) -> None:
    let(gates, 1)
    found: list[str] = []

    @app.task
    async def parent(_: dict, ctx: Context) -> None:
        group = ctx.group("a")
        with pytest.raises(UsageError, match="between its beginning and its end"):
            group.spawn(member, 1)
        async with group:
            group.spawn(member, 1)
            with pytest.raises(UsageError, match="under way already"):
                async with ctx.group("a"):
                    pass
            with pytest.raises(UsageError, match="members are children"):
                group.spawn(member, 1, detached=True)
            with pytest.raises(UsageError, match="must be a task or workflow, and is 'member'"):
                group.spawn("member", 1)  # type: ignore[arg-type]
        with pytest.raises(BlockingCallError, match=r"Use `async with ctx\.group\(\.\.\.\)` here"), ctx.group():
            pass
        with pytest.raises(UsageError, match="for one block"):
            async with group:
                pass
        with pytest.raises(UsageError, match="can't be had of 1"):
            async with ctx.group(quorum=2) as short:
                short.spawn(member, 2)
        found.append("all")

    parent.run({})
    assert found == ["all"]


def test_a_failure_can_be_matched(app: Fanwood, member: Any, gates: dict[int, threading.Event]) -> None:
    let(gates, -1, 1)

    @app.task
    async def parent(_: dict, ctx: Context) -> list[str]:
        async with ctx.group(on_error="collect") as g:
            g.spawn(member, -1)
            g.spawn(member, 1)
        said: list[str] = []
        for outcome in g.outcomes:
            match outcome:
                case Completed(value=value):
                    said.append(str(value))
                case Failed(error=error):
                    said.append(str(getattr(error, "message", "")))
                case Cancelled() | TimedOut():
                    said.append("no")
                case _:
                    said.append("poison")
        return said

    assert parent.run({}) == ["-1 is negative", "1"]


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_group_that_was_unloaded_can_cancel_its_members(app: Fanwood, colour: str) -> None:
    """The code that was unloaded on the same worker had waited for them; nobody does any more."""
    policy = EvictionPolicy(ttl=0)

    @app.task
    async def member(n: int, ctx: Context) -> int:
        return n if n == 1 and await ctx.aio_wait_for_event("go") else await ctx.aio_wait_for_event("never")

    if colour == "async":

        @app.durable_task(name="parent", eviction_policy=policy)
        async def parent(_: dict, ctx: Context) -> list[Any]:
            async with ctx.group(quorum=1) as g:
                g.spawn(member, 1)
                g.spawn(member, 2)
            return [str((await app.runs.aio_get(outcome.run_id)).status) for outcome in g.outcomes]
    else:

        @app.durable_task(name="parent", eviction_policy=policy)
        def parent(_: dict, ctx: Context) -> list[Any]:
            with ctx.group(quorum=1) as g:
                g.spawn(member, 1)
                g.spawn(member, 2)
            return [str(app.runs.get(outcome.run_id).status) for outcome in g.outcomes]

    run = parent.run_no_wait({})
    until(lambda: app.runs.get_status(run.id) is RunState.WAITING)
    until(
        lambda: [str(c.status) for m in app.runs.children(run.id) for c in app.runs.children(m.id)] == ["WAITING"] * 2
    )
    app.events.push("go", {"n": 1})
    assert run.result(60) == ["COMPLETED", "CANCELLED"]


def test_who_takes_an_end_while_it_is_looked_what_he_waits_for_is_not_suspended(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """He takes it on his loop, between two steps of the engine's thread, and is not in the wait any more that it was
    asked for."""
    put, awaited = Stream.put, Stream.awaited
    requests: list[SuspendRequest] = []
    come: list[tuple[int, Any]] = []
    found: list[Any] = []

    def look_first(self: Stream, index: int, ended: Any) -> None:
        come.append((index, ended))
        found.append(requests[-1].make())
        while come:  # nobody looked
            put(self, *come.pop())

    def have_it_taken(self: Stream) -> Any:
        while come:
            put(self, *come.pop())
            until(lambda: not self.ready)
        return awaited(self)

    monkeypatch.setattr(Engine, "suspend", lambda _, request: requests.append(request))
    monkeypatch.setattr(Stream, "put", look_first)
    monkeypatch.setattr(Stream, "awaited", have_it_taken)

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(_: dict, ctx: Context) -> None:
        async with ctx.group(quorum=2) as g:
            g.spawn(member, -1)
            g.spawn(member, 2)

    run = parent.run_no_wait({})
    until(lambda: bool(requests))
    let(gates, -1)
    with pytest.raises(TaskRunError, match="0 of the 2"):
        run.result(60)
    assert found[0] is None


def test_who_is_suspended_for_a_quorum_that_can_not_be_had_goes_on(
    app: Fanwood, member: Any, gates: dict[int, threading.Event]
) -> None:
    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(_: dict, ctx: Context) -> None:
        async with ctx.group(quorum=2) as g:
            g.spawn(member, -1)
            g.spawn(member, 2)

    run = parent.run_no_wait({})
    until(lambda: app.runs.get_status(run.id) is RunState.WAITING)
    let(gates, -1)
    with pytest.raises(TaskRunError, match="0 of the 2"):
        run.result(60)
    until(lambda: "RUNNING" not in states(app, run.id))


def test_what_ended_in_time_counts_also_for_who_was_unloaded_until_it_was_over(app: Fanwood) -> None:
    """He comes to his group when its time is over, and is told of the ends a moment later: all had timed out."""

    @app.task
    async def member(n: int) -> str:
        if n < 0:
            raise ValueError("below nothing")
        if n == 0:
            await asyncio.sleep(60)
        return "x" * n

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def parent(deadline: float, ctx: Context) -> list[str]:
        async with ctx.group(quorum=1) as first:  # what is decided is looked up, and takes a while
            for n in (1, 0):
                first.spawn(member, n)
        async with ctx.group(on_error="collect", deadline=deadline) as group:
            for n in (1, -1, 0, 20_000):
                group.spawn(member, n)
        return [*(type(outcome).__name__ for outcome in group.outcomes), str(ctx.invocation_count > 1)]

    came: list[str] = []
    for deadline in DEADLINES:
        came = parent.run(deadline, timeout=60)
        if came.count("TimedOut") == 1:  # else there was no time
            break
    assert came == ["Completed", "Failed", "TimedOut", "Completed", "True"]


@pytest.mark.parametrize("durable", [False, True])
def test_members_that_a_limit_holds_back_can_be_waited_for(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], durable: bool
) -> None:
    """Their references are there at once: who waits for one hears of it when it has had its turn."""
    let(gates, *range(1, 9))
    declare = app.durable_task(eviction_policy=EvictionPolicy(ttl=0.01)) if durable else app.task

    @declare
    async def top(_: int, ctx: Context) -> list[Any]:
        async with ctx.group(limit=1) as group:
            refs = [group.spawn(member, n) for n in range(1, 9)]
            states = await refs[7].aio_status()
            seen = [await ref async for ref in as_completed(refs[2:5])]
            done = (await aio_wait(refs[5:7])).done
            last = await refs[7]
        return [str(states), sorted(seen), len(done), last, len(group.outcomes)]

    assert top.run(0, timeout=60) == ["QUEUED", [3, 4, 5], 2, 8, 8]


def test_members_that_a_limit_holds_back_can_be_cancelled(
    app: Fanwood, member: Any, gates: dict[int, threading.Event]
) -> None:
    @app.task
    async def top(_: int, ctx: Context) -> list[Any]:
        async with ctx.group(limit=1, on_error="collect") as group:
            refs = [group.spawn(member, n) for n in (1, 2, 3)]
            await refs[1].aio_cancel()
            let(gates, 1, 3)
        return shown(group.outcomes)

    assert top.run(0, timeout=60) == [1, "Cancelled", 3]


def test_whoever_waits_for_what_never_had_its_turn_is_told(
    app: Fanwood, member: Any, gates: dict[int, threading.Event]
) -> None:
    let(gates, 1)

    @app.task
    async def top(_: int, ctx: Context) -> list[Any]:
        async with ctx.group(limit=1, quorum=1) as group:
            group.spawn(member, 1)
            ref = group.spawn(member, 2)
            beside = asyncio.create_task(ref.aio_result())
            beside_too = asyncio.create_task(aio_wait([ref]))
            await asyncio.sleep(0)
        with pytest.raises(TaskRunCancelled):
            await beside
        await ref.aio_cancel()
        return [str(await ref.aio_status()), len((await beside_too).done)]

    assert top.run(0, timeout=60) == ["CANCELLED", 1]


@pytest.mark.parametrize("durable", [False, True])
def test_inside_a_group_that_was_decided_whom_it_left_out_has_not_ended(
    app: Fanwood, member: Any, gates: dict[int, threading.Event], durable: bool
) -> None:
    """Else code that takes ends as they come goes another way when it is run again."""
    let(gates, 1)
    seen: list[Any] = []
    declare = app.durable_task(retries=1) if durable else app.task(retries=1)

    @declare
    async def top(_: int, ctx: Context) -> None:
        async with ctx.group(quorum=1, limit=2) as group:
            refs = [group.spawn(member, n) for n in (2, 1, 3)]
            async for ref in as_completed(refs):
                seen.append(await ref)
                break
            done = (await aio_wait(refs[:2], return_when="FIRST_COMPLETED")).done
            seen.append([await ref for ref in done])
            if durable:
                futures = [asyncio.ensure_future(ref.aio_result()) for ref in refs]
                first, others = await asyncio.wait(futures, return_when="FIRST_COMPLETED")
                seen.append([future.result() for future in first])
                for other in others:
                    other.cancel()
        seen.append(shown(group.outcomes))
        if len(seen) < 6 + durable:
            raise ValueError("once more")

    top.run(0, timeout=60)
    half = len(seen) // 2
    assert seen[:half] == seen[half:] == [1, [1], *([[1]] if durable else []), ["Cancelled", 1, "Cancelled"]]


def test_a_group_whose_wait_was_cancelled_has_no_outcomes(app: Fanwood, member: Any) -> None:
    @app.task
    async def top(_: int, ctx: Context) -> list[Any]:
        group: Any = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05), ctx.group() as group:
                group.spawn(member, 1)
        return [group.outcomes, group.winner]

    assert top.run(0, timeout=60) == [[], None]


def test_what_is_detached_must_be_a_reference(app: Fanwood, member: Any) -> None:
    @app.task
    async def top(_: int, ctx: Context) -> None:
        async with ctx.group() as group:
            with pytest.raises(UsageError, match="ref must be the reference of a member"):
                group.detach("77b1d2a0")  # pyright: ignore[reportArgumentType]

    top.run(0, timeout=60)
