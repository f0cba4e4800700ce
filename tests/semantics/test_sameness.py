"""Code of durable runs that is another one than that which began them."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from fanwood import (
    Context,
    EvictionPolicy,
    Fanwood,
    NonDeterminismError,
    RunState,
    TaskRunError,
    UsageError,
    UserEventCondition,
)
from fanwood.ids import id_bytes
from fanwood.sdk.running import sameness
from fanwood.sdk.tasks.rehearsing import rehearse, runs_of
from tests.semantics.test_durable import until
from tests.serving import serving

AT_ONCE = EvictionPolicy(ttl=0)
COLOURS = ["async", "sync"]


def flow(app: Fanwood, colour: str, script: list[list[str]], **options: Any) -> Any:
    """A durable task that does what the script of the present life says, and the same things in branches if there are
    several."""

    @app.task(name="child")
    async def child(n: str) -> str:
        return n

    if colour == "async":

        @app.durable_task(name="flow", eviction_policy=AT_ONCE, **options)
        async def flow(input: dict, ctx: Context) -> list[str]:
            async def branch(words: str) -> None:
                for word in words.split():
                    kind, _, what = word.partition(":")
                    if kind == "step":
                        await ctx.aio_step(str, what)
                    elif kind == "child":
                        await child.aio_run(what)
                    elif kind == "push":
                        await app.events.aio_push(what)
                    elif kind == "any":
                        await ctx.aio_wait_for(what, UserEventCondition(what))
                    else:
                        await ctx.aio_wait_for_event(what, lookback_window="1h")

            said = script.pop(0)
            if len(said) == 1:
                await branch(said[0])
            else:
                await asyncio.gather(*map(branch, said))
            return said

        return flow

    @app.durable_task(name="flow", eviction_policy=AT_ONCE, **options)
    def sync_flow(input: dict, ctx: Context) -> list[str]:
        said = script.pop(0)
        for word in said[0].split():
            kind, _, what = word.partition(":")
            if kind == "step":
                ctx.step(str, what)
            elif kind == "child":
                child.run(what)
            elif kind == "push":
                app.events.push(what)
            elif kind == "any":
                ctx.wait_for(what, UserEventCondition(what))
            else:
                ctx.wait_for_event(what, lookback_window="1h")
        return said

    return sync_flow


def lives(app: Fanwood, colour: str, *script: list[str], **options: Any) -> Any:
    """Run it, and push the event that it waits for each time that it is unloaded."""
    left = list(script)
    ref = flow(app, colour, left, **options).run_no_wait({})
    for n in range(len(script) - 1):
        while len(left) == len(script) - n or ref.status() is RunState.RUNNING:
            assert not ref.status().is_terminal, app.runs.get(ref.id).error
        until(app, ref.id, RunState.WAITING)
        app.events.push(f"e{n}")
    return ref


@pytest.mark.parametrize("colour", COLOURS)
def test_the_same_code_is_the_same(app: Fanwood, colour: str) -> None:
    said = ["step:a push:p step:a event:e0 step:b any:e1 step:c event:e2 step:d"]
    assert lives(app, colour, said, said, said, said, strict=True).result(60) == said


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(
    ("now", "lost", "new"),
    [
        ("step:b event:e0", '- ~step {"step":"builtins.str","args":["a"]}', "builtins.str"),
        ("child:b event:e0", "- ~step", '+ child "b"'),
        ("push:b event:e0", "- ~step", "events.push"),
        ("event:e1", "- ~step", "~event"),
        ("event:e0", "- ~step", ""),
    ],
)
def test_other_code_is_refused_before_it_does_anything(
    app: Fanwood, colour: str, now: str, lost: str, new: str
) -> None:
    ref = lives(app, colour, ["step:a event:e0"], [now], strict=True, retries=3)
    with pytest.raises(TaskRunError, match="asks for something else") as raised:
        ref.result(60)
    assert raised.value.exc_type == NonDeterminismError.__name__
    said = str(raised.value)
    assert lost in said
    assert new in said
    assert len(app.runs.children(ref.id)) == 2  # nothing was done
    assert [each.key for each in app.events.list()] == ["e0"]


def test_what_is_asked_for_once_more_or_in_another_order_is_no_other_code(app: Fanwood) -> None:
    ref = lives(app, "async", ["step:a step:b event:e0"], ["step:b step:a event:e0 step:c"], strict=True)
    assert ref.result(60) == ["step:b step:a event:e0 step:c"]


def test_of_branches_it_is_said_when_all_wait(app: Fanwood) -> None:
    before, after = ["step:a event:e0", "step:b event:never"], ["step:x event:e0", "step:b event:never"]
    ref = lives(app, "async", before, after, strict=True)
    with pytest.raises(TaskRunError, match="asks for something else"):
        ref.result(60)


def test_without_strict_it_is_logged_and_ends_after_a_number_of_wakes(
    app: Fanwood, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sameness, "WAKES", 2)
    caplog.set_level(logging.WARNING)
    script = [[f"step:{n} event:e{n}"] for n in range(4)]
    ref = lives(app, "async", *script[:3])
    with pytest.raises(TaskRunError, match="asks for something else") as raised:
        ref.result(60)
    assert raised.value.exc_type == NonDeterminismError.__name__
    assert "asks for something else" in caplog.text


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("now", ["step:a child:b event:e0 any:e1 step:c", "step:a child:c event:e0 any:e1"])
async def test_a_recorded_run_is_held_against_the_code(app: Fanwood, colour: str, now: str) -> None:
    """As it stands; and nothing is done, and nothing else said of it."""
    script = [["step:a child:b event:e0 any:e1"]] * 9
    task = flow(app, colour, script)
    ref = await task.aio_run_no_wait({})
    await app.events.aio_push("e0")
    while len([1 for each in await app.runs.aio_children(ref.id) if each.task_name == "~event"]) < 2:
        await asyncio.sleep(0.002)
    while await ref.aio_status() is not RunState.WAITING:
        await asyncio.sleep(0.002)
    script[:] = [[now]]
    (run,) = [each async for each in runs_of(app, task.spec, 10)]
    children = await app.runs.aio_children(ref.id)
    found = await asyncio.to_thread(rehearse, app, task.spec, run)
    assert (found.text is None) == (now.split()[1] == "child:b"), found.text
    assert found.followed
    assert await app.runs.aio_children(ref.id) == children
    await ref.aio_cancel()


@pytest.mark.parametrize("colour", COLOURS)
def test_code_is_told_the_version_of_that_which_began_the_run(make_app: Any, colour: str) -> None:
    """And it is no other code for that."""
    seen: list[tuple[str | None, bool]] = []

    def declared(version: str | None) -> tuple[Fanwood, Any]:
        app = make_app(local_worker=False)
        if colour == "async":

            @app.durable_task(name="versioned", eviction_policy=AT_ONCE, strict=True, version=version)
            async def versioned(input: dict, ctx: Context) -> None:
                seen.append((ctx.version, ctx.is_replaying))
                await ctx.aio_wait_for_event("go on", scope=input["who"])

            return app, versioned

        @app.durable_task(name="versioned", eviction_policy=AT_ONCE, strict=True, version=version)
        def sync_versioned(input: dict, ctx: Context) -> None:
            seen.append((ctx.version, ctx.is_replaying))
            ctx.wait_for_event("go on", scope=input["who"])

        return app, sync_versioned

    for version in ("1", None):
        app, task = declared(version)
        ref = task.run_no_wait({"who": str(version)})
        with serving(app.worker("old")):
            until(app, ref.id, RunState.WAITING)
        assert seen == [(version, False)]
        new, task = declared("2")
        (run,) = [each for each in _runs(new, task) if each.id == id_bytes(ref.id)]
        assert rehearse(new, task.spec, run).text is None
        with serving(new.worker("new")):
            new.events.push("go on", scope=str(version))
            assert new.runs.get_run_ref(ref.id).result(60) is None
        assert seen == [(version, False), (version, True), (version, True)]
        seen.clear()


def _runs(app: Fanwood, task: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [each async for each in runs_of(app, task.spec, 10)]

    return asyncio.run(collect())


@pytest.mark.parametrize("durable", [True, False])
def test_the_version_of_a_run_that_is_executed_once(app: Fanwood, durable: bool) -> None:
    declare: Any = app.durable_task if durable else app.task

    @declare(version="3")
    def versioned(input: dict, ctx: Context) -> str | None:
        return ctx.version

    assert versioned.run({}) == "3"
    assert versioned.mock_run({}) == "3"


@pytest.mark.parametrize("colour", COLOURS)
def test_code_is_told_which_version_came_to_a_place_first(make_app: Any, colour: str) -> None:
    """Who has been there goes on as he began, who has not takes the new way, and both for ever after."""
    seen: list[tuple[str, str | None]] = []

    def declared(version: str) -> tuple[Fanwood, Any]:
        app = make_app(local_worker=False)
        asks = version != "1"
        if colour == "async":

            @app.durable_task(name="versioned", eviction_policy=AT_ONCE, strict=True, version=version)
            async def versioned(input: dict, ctx: Context) -> str:
                await ctx.aio_wait_for_event("first", scope=input["who"])
                if asks:
                    seen.append((input["who"], await ctx.aio_version_at("here")))
                    assert await ctx.aio_version_at("here") == seen[-1][1]
                await ctx.aio_wait_for_event("second", scope=input["who"])
                return ctx.version or ""

            return app, versioned

        @app.durable_task(name="versioned", eviction_policy=AT_ONCE, strict=True, version=version)
        def sync_versioned(input: dict, ctx: Context) -> str:
            ctx.wait_for_event("first", scope=input["who"])
            if asks:
                seen.append((input["who"], ctx.version_at("here")))
                assert ctx.version_at("here") == seen[-1][1]
            ctx.wait_for_event("second", scope=input["who"])
            return ctx.version or ""

        return app, sync_versioned

    def waits_again(app: Fanwood, run_id: str) -> None:
        while sum(app.runs.counts(run_id).by_task.get("~event", {}).values()) < 2:
            time.sleep(0.01)
        until(app, run_id, RunState.WAITING)

    app, task = declared("1")
    been, not_been = (task.run_no_wait({"who": who}).id for who in ("been", "not been"))
    with serving(app.worker("old")):
        until(app, been, RunState.WAITING)
        app.events.push("first", scope="been")
        waits_again(app, been)
        until(app, not_been, RunState.WAITING)
    for version, who, key, run_id in (("2", "not been", "first", not_been), ("3", "not been", "second", not_been),
                                      ("3", "been", "second", been)):  # fmt: skip
        app, _ = declared(version)
        with serving(app.worker(version)):
            app.events.push(key, scope=who)
            if key == "first":
                waits_again(app, run_id)
            else:
                assert app.runs.get_run_ref(run_id).result(60) == "1"
    assert set(seen) == {("not been", "2"), ("been", None)}


def test_who_has_no_version_has_none_at_any_place(app: Fanwood) -> None:
    @app.task(version="1")
    def plain(ctx_input: dict, ctx: Context) -> None:
        with pytest.raises(UsageError, match="no durable task"):
            ctx.version_at("here")

    @app.durable_task
    def unversioned(ctx_input: dict, ctx: Context) -> None:
        with pytest.raises(UsageError, match="no version"):
            ctx.version_at("here")

    plain.run({})
    unversioned.run({})


def test_what_has_come_while_it_was_looked_is_no_other_code(app: Fanwood) -> None:
    """Of a run that has been woken often each wait is looked at: its code may be about to go on."""

    @app.task
    async def child(n: int) -> int:
        return n

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def agent(input: dict, ctx: Context) -> list[int]:
        for turn in range(14):
            async with ctx.group(quorum=1) as group:
                for n in range(3):
                    group.spawn(child, turn * 10 + n)
            async with ctx.group(on_error="collect") as group:
                for n in range(3):
                    group.spawn(child, turn * 10 + 5 + n)
            await ctx.aio_step(str, turn, key=f"turn {turn}")
            await ctx.aio_receive("on")
        return [ctx.invocation_count]

    ref = agent.run_no_wait({})
    for _ in range(14):  # each time that it waits for a message, and not for its children before that
        while not app.runs.counts(ref.id).by_task.get("~message", {}).get(RunState.WAITING):
            assert not ref.status().is_terminal, app.runs.get(ref.id).error
            time.sleep(0.002)
        until(app, ref.id, RunState.WAITING)
        app.runs.send(ref.id, "on")
    (invocations,) = ref.result(timeout=60)
    assert invocations > 10
