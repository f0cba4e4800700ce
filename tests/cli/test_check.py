"""`fanwood check`: durable tasks against the runs that a database has."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fanwood import Context, EvictionPolicy, Fanwood, RunState, with_context
from fanwood.ids import id_bytes
from fanwood.sdk.tasks import rehearsing
from tests.chaos.scale import scaled
from tests.faults.processes import until

FLOW = """
from fanwood import Context, EvictionPolicy, Fanwood

fanwood = Fanwood()
done = []


@fanwood.task
async def child(n: int) -> int:
    return n


def work(n: int) -> int:
    done.append(n)
    return n


@fanwood.durable_task(eviction_policy=EvictionPolicy(ttl=0))
async def flow(input: dict, ctx: Context) -> int:
    try:
        a = await ctx.aio_step(work, {step})
        ctx.log("once")
        await fanwood.events.aio_push("done", a)
        ref = await child.aio_run_no_wait(5, detached=True)
        b = await child.aio_run({child})
        if input["sleeps"]:
            await ctx.aio_sleep_for("1h")
        {more}
        return await ref + b
    finally:
        await ctx.aio_step(work, 100)


@fanwood.durable_task(eviction_policy=EvictionPolicy(ttl=0))
def sync_flow(input: dict, ctx: Context) -> int:
    a = ctx.step(work, {step})
    b = child.run({child})
    if input["sleeps"]:
        ctx.sleep_for("1h")
    return a + b
"""
CODE = {"step": "1", "child": "2", "more": "pass"}


@pytest.fixture(autouse=True)
def _fresh_modules(here: Path) -> Any:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("flows", None)


_writings = itertools.count(1)


def written(here: Path, **other: str) -> None:
    code = FLOW
    for name, value in {**CODE, **other}.items():
        code = code.replace("{" + name + "}", value)
    code += "#" * next(_writings)  # another length each time: else what was compiled of it in the same second counts
    (here / "flows.py").write_text(code, encoding="utf-8")
    sys.modules.pop("flows", None)
    importlib.invalidate_caches()


@pytest.fixture
def recorded(here: Path, url: str) -> list[str]:
    """The ids of two runs that sleep, and of two that have ended."""
    written(here)
    sys.path.insert(0, str(here))
    flows = importlib.import_module("flows")
    app: Fanwood = flows.fanwood
    asleep = [each.run_no_wait({"sleeps": True}) for each in (flows.flow, flows.sync_flow)]
    ended = [each.run_no_wait({"sleeps": False}) for each in (flows.flow, flows.sync_flow)]
    assert [ref.result(60) for ref in ended] == [7, 3]
    while any(ref.status() is not RunState.WAITING for ref in asleep):
        time.sleep(0.002)
    app.close()
    return [ref.id for ref in (*asleep, *ended)]


def rows(url: str) -> Any:
    app = Fanwood(url, local_worker=False)
    try:
        runs = app.runs.list(limit=100, all_runs=True)
        return [(run.id, run.status) for run in runs], len(app.events.list()), [app.runs.logs(run.id) for run in runs]
    finally:
        app.close()


@pytest.mark.parametrize(
    ("other", "lost", "new", "who"),
    [
        ({}, "", "", ()),
        (
            {"step": "3"},
            '- ~step {"step":"flows.work","args":[1]}',
            '+ ~step {"step":"flows.work","args":[3]}',
            (0, 1, 2, 3),
        ),
        ({"child": "3"}, "- child 2", "+ child 3", (0, 1, 2, 3)),
        ({"child": '2, child_key="b"'}, "- child 2", "+ child (key b) 2", (0, 1, 2, 3)),
        ({"more": "await ctx.aio_step(work, 9)"}, "", "[9]", (2,)),  # whoever sleeps has not come there
    ],
)
def test_which_would_ask_for_something_else(
    invoke: Any,
    here: Path,
    url: str,
    recorded: list[str],
    other: dict[str, str],
    lost: str,
    new: str,
    who: tuple[int, ...],
) -> None:
    before = rows(url)
    written(here, **other)
    result = invoke("check", "--against", url, "flows:fanwood")
    assert result.exit_code == int(bool(who)), result.output
    assert lost in result.output
    assert new in result.output
    sys.modules.pop("flows", None)
    found = json.loads(invoke("check", "--against", url, "flows:fanwood", "--json").stdout)
    assert {each["run_id"] for each in found["others"]} == {recorded[n] for n in who}
    assert (found["checked"], found["not_followed"]) == (4, 0)
    assert rows(url) == before
    assert sys.modules["flows"].done == []  # nothing was executed


def test_what_can_not_be_looked_at(invoke: Any, here: Path) -> None:
    written(here)
    result = invoke("check", "--against", f"sqlite:///{here}/none.db", "flows:fanwood")
    assert result.exit_code == 2
    assert not (here / "none.db").exists()


PROMISE = """
from fanwood import Context, Fanwood

