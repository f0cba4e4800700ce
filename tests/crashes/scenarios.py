"""
What processes are at when they are killed. A scenario is a program that may be run again from its beginning: it asserts
its answers itself, and whatever was done of it before stays done, since its roots have keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fanwood import (
    Context,
    EvictionPolicy,
    Fanwood,
    RunEndedError,
    RunNotFoundError,
    RunState,
    TaskRunCancelled,
    TaskRunError,
)
from fanwood.cli.main import cli
from fanwood.store.postgres import connection as links
from fanwood.store.postgres.release import Step, present
from fanwood.store.sqlite import connection as connections
from fanwood.store.sqlite.connection import migrations
from tests.raw import sql

PATIENCE = 60.0
LONG = 3600
SOON = {"retries": 2, "backoff_factor": 1, "backoff_max_seconds": 0.03}


@dataclass(frozen=True)
class Ground:
    """Where it happens."""

    folder: Path
    url: str
    other: str = ""  # another database, to copy to

    def note(self, event: str, *about: object) -> None:
        """Into the journal, whole lines of several processes."""
        number = os.open(self.folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(number, json.dumps([event, *about]).encode() + b"\n")
        os.close(number)

    def app(self, url: str = "", **settings: Any) -> Fanwood:
        return declare(
            self, Fanwood(url or self.url, **{"local_worker": True, "shared": False, "slots": 20, **settings})
        )

    def say(self, *arguments: str) -> str:
        """What `fanwood ...` prints."""
        result = CliRunner().invoke(cli, [*arguments], prog_name="fanwood")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output


began = threading.Event()
"""Something executes that does not end by itself."""


def declare(ground: Ground, app: Fanwood) -> Fanwood:
    @app.middleware
    def noted(ctx: Context) -> Iterator[None]:
        ground.note("begin", ctx.task_run_id, ctx.invocation_count, os.getpid())
        yield

    @app.task
    async def leaf(input: dict, ctx: Context) -> list[int]:
        ctx.log(f"leaf {input['n']}")
        return [input["n"] ** 2, ctx.attempt_number]

    @app.task
    def sync_leaf(input: dict, ctx: Context) -> list[int]:
        return [input["n"] ** 2, ctx.attempt_number]

    @app.task
    async def bulk(input: dict) -> int:
        items = [leaf.create_bulk_run_item({"n": n}, key=f"{n}" if n % 2 else None) for n in range(input["n"])]
        return sum([value for value, _ in await leaf.aio_run_many(items)])

    @app.task
    async def chain(input: dict) -> int:
        one_by_one = [(await leaf.aio_run({"n": n}))[0] for n in range(input["n"])]
        refs = [await sync_leaf.aio_run_no_wait({"n": n}) for n in range(input["n"])]
        return sum(one_by_one) + sum([value for value, _ in await asyncio.gather(*(ref.aio_result() for ref in refs))])

    @app.task
    def sync_chain(input: dict) -> int:
        return sum(sync_leaf.run({"n": n})[0] for n in range(input["n"]))

    @app.task(retries=1)
    async def flaky(input: dict, ctx: Context) -> int:
        if ctx.retry_count < input["failures"]:
            raise ValueError("once more")
        return input["n"]

    @app.task(**SOON)
    async def patient(input: dict, ctx: Context) -> int:
        if ctx.retry_count < input["failures"]:
            raise ValueError("a little later")
        return (await leaf.aio_run(input))[0]

    @app.task
    async def several(input: dict) -> list[Any]:
        task = app.find(input["of"])
        items = [task.create_bulk_run_item({"n": n, "failures": n % 3}) for n in range(3)]
        found = await task.aio_run_many(items, return_exceptions=True)
        return [answer if isinstance(answer, int) else "failed" for answer in found]

    @app.task
    async def tree(input: dict) -> int:
        if not input["depth"]:
            return 1
        below = [tree.create_bulk_run_item({"depth": input["depth"] - 1, "n": n}) for n in range(2)]
        return 1 + sum(await tree.aio_run_many(below))

    declare_endless(app, leaf)
    declare_dreamer(ground, app)
    declare_durable(ground, app)
    declare_flow(app, leaf)
    return app


def declare_dreamer(ground: Ground, app: Fanwood) -> None:
    @app.task
    async def dreamer(input: dict, ctx: Context) -> list[str]:
        async def step(name: str) -> str:
            ground.note("did", ctx.task_run_id, name)
            return name

        first = await ctx.aio_step(step, "first", key="first")
        ground.note("recorded", ctx.task_run_id, "first")
        await ctx.aio_sleep_for(LONG)
        await ctx.aio_sleep_for(0.01)
        second = await ctx.aio_step(step, "second", key="second")
        ground.note("recorded", ctx.task_run_id, "second")
        return [first, second]


def declare_durable(ground: Ground, app: Fanwood) -> None:
    at_once = EvictionPolicy(ttl=0)

    @app.task
    async def unhurried(n: int) -> int:
        await asyncio.sleep(0.03)
        return n

    @app.durable_task(eviction_policy=at_once)
    async def suspends(input: dict, ctx: Context) -> list[int]:
        one = await unhurried.aio_run(1)
        async with ctx.group() as group:
            for n in range(2, 4):
                group.spawn(unhurried, n)
        several = [n async for n in unhurried.aio_map([4, 5], window=1)]
        return [one, *(outcome.result() for outcome in group.outcomes), *several]

    @app.durable_task(eviction_policy=at_once)
    async def waits_for_event(input: dict, ctx: Context) -> int:
        return (await ctx.aio_wait_for_event("paid", lookback_window="1h"))["n"]

    @app.durable_task(eviction_policy=at_once)
    async def waits_for_promise(input: dict, ctx: Context) -> int:
        promise = await ctx.aio_promise(int, "answer")
        ground.note("token", ctx.task_run_id, promise.token)
        return await promise

    @app.durable_task(eviction_policy=at_once)
    async def receives(input: dict, ctx: Context) -> list[int]:
        found: list[int] = []
        while len(set(found)) < 2:
            found.append((await ctx.aio_receive("number")).payload)
        return sorted(set(found))


def declare_endless(app: Fanwood, leaf: Any) -> None:
    @app.task
    async def endless(input: dict) -> None:
        began.set()
        await asyncio.Event().wait()

    @app.task
    async def impatient(input: dict) -> str:
        with contextlib.suppress(TimeoutError, TaskRunCancelled):
            async with asyncio.timeout(0.02):
                await endless.aio_run(input)
        return "went on"

    @app.task
    async def nest(input: dict) -> None:
        items = [endless.create_bulk_run_item({"n": n}) for n in range(8)]
        await endless.aio_run_many([*items, leaf.create_bulk_run_item({"n": 3}, on_parent_end="continue")])

    @app.task
    async def fails(input: dict, ctx: Context) -> None:
        await nest.aio_run_no_wait(input)
        await leaf.aio_run({"n": 1})
        await asyncio.to_thread(began.wait, PATIENCE)
        if input.get("itself"):
            await ctx.aio_cancel()
        raise ValueError("what is below is closed")

    @app.task(execution_timeout=0.05, retries=1)
    async def slow(input: dict) -> None:
        await nest.aio_run(input)

    @app.task(schedule_timeout=0.05)
    async def late(input: dict) -> int:
        return 1

    @app.task
    async def brief(input: dict, ctx: Context) -> int:
        began.set()
        await asyncio.to_thread(ended_soon.wait, 0.05)
        return (await leaf.aio_run({"n": input["n"]}))[0]


ended_soon = threading.Event()


def declare_flow(app: Fanwood, leaf: Any) -> None:
    flow = app.workflow(name="flow")

    @flow.task()
    async def first(input: dict, ctx: Context) -> int:
        return (await leaf.aio_run({"n": 2}))[0]

    @flow.task(parents=[first], retries=1)
    def second(input: dict, ctx: Context) -> int:
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return ctx.task_output(first) + 1

    @flow.task(parents=[first])
    async def third(input: dict, ctx: Context) -> int:
        return ctx.task_output(first) + 2

    @flow.task(parents=[second, third])
    async def fourth(input: dict, ctx: Context) -> int:
        return ctx.task_output(second) * ctx.task_output(third)


# --- scenarios -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """`before` is done by a process that lives, `act` by one that is killed and again by another one."""

    name: str
    act: Callable[[Ground], None]
    before: Callable[[Ground], None] | None = None
    again: frozenset[str] = frozenset()  # tasks whose completed runs may be executed anew
    empty: bool = False  # whether there is no schema before it
    changes_schema: bool = False
    spoilt: bool = False  # whether rows are written by hand, which the doctor rightly minds
    copies: bool = False  # what is to be looked at afterwards is the other database
    prepared: Callable[[], None] = field(default=lambda: None)  # in each process
    beside: bool = False  # whether another process does the same meanwhile, and lives


SCENARIOS: dict[str, Scenario] = {}


def scenario(**about: Any) -> Callable[[Callable[[Ground], None]], Callable[[Ground], None]]:
    def add(act: Callable[[Ground], None]) -> Callable[[Ground], None]:
        name = act.__name__
        SCENARIOS[name] = Scenario(name, act, **about)
        return act

    return add


def asked(app: Fanwood, ground: Ground, task: str, key: str = "", **input_: Any) -> Any:
    """A root, by its key; that it was acknowledged is noted."""
    ref = app.find(task).run_no_wait(input_, idempotency_key=f"{task} {key}")
    ground.note("told", ref.id)
    return ref


def answers(ground: Ground, task: str, expected: Any, **input_: Any) -> None:
    with ground.app() as app:
        ref = asked(app, ground, task, **input_)
        found = ref.result(PATIENCE)
        assert found == expected, f"{task} answered {found!r}"
        ground.note("told", ref.id, found)


@scenario()
def spawn(ground: Ground) -> None:
    answers(ground, "bulk", 0, n=1)
    with ground.app() as app:  # a root without a key: there once, or not at all, unless its id was told
        ref = app.find("leaf").run_no_wait({"n": 7})
        ground.note("told", ref.id)
        assert ref.result(PATIENCE)[0] == 49

        @app.task
        async def another(input: dict) -> int:
            return input["n"]

        assert another.run({"n": 8}, timeout=PATIENCE) == 8


@scenario()
def bulk(ground: Ground) -> None:
    answers(ground, "bulk", 285, n=10)


@scenario()
def wait(ground: Ground) -> None:
    answers(ground, "chain", 10, n=3)
    answers(ground, "sync_chain", 5, n=3)


@scenario()
def retry(ground: Ground) -> None:
    answers(ground, "several", [0, 1, "failed"], of="flaky")


@scenario()
def backoff(ground: Ground) -> None:
    answers(ground, "several", [0, 1, 4], of="patient")


@scenario()
def cancel(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "nest")
        until_begun(ref)
        app.runs.cancel(ref.id)
        ground.note("cancelled", ref.id)
        assert ref.status() is RunState.CANCELLED


def until_begun(ref: Any) -> None:
    while not began.wait(0.01) and not ref.status().is_terminal:
        pass


@scenario()
def cancel_from_inside(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "fails", itself=True)
        with pytest.raises(TaskRunError):
            ref.result(PATIENCE)
        assert ref.status() is RunState.CANCELLED


@scenario()
def surgery(ground: Ground) -> None:
    """A tree is paused and goes on, and a run that does not end by itself gets its result by hand."""
    with ground.app() as app:
        ref = asked(app, ground, "tree", depth=2)
        app.runs.pause(ref.id, by="ann")
        app.runs.resume(ref.id)
        assert ref.result(PATIENCE) == 7
        ref = asked(app, ground, "endless")
        app.runs.patch(ref.id, output=None, by="ann")
        assert ref.status() is RunState.COMPLETED


@scenario()
def sleep(ground: Ground) -> None:
    """Steps that are recorded, and a sleep that is ended by a call."""
    with ground.app() as app:
        ref = asked(app, ground, "dreamer")
        while not ref.status().is_terminal:
            for child in app.runs.children(ref.id):
                if child.task_name == "~sleep" and child.status is RunState.WAITING:
                    app.runs.wake(child.id)
            ended_soon.wait(0.02)
        assert ref.result(PATIENCE) == ["first", "second"]


@scenario()
def suspend(ground: Ground) -> None:
    """A parent is unloaded while it waits for children, a group and a stream."""
    answers(ground, "suspends", [1, 2, 3, 4, 5])


def waiting(app: Fanwood, ref: Any) -> None:
    """Until it waits, perhaps, or has ended."""
    for _ in range(10):
        if ref.status() in (RunState.QUEUED, RunState.RUNNING):
            ended_soon.wait(0.01)


@scenario()
def event(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "waits_for_event")
        waiting(app, ref)
        app.events.push("paid", {"n": 7}, id="payment")
        assert ref.result(PATIENCE) == 7


@scenario()
def promise(ground: Ground) -> None:
    """It is settled by whoever has its token; which is the same in each attempt."""
    with ground.app() as app:
        ref = asked(app, ground, "waits_for_promise")
        tokens: set[str] = set()
        while not tokens:
            lines = [json.loads(line) for line in (ground.folder / "journal").read_text().splitlines()]
            tokens = {about[0] for event, run, *about in lines if event == "token" and run == ref.id}
            ended_soon.wait(0.01)
        (token,) = tokens
        app.promises.resolve(token, 5)
        assert ref.result(PATIENCE) == 5


@scenario()
def message(ground: Ground) -> None:
    """Each is received once; whoever does not know whether he has sent one sends it again, and that is another one."""
    with ground.app() as app:
        ref = asked(app, ground, "receives")
        waiting(app, ref)
        with contextlib.suppress(RunEndedError):
            for n in (1, 2):
                app.runs.send(ref.id, "number", n)
        assert ref.result(PATIENCE) == [1, 2]


@scenario()
def give_up(ground: Ground) -> None:
    answers(ground, "impatient", "went on")


@scenario()
def recursion(ground: Ground) -> None:
    answers(ground, "tree", 15, depth=3)


@scenario()
def workflow(ground: Ground) -> None:
    answers(ground, "flow", {"first": 4, "second": 5, "third": 6, "fourth": 30})


@scenario(again=frozenset({"bulk", "fails", "leaf"}))
def replay(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "bulk", n=4)
        assert ref.result(PATIENCE) == 14
        assert app.runs.replay(ref.id) in {True, False}
        assert ref.result(PATIENCE) == 14
        failed = asked(app, ground, "fails")
        for _ in range(2):
            with pytest.raises(TaskRunError):
                failed.result(PATIENCE)
            app.runs.replay(failed.id)
        with pytest.raises(TaskRunError):
            failed.result(PATIENCE)


def old_trees(ground: Ground) -> None:
    with ground.app() as app:
        for n in range(3):
            assert app.find("tree").run({"depth": 2 + n // 2, "n": n}) in {7, 15}
        with contextlib.suppress(TaskRunError):
            app.find("fails").run({})
        swept(app)


@scenario(before=old_trees)
def prune(ground: Ground) -> None:
    ground.say("runs", "rm", "--failed", "--yes", "--url", ground.url)
    ground.say("db", "prune", "--older-than", "0.001s", "--batch", "4", "--url", ground.url)
    with ground.app(retention_days=0.2 / 86_400) as app:  # a worker deletes as well
        ref = asked(app, ground, "tree", depth=1)
        with contextlib.suppress(RunNotFoundError):
            assert ref.result(PATIENCE) == 3
        while app.runs.list(all_runs=True, limit=1):
            ended_soon.wait(0.02)


@scenario()
def idempotent_root(ground: Ground) -> None:
    with ground.app() as app:
        leaf = app.find("leaf")
        items = [leaf.create_bulk_run_item({"n": n}, idempotency_key=f"k{n}") for n in range(5)]
        first, second = leaf.run_many_no_wait(items), leaf.run_many_no_wait(items[::-1])
        assert [ref.id for ref in first] == [ref.id for ref in second[::-1]]
        for ref in first:
            ground.note("told", ref.id)
        assert [ref.result(PATIENCE)[0] for ref in first] == [n * n for n in range(5)]


@scenario()
def stop(ground: Ground) -> None:
    """A worker that stops in good order, with some that execute and more that wait; and one that goes on."""
    with ground.app(local_worker=False) as client:
        client.engine()
        refs = [asked(client, ground, "brief", key=f"{n}", n=n) for n in range(6)]
        with ground.app(grace=0.02) as app:
            worker = app.worker(slots=2)
            asyncio.run(working(worker))
        with ground.app() as app:
            app.find("leaf").run({"n": 0}, idempotency_key="it works")
            assert [ref.result(PATIENCE) for ref in refs] == [0, 1, 4, 9, 16, 25]


async def working(worker: Any) -> None:
    task = asyncio.ensure_future(worker.aio_start())
    await asyncio.to_thread(began.wait, 1.0)
    worker.stop()
    await task


@scenario()
def closing(ground: Ground) -> None:
    """A parent that fails while what is below it lives."""
    with ground.app() as app:
        ref = asked(app, ground, "fails")
        with pytest.raises(TaskRunError):
            ref.result(PATIENCE)
        assert ref.status() is RunState.FAILED


@scenario()
def timeouts(ground: Ground) -> None:
    with ground.app(local_worker=False) as client:
        client.engine()
        refs = [asked(client, ground, "late", key=f"{n}", n=n) for n in range(3)]
        with ground.app() as app:
            slow = asked(app, ground, "slow")
            for ref in [slow, *refs]:
                with contextlib.suppress(TaskRunError):
                    ref.result(PATIENCE)
            assert slow.status() is RunState.FAILED


def died(ground: Ground) -> None:
    """A process that is killed while it executes."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    with ground.app() as app:
        asked(app, ground, "bulk", n=6)
        for n in range(3):
            asked(app, ground, "brief", key=f"{n}", n=n)
        began.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)


