"""Scenarios of processes and databases: what is deleted, workers that stop and die, schemas, copies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from fanwood import RunEvent, RunNotFoundError, RunState, TaskRunError
from fanwood.store.postgres import connection as links
from fanwood.store.postgres.release import Step, present
from fanwood.store.sqlite import connection as connections
from fanwood.store.sqlite.connection import migrations
from fanwood.worker import untold
from tests.crashes.ground import Ground, answers, asked, failing, scenario, swept
from tests.crashes.tasks import PATIENCE, began, ended_soon
from tests.raw import sql


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
        while any("/" not in run.task_name for run in app.runs.list(all_runs=True, limit=100)):  # (not of actions)
            ended_soon.wait(0.02)


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


def _tell_soon() -> None:
    untold.EVERY, untold.TURN, untold.LATE_OF_SERVERS = 0.02, 0.5, 0


@scenario(prepared=_tell_soon)
def hooks(ground: Ground) -> None:
    """Of what nobody has begun in time a hook is told all the same."""
    with ground.app(slots=1) as app:
        told = app.on_failure(_Told())
        occupied = asked(app, ground, "occupies", key=f"{os.getpid()}")
        while occupied.status() is RunState.QUEUED:
            ended_soon.wait(0.005)
        late = asked(app, ground, "late", key=f"{os.getpid()}", n=1)
        with contextlib.suppress(TaskRunError):
            late.result(PATIENCE)
        while late.status() is RunState.FAILED and late.id not in told.ids:
            ended_soon.wait(0.02)


class _Told:
    """A hook."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def __call__(self, event: RunEvent) -> None:
        self.ids.add(event.run_id)


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
        with failing():
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