fanwood = Fanwood()


@fanwood.durable_task
async def flow(input: dict, ctx: Context) -> int:
    promise = ctx.promise(int, "answer")
    await fanwood.promises.aio_resolve(promise.token, 5)
    return await promise
"""


def test_a_promise_of_its_own_that_it_has_settled_is_the_same(
    invoke: Any, here: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "settles.py").write_text(PROMISE, encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    app: Fanwood = importlib.import_module("settles").fanwood
    assert app.find("flow").run({}) == 5
    app.close()
    sys.modules.pop("settles")
    result = invoke("check", "--against", url, "settles:fanwood")
    assert (result.exit_code, "all ask for what is recorded" in result.output) == (0, True), result.output


def test_code_that_fails_or_does_not_end_and_tasks_that_are_not_there(
    invoke: Any, here: Path, url: str, recorded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "PATIENCE", 0.1)
    written(here, step="(1 / 0)")
    result = invoke("check", "--against", url, "flows:fanwood")
    assert result.exit_code == 1
    assert result.output.count("It failed: ZeroDivisionError: division by zero") == 3  # one asks for more at its end
    assert "not here" not in result.output

    code = (here / "flows.py").read_text().replace("def flow(", "def renamed(")
    monkeypatch.setattr(threading, "stop", threading.Event(), raising=False)
    loop = "    import threading\n    while not threading.stop.wait(0.001): pass\n"
    (here / "flows.py").write_text(code.replace("    a = ctx.step(work", f"{loop}    a = ctx.step(work"))
    for _ in range(2):
        sys.modules.pop("flows", None)
        found = json.loads(invoke("check", "--against", url, "flows:fanwood", "--json").stdout)
        assert found == {"checked": 2, "not_followed": 2, "not_here": {"flow": 1}, "others": []}
    sys.modules.pop("flows", None)
    result = invoke("check", "--against", url, "flows:fanwood")
    assert "1 waiting run(s) are of tasks that are not here: flow (1)" in result.output
    stuck = [thread for thread in threading.enumerate() if thread.name == rehearsing.THREAD]
    assert len(stuck) == rehearsing.STUCK  # and no more
    threading.stop.set()  # type: ignore[attr-defined]
    for thread in stuck:
        thread.join()


KINDS = """
import asyncio

from fanwood import Context, EvictionPolicy, Fanwood, aio_wait, as_completed

fanwood = Fanwood()
durable = fanwood.durable_task(eviction_policy=EvictionPolicy(ttl=0))


@fanwood.task
async def child(n: int) -> int:
    return n


@fanwood.task
async def slow(n: int, ctx: Context) -> int:
    await ctx.aio_sleep_for("1h")
    return n


def work(n: int) -> int:
    return n


async def branch(ctx: Context, n: int) -> None:
    await ctx.aio_step(work, await child.aio_run(n))
    await slow.aio_run(n)


@durable
async def draws(input: dict, ctx: Context) -> None:
    drawn = [await ctx.aio_now(), ctx.random(), ctx.uuid()]
    await ctx.aio_step(work, hash(str(drawn)) % 1 + {changed})
    await ctx.aio_sleep_for("1h")


