"""Commands, called in this process (`invoke`) or as a program (`program`), and a store with something in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanwood import Fanwood, Settings, SystemClock, SystemIds
from fanwood.cli import output
from fanwood.cli.main import cli
from fanwood.ids import id_text
from fanwood.model.commands import Batch, Outcome, Spawn, SpawnKind, TaskInfo, WorkerInfo
from fanwood.model.states import RunKind, RunState
from fanwood.store.opening import store_for
from tests.faults import forking

Invoke = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[str]"]

SHOP = """
from dataclasses import dataclass

from fanwood import Context, Fanwood

fanwood = Fanwood()
not_one = 5


@dataclass
class Order:
    n: int
    name: str = ""


@fanwood.task
async def square(input: Order) -> int:
    return input.n**2


@fanwood.task
async def total(input: Order) -> int:
    return sum(await square.aio_run_many([square.create_bulk_run_item(Order(i)) for i in range(input.n)]))


@fanwood.task
async def broken(input: Order) -> int:
    raise ValueError("no \\x1b[31mstock\\x07 left")


@fanwood.task
async def cancelled(input: dict, ctx: Context) -> None:
    await ctx.aio_cancel()
    await asyncio.sleep(30)


@fanwood.task
async def endless() -> None:
    await asyncio.Event().wait()


import asyncio  # noqa: E402
"""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be done to many is counted to its end, and what is small is ended before a command returns, also on a
    machine that stands still for a moment."""
    monkeypatch.setattr("fanwood.server.previews.SECONDS", 60.0)
    monkeypatch.setattr("fanwood.store.cancelling.SMALL_SECONDS", 60.0)


@pytest.fixture
def here(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module `shop`, as the current one; and an environment that says where the database is."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "shop", raising=False)  # another test's, with its own store
    for name in [name for name in os.environ if name.startswith("FANWOOD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANWOOD_DATABASE_URL", url)
    source = str(Path(__file__).parents[2] / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])))
    return tmp_path


@pytest.fixture
def invoke(here: Path) -> Invoke:
    def call(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, list(args), input=stdin, prog_name="fanwood")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def program(here: Path) -> Program:
    def call(*args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return forking.run([forking.COMMAND, *args], dict(os.environ), here, stdin)

    return call


@dataclass(frozen=True)
class Family:
    """A root with 25 children `leaf`, of which 2 failed, and 3 children `twig`."""

    id: str
    leaves: list[str]


@pytest.fixture
def family(here: Path, app: Fanwood) -> Family:
    @app.task
    async def leaf(input: dict[str, int]) -> int:
        app.get_current_context().log(f"leaf \x1b[31m{input['n']}\x1b[0m")
        if input["n"] < 2:
            raise ValueError("withered \x1b]0;title\x07away")
        return input["n"]

    @app.task
    async def twig(input: dict[str, int]) -> int:
        return input["n"]

    @app.task
    async def bush() -> int:
        leaves = [leaf.create_bulk_run_item({"n": n}) for n in range(25)]
        twigs = [twig.create_bulk_run_item({"n": n}, key=f"twig\x1b[1m {n}") for n in range(3)]
        return len(await bush.aio_run_many([*leaves, *twigs], return_exceptions=True))

    ref = bush.run_no_wait()
    assert ref.result() == 28
    children = app.runs.children(ref.id)
    found = Family(ref.id, [child.id for child in children if child.task_name == "leaf"])
    app.close()
    return found


# --- a store without an engine ---------------------------------------------------------------------------------------

HOUR = 3_600_000_000
NO_STOCK = '{"kind":"failed","type":"ValueError","message":"no stock \\u001b[31m of what was asked for"}'
METADATA = '{"customer":7,"name":"7","none":null,"tags":{"a":[1,2],"b":"x"}}'


@dataclass(frozen=True)
class Stock:
    """Who is in it: a root RUNNING, and below it one of each ten children FAILED, WAITING, QUEUED and RUNNING; then
    roots that are QUEUED. The ids are text, in the order of their making."""

    root: str
    children: list[str]
    queued: list[str]


Stocked = Callable[..., Stock]


@pytest.fixture
def stocked(here: Path, url: str) -> Stocked:
    """Makes a store's contents, by a worker that is on another host, and has vanished, or goes on living."""

    def make(children: int = 10, queued: int = 0, *, namespace: str = "", live: bool = False, to: str = "") -> Stock:
        prefix, lease = f"{namespace}/" if namespace else "", HOUR if live else 1
        with ThreadPoolExecutor(1) as thread:  # a test may have a loop of its own
            return thread.submit(asyncio.run, _stock(to or url, children, queued, prefix, lease)).result()

    return make


async def _stock(url: str, children: int, queued: int, prefix: str, lease: int) -> Stock:
    store, ids = store_for(Settings.load(database_url=url), SystemClock()), SystemIds()
    await store.open(lambda: None)
    try:
        tasks = [TaskInfo(f"{prefix}{name}", "task") for name in ("shop", "leaf", "order")]
        worker = await store.register(WorkerInfo("far", "elsewhere/1", 1, 9, lease=lease), tasks)
        root = ids.new_id()
        shop = SpawnKind(f"{prefix}shop", metadata=METADATA, run_kind=RunKind.WORKFLOW)
        await store.commit(worker, Batch(spawns=[Spawn(shop, root, None, "{}", claimed=True)]))
        leaf = SpawnKind(f"{prefix}leaf", parent_id=root, parent_attempt=1, root_id=root, depth=1)
        born = [
            Spawn(leaf, ids.new_id(), n.to_bytes(16, "big"), f"{n}", index=n, child_key=f"leaf {n}", claimed=True)
            for n in range(children)
        ]
        await store.commit(worker, Batch(spawns=born))
        outcomes = [outcome for n, spawn in enumerate(born) if (outcome := _outcome(n, spawn.id)) is not None]
        await store.commit(worker, Batch(outcomes=outcomes))
        order = SpawnKind(f"{prefix}order", metadata='{"customer":8}')
        waiting = [Spawn(order, ids.new_id(), None, f"{n}") for n in range(queued)]
        await store.commit(worker, Batch(spawns=waiting))
    finally:
        await store.close()
    return Stock(id_text(root), [id_text(spawn.id) for spawn in born], [id_text(spawn.id) for spawn in waiting])


def _outcome(n: int, run_id: bytes) -> Outcome | None:
    match n % 10:
        case 3:
            return Outcome(run_id, 1, RunState.FAILED, None, NO_STOCK, busy=1000)
        case 4:
            return Outcome(run_id, 1, RunState.QUEUED, None, NO_STOCK, retry=True, delay=HOUR, busy=1_500_000)
        case 5:
            return Outcome(run_id, 1, RunState.QUEUED)
        case 6:
            return None
        case _:
            return Outcome(run_id, 1, RunState.COMPLETED, "1", busy=5000)


def short(run_id: str) -> str:
    """What a terminal shows of it."""
    return run_id[-8:]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have a person look on, at so many columns."""

    def look(columns: int) -> None:
        monkeypatch.setattr(output, "on_terminal", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return look