@scenario(before=died)
def reaping(ground: Ground) -> None:
    """What a dead worker had goes on."""
    with ground.app() as app:
        refs = [asked(app, ground, "brief", key=f"{n}", n=n) for n in range(3)]
        assert [ref.result(PATIENCE) for ref in refs] == [0, 1, 4]
        assert asked(app, ground, "bulk", n=6).result(PATIENCE) == 55


def spoil(ground: Ground) -> None:
    waiting_work(ground)
    largest = 2**63 - 1 if ground.url.startswith("sqlite") else 2**31 - 1
    sql(ground.url, f"update run set attempt = {largest} where task = 'leaf'")


@scenario(before=spoil, spoilt=True)
def unreadable(ground: Ground) -> None:
    """A run that nobody can claim fails."""
    with ground.app() as app:
        with pytest.raises(TaskRunError):
            asked(app, ground, "leaf", n=3, depth=2).result(PATIENCE)
        assert asked(app, ground, "bulk", n=4, depth=2).result(PATIENCE) == 14


@scenario(empty=True)
def opening(ground: Ground) -> None:
    """A database that is not there yet."""
    answers(ground, "bulk", 1, n=2)


def waiting_work(ground: Ground) -> None:
    with ground.app(local_worker=False) as client:
        for task, n in (("bulk", 4), ("tree", 0), ("leaf", 3)):
            asked(client, ground, task, n=n, depth=2)