@durable
def sync_draws(input: dict, ctx: Context) -> None:
    ctx.step(work, int(ctx.random() * 0) + {changed})
    ctx.sleep_for("1h")


@durable
async def forked(input: dict, ctx: Context) -> None:
    await ctx.aio_step(work, {changed})
    await child.aio_run(2)
    if input:
        await ctx.aio_sleep_for("1h")


@durable
async def timed(input: dict, ctx: Context) -> None:
    ref = await slow.aio_run_no_wait(1)
    for wait in (
        lambda: ref.aio_result(timeout="10ms"),
        lambda: slow.aio_run(2, timeout="10ms"),
        lambda: slow.aio_run_many([slow.create_bulk_run_item(3)], timeout="10ms"),
    ):
        try:
            await wait()
        except TimeoutError:
            await ctx.aio_step(work, {changed})
    await ref.aio_result(timeout="1h")


@durable
async def gathers(input: dict, ctx: Context) -> None:
    await asyncio.gather(slow.aio_run(9), *(branch(ctx, n) for n in ({changed}, 2)))


@durable
async def task_group(input: dict, ctx: Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(slow.aio_run(9))
        for n in ({changed}, 2):
            group.create_task(branch(ctx, n))


@durable
async def beside(input: dict, ctx: Context) -> None:
    task = asyncio.create_task(branch(ctx, {changed}))
    await slow.aio_run(9)
    await task


@durable
async def many(input: dict, ctx: Context) -> None:
    await slow.aio_run_many([slow.create_bulk_run_item(n) for n in ({changed}, 2, 3)])


# --- what can't be followed


@durable
async def streams(input: dict, ctx: Context) -> None:
    async for _ in slow.aio_map(iter(range(5)), window=3):
        pass


@durable
async def completes(input: dict, ctx: Context) -> None:
    async for ref in as_completed([await child.aio_run_no_wait(n) for n in (1, 2)]):
        await ctx.aio_step(work, await ref)
    await ctx.aio_sleep_for("1h")


@durable
async def waits(input: dict, ctx: Context) -> None:
    refs = [await slow.aio_run_no_wait(1), await child.aio_run_no_wait(2)]
    await aio_wait(refs, return_when="FIRST_COMPLETED")
    await ctx.aio_sleep_for("1h")


@durable
async def groups(input: dict, ctx: Context) -> None:
    async with ctx.group() as group:
        group.spawn(slow, 1)


@durable
async def groups_in_branches(input: dict, ctx: Context) -> None:
    async def one(name: str) -> None:
        async with ctx.group(name) as group:
            group.spawn(slow, 1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one("a"))
        tasks.create_task(one("b"))
"""
FOLLOWED = ["draws", "sync_draws", "forked", "timed", "gathers", "task_group", "beside", "many"]
NOT_FOLLOWED = ["streams", "completes", "waits", "groups", "groups_in_branches"]


def test_code_that_is_the_same_is_the_same_whatever_it_does(
    invoke: Any, here: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(changed: int) -> None:
        text = KINDS.replace("{changed}", str(changed)) + "#" * next(_writings)
        (here / "kinds.py").write_text(text, encoding="utf-8")
        sys.modules.pop("kinds", None)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(here)
    load(1)
    app: Fanwood = importlib.import_module("kinds").fanwood
    first = app.find("forked").run_no_wait({})
    first.result(60)
    refs = {name: app.find(name).run_no_wait({}) for name in FOLLOWED + NOT_FOLLOWED if name != "forked"}
    refs["forked"] = app.runs.fork(first.id, input={"more": True})
    while any(ref.status() is not RunState.WAITING for ref in refs.values()):
        time.sleep(0.002)
    app.close()

    before = rows(url)
    for changed in (1, 4):
        load(changed)
        found = json.loads(invoke("check", "--against", url, "kinds:fanwood", "--json").stdout)
        others = {each["run_id"]: each["text"] for each in found["others"]}
        asked = {first.id} | {refs[name].id for name in FOLLOWED}
        assert set(others) == (set() if changed == 1 else asked), others
        assert found["not_followed"] == len(NOT_FOLLOWED)
        assert rows(url) == before
    for name in ("gathers", "task_group", "beside"):  # of its branches only this one
        lost = [line for line in others[refs[name].id].splitlines() if line.startswith("    ")]
        assert lost == [
            "    - child 1",
            '    - ~step {"step":"kinds.work","args":[1]}',
            "    - slow 1",
            "    + child 4",
        ]


def paced(app: Fanwood) -> dict[str, Any]:
    """Durable tasks whose branches go on after others have ended, on threads of their own, and by timers; they come to
    their last child, which doesn't end."""
    durable = app.durable_task(eviction_policy=EvictionPolicy(ttl=0))

    @app.task
    async def child(n: int) -> int:
        return n

    async def sleeps(n: int, ctx: Context) -> None:
        await ctx.aio_sleep_for("1h")

    slow, last = app.task(name="slow")(sleeps), app.task(name="last")(sleeps)

    @durable
    async def gathers_in_turn(input: dict, ctx: Context) -> None:
        for start in (0, 3, 6):
            await asyncio.gather(*(child.aio_run(start + n) for n in range(3)))
        await last.aio_run(1)

    @durable
    async def groups_in_turn(input: dict, ctx: Context) -> None:
        for start in (0, 3, 6):
            async with asyncio.TaskGroup() as group:
                for n in range(3):
                    group.create_task(child.aio_run(start + n))
        await last.aio_run(1)

    @durable
    async def first_completed(input: dict, ctx: Context) -> None:
        waits = [asyncio.ensure_future(slow.aio_run(1)), asyncio.ensure_future(child.aio_run(2))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await ctx.aio_step(str, 1, key="one")
        await last.aio_run(1)

    @durable
    def pool(input: dict, ctx: Context) -> None:
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(with_context(lambda: slow.run(0)))
            for each in [threads.submit(with_context(lambda n=n: child.run(n))) for n in range(1, 6)]:
                each.result()
            threads.submit(with_context(lambda: last.run(1))).result()
            first.result()

    @durable
    async def threads(input: dict, ctx: Context) -> None:
        async def chain() -> None:
            for n in range(5):
                await asyncio.to_thread(child.run, n)
            await last.aio_run(1)

        await asyncio.gather(asyncio.to_thread(slow.run, 9), chain())

    @durable
    async def timer(input: dict, ctx: Context) -> None:
        ref = await slow.aio_run_no_wait(1)
        for wait in (ref.aio_result, lambda: ctx.aio_wait_for_event("never"), lambda: ctx.aio_sleep_for("2h")):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await wait()
        await ctx.aio_step(str, 1, key="one")
        await last.aio_run(1)

    @durable
    async def keyed(input: dict, ctx: Context) -> None:
        await child.aio_run_no_wait(1, detached=True, idempotency_key="once")
        await ctx.aio_step(str, 1, key="one")
        await last.aio_run(1)

    return {each.name: each for each in (gathers_in_turn, groups_in_turn, first_completed, pool, threads, timer, keyed)}


@pytest.mark.parametrize(
    "name",
    ["gathers_in_turn", "pool", *scaled(["groups_in_turn", "first_completed", "threads", "timer", "keyed"], [])],
)
def test_unchanged_code_never_asks_for_something_else_however_its_branches_go_on(app: Fanwood, name: str) -> None:
    """Or it is said that it can't be followed: not what is wrong, as now this one is quicker, and now that one."""
    task = paced(app)[name]
    ref = task.run_no_wait({})
    until(lambda: any(run.task_name == "last" for run in app.runs.children(ref.id)), "it has come to its last child")
    record = app.engine().call(lambda store: store.get(id_bytes(ref.id))).result(60)
    for _ in range(20):
        assert rehearsing.rehearse(app, task.spec, record).text is None
    app.runs.cancel(ref.id)
