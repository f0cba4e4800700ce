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
from typing import Any

import msgspec
import pytest

from benchmarks.trees import make, wide
from fanwood import Settings
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.store.store import Store
from tests.chaos.scale import scaled
from tests.server.desk import PATIENCE

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


@pytest.mark.parametrize("verb", ["retry", "fork"])
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