COLUMN = "alter table run add column flavour text"
INDEX = "-- no transaction\ncreate index concurrently if not exists run_flavour on fanwood.run (flavour);\n"


def _next_version() -> None:
    """The version after this one is what this process runs."""
    ours, now = migrations(), present()
    number = ours[-1][0]
    added = [(number + 1, f"{number + 1}_column", COLUMN), (number + 2, f"{number + 2}_more", "create table more (id)")]
    connections.migrations = lambda: [*ours, *added]
    steps = [Step(2, "0002_column", COLUMN), Step(3, "0003_index", INDEX)]
    more = "\ncreate function fw_flavours() returns bigint language sql as $$ select count(flavour) from run $$;\n"
    release = type(now)((*now.steps, *steps), now.layer + 1, now.functions + more)
    address = links.Address

    def of_next(*arguments: Any, **named: Any) -> Any:
        return address(*arguments, **named, release=release)

    setattr(links, "Address", of_next)  # noqa: B010  (it is a class to whoever checks types)


@scenario(before=waiting_work, prepared=_next_version, changes_schema=True)
def upgrade(ground: Ground) -> None:
    ground.say("db", "migrate", "--url", ground.url)
    with ground.app() as app:
        refs = [asked(app, ground, task, n=n, depth=2) for task, n in (("bulk", 4), ("tree", 0), ("leaf", 3))]
        assert [ref.result(PATIENCE) for ref in refs[:2]] == [14, 7]


