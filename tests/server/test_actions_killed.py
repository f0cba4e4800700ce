"""A server that is killed in the midst of an action: the next one goes on with it, and does nothing twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import msgspec
import pytest

from benchmarks.trees import make, wide
from fanwood import Fanwood, Settings
from fanwood.ids import id_bytes, id_text
from fanwood.model.records import RunFilter
from fanwood.model.states import RunState
from fanwood.sdk.listing import collect
from fanwood.server.choosing import Action
from fanwood.store.store import Store
from tests.chaos.scale import FULL, scaled
from tests.server.desk import PATIENCE


class Step(NamedTuple):
    """An action on all orders, or on all batches; and the state and priority in which those are then."""

    action: Action
    state: str
    priority: int = 1
    task: str = "order"
    of: str | None = None  # only those in this state


STEPS = [
    Step("pause", "queued"),
    Step("resume", "queued"),
    Step("reprioritize", "queued", 7),
    Step("cancel", "cancelled", 7),
    Step("retry", "queued", 7, of="cancelled"),
    Step("cancel", "cancelled", 7),
    Step("replay", "queued", 7),
    Step("cancel", "cancelled", 7),
    Step("delete", ""),
    Step("retry_failures", "queued", task="batch"),
]
SHORT = [Step("pause", "queued"), Step("delete", "", task="batch")]
ORDERS, TAKEN = scaled((330, STEPS), (60, SHORT))
"""Some more than a slice of what is done at a time."""
RUNS, FAILED, ENOUGH = scaled((5_001, 1_100, 400), (801, 520, 150))


@contextmanager
def served(settings: Settings) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    environment = {**os.environ, "FANWOOD_DATABASE_URL": settings.database_url}
    command = [sys.executable, "-m", "fanwood", "ui", "--json", "--no-open", "--no-login", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        assert process.stdout is not None
        yield msgspec.json.decode(process.stdout.readline())["url"], process
    finally:
        process.terminate()
        process.communicate()


async def ask(url: str, path: str, body: Any = None) -> Any:
    headers = {"content-type": "application/json", "sec-fetch-site": "same-origin"}
    data = None if body is None else msgspec.json.encode(body)
    request = urllib.request.Request(f"{url}api/v1{path}", data, headers)

    def fetch() -> Any:
        with urllib.request.urlopen(request) as answer:
            return msgspec.json.decode(answer.read())

    return await asyncio.to_thread(fetch)


async def until(url: str, enough: int) -> Any:
    """How the only action stands, once it has seen so many runs, or is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            [action] = (await ask(url, "/actions"))["actions"]
            if action.get("seen", 0) >= enough or "finished_at" in action:
                return action
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("verb", ["retry", pytest.param("fork", marks=pytest.mark.long)])
async def test_kill_9(settings: Settings, store: Store, verb: str):
    made = await make(settings, replace(wide(RUNS, failed=FAILED, running=0), state=RunState.COMPLETED))
    failed = await store.children(made.root, state=RunState.FAILED, limit=5_000)
    with served(settings) as (url, process):
        filter_ = {"tree": id_text(made.root), "state": "failed"}
        preview = await ask(url, "/actions", {"action": verb, "filter": filter_, "dry_run": True})
        assert preview["count"] == FAILED
        await ask(url, "/actions", {"token": preview["token"]})
        await until(url, ENOUGH)
        process.kill()
        process.wait()
    with served(settings) as (url, _):
        done = await until(url, FAILED + 1)
    assert (done["state"], done["done"], done.get("left", 0)) == ("completed", FAILED, 0)
    if verb == "fork":
        forks = [await store.forks(run.id) for run in failed]
        assert {len(each) for each in forks} == {1}, "one of each"
        assert {each[0].by for each in forks} == {"anyone"}
        return
    states = {count.state for count in await store.child_counts(made.root)}
    assert RunState.FAILED not in states
    again = await store.children(made.root, state=RunState.QUEUED, limit=5_000)
    assert len(again) == FAILED + RUNS // 20, "each was queued, and those that were queued before"


def test_every_kind_of_action_is_taken():
    assert {*(step.action for step in STEPS), "fork"} == set(get_args(Action))  # (forks: `test_kill_9`)


@pytest.mark.long
async def test_kill_9_of_each_kind(settings: Settings, store: Store):
    await _orders_and_batches(settings)
    known, caught = set[bytes](), 0
    for step in TAKEN:
        with served(settings) as (url, process):
            filter_ = {"task": step.task} | ({"state": step.of} if step.of else {})
            asked = {"action": step.action, "filter": filter_, "dry_run": True}
            preview = await ask(url, "/actions", asked | ({"priority": 7} if step.action == "reprioritize" else {}))
            assert preview["count"] == ORDERS
            action = id_bytes((await ask(url, "/actions", {"token": preview["token"]}))["id"])
            async with asyncio.timeout(PATIENCE):
                while not await store.children(action, task="fanwood.actions/piece", limit=1):
                    await asyncio.sleep(0.002)
            process.kill()
            process.wait()
            caught += not (await store.get(action)).state.is_terminal
        with served(settings):
            async with asyncio.timeout(PATIENCE):
                while not (run := await store.get(action)).state.is_terminal:
                    await asyncio.sleep(0.02)
        tally: Any = msgspec.json.decode(run.output or "null")
        assert (tally["done"], tally.get("left", 0)) == (ORDERS, 0), step
        await _is_as_it_should(store, step)
        assert action not in known
        known.add(action)
    assert caught > len(TAKEN) // 2 or not FULL, (
        "what was killed had ended"
    )  # (of a few it may have, on a busy machine)


async def _orders_and_batches(settings: Settings) -> None:
    """Orders that nobody serves, and batches that have completed, though what is below them failed."""
    async with Fanwood(settings.database_url, local_worker=True, shared=False) as app:

        @app.task
        async def part(n: int) -> None:
            raise ValueError(n)

        @app.task
        async def batch(n: int) -> int:
            await part.aio_run_many([part.create_bulk_run_item(n)], return_exceptions=True)
            return n

        await batch.aio_run_many([batch.create_bulk_run_item(n) for n in range(ORDERS)])
    async with Fanwood(settings.database_url, local_worker=False, shared=False) as app:

        @app.task
        async def order(n: int) -> int:
            return n

        await order.aio_run_many_no_wait([order.create_bulk_run_item(n) for n in range(ORDERS)])


async def _is_as_it_should(store: Store, step: Step) -> None:
    found = (await collect(store.listing, RunFilter(task=step.task, limit=ORDERS + 1))).runs
    assert len(found) == (ORDERS if step.state else 0), step
    wanted = {(step.state, step.priority)} if step.state else set[Any]()
    assert {(run.state.name.lower(), run.priority) for run in found} == wanted, step
    if step.action in ("pause", "resume"):
        paused = {run.id async for run in _paused(store)}
        assert paused == ({run.id for run in found} if step.action == "pause" else set()), step


async def _paused(store: Store):
    """All that is paused itself."""
    last = (-1, b"")
    while page := await store.pauses((), last):
        for pause in page:
            yield await store.get(pause.run_id)
        last = (page[-1].made_at, page[-1].run_id)
