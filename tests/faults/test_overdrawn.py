"""Many processes spend of one budget at the same time, and some are killed in the middle: it is never overdrawn."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fanwood import Settings, SystemClock
from fanwood.errors import StoreBusyError, StoreUnavailableError
from fanwood.model.budgets import Refusal, Spend
from fanwood.model.commands import Batch, Outcome, Spawn, SpawnKind, TaskInfo, WorkerInfo
from fanwood.model.states import RunState
from fanwood.store.auditing import findings
from fanwood.store.opening import store_for
from tests.chaos.scale import scaled

if TYPE_CHECKING:
    from fanwood.store.store import Store

PROCESSES, KILLED = 8, 3
MOST = scaled(1000, 120)
SCRIPT = """
import asyncio, sys
from tests.faults.test_overdrawn import spend_all
asyncio.run(spend_all(sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3])))
"""
ROOT = Path(__file__).parents[2]


def opened(url: str) -> Store:
    return store_for(Settings.load(database_url=url), SystemClock())


async def patiently(store: Store, spends: list[Spend]) -> list[Refusal | None]:
    """As an engine does: what passes is tried again, under the same ids."""
    while True:
        try:
            return await store.spend(spends)
        except (StoreBusyError, StoreUnavailableError):
            await asyncio.sleep(0.01)


async def spend_all(url: str, run: bytes, number: int) -> None:
    """Until there is nothing left: spends, and reservations of which a part is spent."""
    store = opened(url)
    await store.open(lambda: None)
    print("ready", flush=True)
    sys.stdin.readline()  # so that all begin at once
    for count in range(10_000):
        id_ = b"%02d%014d" % (number, 2 * count)
        if count % 2:
            held = await patiently(store, [Spend(run, 1, id_, {"usd": 3}, reserve=True)])
            if held == [None]:
                own = b"%02d%014d" % (number, 2 * count + 1)
                await patiently(store, [Spend(run, 1, own, {"usd": 1}, of=id_, release=True)])
                print("spent", flush=True)
                continue
        elif await patiently(store, [Spend(run, 1, id_, {"usd": 1})]) == [None]:
            print("spent", flush=True)
            continue
        if await patiently(store, [Spend(run, 1, b"%02d%014d" % (number, 10**9 + count), {"usd": 1})]) != [None]:
            break
        print("spent", flush=True)
    await store.close()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_a_budget_is_never_overdrawn(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path}/b.db" if backend == "sqlite" else request.getfixturevalue("postgres_url")
    asyncio.run(_race(url))


async def _race(url: str) -> None:
    store = opened(url)
    await store.open(lambda: None)
    me = await store.register(WorkerInfo("w", "elsewhere", 1, 1, ("a",), 600_000_000), [TaskInfo("a", "task")])
    run = b"r" * 16
    await store.commit(me, Batch(spawns=[Spawn(SpawnKind("a", part=(("usd", MOST),)), run, None, "{}", claimed=True)]))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, url, run.hex(), str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes[:KILLED]:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()  # perhaps with something reserved, and perhaps with something spent that it never heard of
        told = [process.communicate(timeout=500)[0].count("spent") for process in processes]
        assert all(process.returncode == 0 for process in processes[KILLED:])
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    [limit] = await store.balances(run)
    assert limit.used + limit.held <= MOST
    assert limit.used >= sum(told)
    assert MOST - limit.used - limit.held < 1  # all of it was there to be had
    assert [found async for found in findings(store, full=True)] == []
    await store.commit(me, Batch(outcomes=[Outcome(run, 1, RunState.COMPLETED, "1")]))
    [limit] = await store.balances(run)
    assert limit.held == 0
    assert [found async for found in findings(store, full=True)] == []
    await store.close()