def half_done(ground: Ground) -> None:
    with ground.app() as app:
        assert app.find("tree").run({"depth": 2}, idempotency_key="another tree") == 7
        with contextlib.suppress(TaskRunError):
            app.find("fails").run({})
        assert app.find("several").run({"of": "patient"}) == [0, 1, 4]
    waiting_work(ground)


@scenario(before=half_done, copies=True)
def copy(ground: Ground) -> None:
    ground.say("db", "copy", ground.url, ground.other)


for _name in ("bulk", "wait", "backoff", "cancel", "recursion", "workflow", "idempotent_root"):
    SCENARIOS[f"{_name}_beside"] = replace(SCENARIOS[_name], name=f"{_name}_beside", beside=True)


def resume(ground: Ground, scene: Scenario) -> None:
    """By the next process, after `act`: all that is there ends."""
    with ground.app(ground.other if scene.copies else "") as app:
        app.engine()
        asked(app, ground, "leaf", key="last", n=1).result(PATIENCE)
        while unfinished := [run for run in app.runs.list(all_runs=True, limit=1000) if not run.status.is_terminal]:
            for run in unfinished:
                with contextlib.suppress(TaskRunError, RunNotFoundError):
                    app.runs.get_run_ref(run.id).result(PATIENCE)
        swept(app)


def swept(app: Fanwood) -> None:
    while app.engine().call(lambda store: store.look_around(0, "")).result(PATIENCE).closed:
        ended_soon.wait(0.005)
