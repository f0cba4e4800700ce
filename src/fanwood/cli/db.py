"""`fanwood db`: migrate, prune and copy databases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Sentence
from fanwood.cli.engines import Engine, judged
from fanwood.cli.meter import Meter
from fanwood.clock import MICROSECONDS, SystemClock
from fanwood.model.records import PruneCount
from fanwood.settings import Settings
from fanwood.store.attending import attendance
from fanwood.store.copying import copy
from fanwood.store.opening import store_for
from fanwood.store.store import WHOLE
from fanwood.store.urls import without_password

if TYPE_CHECKING:
    from fanwood.store.store import Store

DAY = 86_400  # seconds
SHOWN = 10  # programs that are named
ROWS = {"task": "task", "run": "run", "key": "idempotency key", "log": "log", "attempt": "failed attempt"}
"""What is said to be copied. (What is being closed is copied as well, and is nobody's business.)"""


# --- migrate ---------------------------------------------------------------------------------------------------------


def migrate(dry_run: bool, common: Common) -> None:
    store = store_for(common.settings(), SystemClock())
    steps, live = looking.asked(store.url, _migrate(store, common, dry_run=dry_run))
    if common.as_json:
        workers = [_engine_json(engine) for engine in live]
        output.print_json({"url": store.url, "dry_run": dry_run, "steps": steps, "workers": workers})
        return
    for step in steps:
        click.echo(step)
    if not steps:
        output.note(f"{store.url} is up to date.")
    elif dry_run:
        output.note(f"{text.many(len(steps), 'step')} to take in {store.url}; nothing was changed.")
    else:
        output.note(f"{store.url} is up to date now.")


async def _migrate(store: Store, common: Common, *, dry_run: bool) -> tuple[list[str], list[Engine]]:
    """The steps, and who was live before them."""
    workers, now = await attendance(store, common.settings())
    live = [engine for engine in (judged(worker, now) for worker in workers) if engine.live]
    if live and not common.as_json and await store.migrate(dry_run=True):
        _say_who(live, store)
    return await store.migrate(dry_run=dry_run), live


def _say_who(live: list[Engine], store: Store) -> None:
    named = ", ".join(
        f"{engine.kind} {text.clean(engine.record.name)} on {text.clean(engine.record.host.partition('/')[0])}"
        for engine in live[:SHOWN]
    )
    more = f" and {len(live) - SHOWN:,} more" if len(live) > SHOWN else ""
    who = f"{text.many(len(live), 'program')} at work on {store.url}: {named}{more}."
    if store.embedded:
        output.warn(f"{who} A program of an older version can't go on in a newer file: stop them for the upgrade.")
    else:
        output.note(f"{who} They go on with the functions of their version; replace them afterwards.")


def _engine_json(engine: Engine) -> dict[str, Any]:
    worker = engine.record
    return {"name": worker.name, "host": worker.host.partition("/")[0], "pid": worker.pid, "kind": engine.kind}


# --- prune -----------------------------------------------------------------------------------------------------------


def prune(older_than: float | None, batch: int, dry_run: bool, common: Common) -> None:
    settings = common.settings()
    seconds = older_than if older_than is not None else settings.retention_days * DAY
    if not seconds:
        raise Sentence("How old is old? Say --older-than 30d, or set FANWOOD_RETENTION_DAYS.")
    age, namespace = round(seconds * MICROSECONDS), settings.namespace

    async def ask(store: Store) -> tuple[int, PruneCount]:
        before = store.now() - age
        return before, await store.prunable(before, namespace)

    async def delete(store: Store) -> tuple[int, int]:
        before = store.now() - age
        with Meter(quiet=common.as_json) as meter:
            return before, await _prune(store, before, batch, namespace, meter)

    if dry_run:
        before, found = looking.look(common, ask)
        runs, trees = found.runs, found.trees
        said = f"{text.many(runs, 'run')} of {text.many(trees, 'tree')} would be deleted."
    else:
        before, runs = looking.look(common, delete)
        trees = None
        said = f"{text.many(runs, 'run')} deleted."
    if common.as_json:
        output.print_json({"before": text.instant(before), "runs": runs, "trees": trees, "dry_run": dry_run})
    else:
        click.echo(said)


async def _prune(store: Store, before: int, batch: int, namespace: str, meter: Meter) -> int:
    """All there is; resting as long as working, since others may need the database."""
    deleted, cursor = 0, WHOLE
    while True:
        began = store.now()
        pruned = await store.prune(before, batch, cursor, namespace)
        deleted += pruned.runs
        if pruned.cursor is None:
            return deleted
        cursor = pruned.cursor
        meter.show(f"{deleted:,} runs deleted")
        await asyncio.sleep((store.now() - began) / MICROSECONDS)


# --- copy ------------------------------------------------------------------------------------------------------------


def copy_(source: str, target: str, as_json: bool) -> None:
    both = f"{without_password(source)} or {without_password(target)}"
    copied = looking.asked(both, _copy(Settings.load(database_url=source), Settings.load(database_url=target), as_json))
    if as_json:
        output.print_json(copied)
        return
    counts = ", ".join(
        text.many(count, ROWS[name])
        for name, count in copied["copied"].items()
        if count or name not in ("key", "attempt")
    )
    click.echo(f"Copied {counts} from {copied['from']} to {copied['to']}.")


async def _copy(source: Settings, target: Settings, quiet: bool) -> dict[str, Any]:
    clock = SystemClock()
    ours, theirs = store_for(source, clock, create=False), store_for(target, clock)
    if ours.url == theirs.url:
        raise Sentence(f"FROM and TO are the same database: {ours.url}")
    await ours.open(_no_hint)
    try:
        await theirs.migrate()
        await theirs.open(_no_hint)
        try:
            return {"from": ours.url, "to": theirs.url, "copied": await _copy_opened(ours, theirs, source, quiet)}
        finally:
            await theirs.close()
    finally:
        await ours.close()


async def _copy_opened(ours: Store, theirs: Store, settings: Settings, quiet: bool) -> dict[str, int]:
    async def guard() -> None:
        for store in (ours, theirs):
            await _refuse_live(store)

    await guard()
    for store in (ours, theirs):
        for worker in await store.workers():
            await store.reap(worker.id, settings.deaths_limit)
    with Meter(quiet=quiet) as meter:

        def show(table: str, done: int, total: int) -> None:
            meter.show(f"{table}: {done:,} of {total:,} rows")

        copied = await copy(ours, theirs, guard, show)
    return {name: copied["idem" if name == "key" else name] for name in ROWS}


async def _refuse_live(store: Store) -> None:
    live = [engine for engine in (judged(worker, store.now()) for worker in await store.workers()) if engine.live]
    if live:
        named = ", ".join(f"{engine.kind} {text.clean(engine.record.name)} ({engine.verdict})" for engine in live[:5])
        raise Sentence(
            f"{text.many(len(live), 'program')} at work on {store.url}: {named}. What it does now would not be copied. "
            f"Stop it (a lost one counts until its lease has lapsed), and copy again."
        )


def _no_hint() -> None:
    pass
