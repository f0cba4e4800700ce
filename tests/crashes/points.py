"""
Named points at which a process may be killed. The product knows nothing of them: they stand around what it does anyway,
and are put there in a process that is to die.

    engine: Ticks._deliver: begins       a step of the engine, of a worker, or of copying (`STEPS`), before and after it
    verb: cancel: done                   a verb of the store
    sqlite: commit/insert_run            a statement of a transaction, by its verb and its name in the .sql files
    file: wal: write                     what SQLite asks of the operating system
    postgres: commit/fw_commit: sent     a statement: before it is sent, and when it was; what comes next has its answer
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.resources
import inspect
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import apsw

from fanwood.store.looks import Looks
from fanwood.store.postgres import connection as links
from fanwood.store.postgres.driver import connection_class
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.sqlite.store import SqliteStore
from fanwood.store.statements import load
from fanwood.store.store import Store

Hit = Callable[[str], None]

STEPS = {
    "fanwood.engine.engine": ["Engine.spawn", "Engine.record", "Engine.report", "Engine.stop"],
    "fanwood.engine.ticks": ["Ticks._fill", "Ticks._commit", "Ticks._deliver", "Ticks._offer", "Ticks._hear"],
    "fanwood.engine.commits": ["Commits.commit", "Commits._try"],
    "fanwood.engine.delivery": ["Delivery.deliver"],
    "fanwood.engine.inbox": ["SpawnRequest.answer"],
    "fanwood.engine.waits": ["Collector.put", "Outputs.put"],
    "fanwood.engine.calls": ["Calls._run"],
    "fanwood.engine.membership": ["Membership.enter", "Membership.employ", "Membership.retire", "Membership.leave"],
    "fanwood.engine.housekeeping": ["Housekeeping.look_around", "Housekeeping._fire_timers"],
    "fanwood.engine.closing": ["Closing._sweep"],
    "fanwood.engine.retention": ["Retention._prune"],
    "fanwood.worker.executor": [
        "Executor.offer",
        "Executor.notice",
        "Executor._prepare",
        "Executor._finish",
        "Executor._conclude",
        "Executor.limits_reached",
        "Executor.begin_stop",
        "Executor.hand_back_all",
    ],
    "fanwood.server.deeds": ["_do"],
    "fanwood.server.scripted": ["Begun.begin", "Begun.result", "Begun.close"],
    "fanwood.sdk.children.owning": ["GivenUp._begin", "GivenUp._cancel"],
    "fanwood.sdk.waits.steps": ["_ended"],
    "fanwood.sdk.running.unloading": ["Unloading._look", "Unloading._command", "Unloading._answered"],
    "fanwood.worker.worker": ["Worker._drain"],
    "fanwood.worker.local": ["LocalWorker.close"],
    "fanwood.cli.db": ["_migrate", "_prune", "copy", "_copy_opened"],
    "fanwood.store.copying": ["_refuse_strangers", "_compare"],
    "fanwood.store.sqlite.connection": ["make_folder"],
    "fanwood.store.sqlite.store": ["connect", "migrate"],
    "fanwood.store.postgres.schema": ["check", "migrate", "_apply", "_apply_outside", "_apply_layer"],
}
"""From module to its steps, by the names that they have there."""
NO_CHANGE = {
    "now", "watch", "get", "find", "previews", "listing", "children", "recalled", "child_counts", "tree_counts",
    "tree_slowest", "tree_failures", "logs", "attempts", "log_end", "report", "workers", "tasks", "served", "left_over",
    "unserved", "contended", "prunable", "count", "deadlines", "is_heard", "audit", "circumstances", "recorded",
    "recorded_few", "asking", "event", "open_events", "value", "pauses", "balances", "spent", "counted",
    "kept", "forks", "lineage",
}  # fmt: skip
VERBS = sorted(Store.__abstractmethods__ - Looks.__abstractmethods__ - NO_CHANGE)
"""Verbs that change something, or stand at the beginning or end of a store's life, or of a page of a copy."""

FILES = "points"
WRITES = apsw.SQLITE_OPEN_READWRITE
_kept: list[apsw.VFS] = []  # which are gone when nobody has them

_verb: ContextVar[str] = ContextVar("verb", default="")
_COMMENT = re.compile(r"--[^\n]*")
_OF_A_CONNECTION = re.compile(r"pragma (?!\"?(journal_mode|application_id|user_version)\"?\()", re.IGNORECASE)
_FUNCTION = re.compile(r"\bfw\d*_(\w+)\(")


def put(hit: Hit) -> None:
    """Have all points told to `hit`, in this process, for good."""
    for module, names in STEPS.items():
        for name in names:
            _around_step(hit, importlib.import_module(module), name)
    for store in (SqliteStore, PostgresStore):
        for verb in VERBS:
            setattr(store, verb, _around(hit, f"verb: {verb}", getattr(store, verb), verb))
    _kept.append(_Files(hit))
    apsw.Connection = _Connection
    apsw.connection_hooks.append(functools.partial(_trace, hit))
    spoken = _speaking(hit, connection_class())
    links.connection_class = lambda: spoken


# --- steps and verbs -------------------------------------------------------------------------------------------------


def _around_step(hit: Hit, place: Any, name: str) -> None:
    *owners, last = name.split(".")
    for owner in owners:
        place = getattr(place, owner)
    setattr(place, last, _around(hit, f"engine: {name}", getattr(place, last)))


def _around(hit: Hit, name: str, step: Any, verb: str = "") -> Any:
    begins, done = f"{name}: begins", f"{name}: done"

    @functools.wraps(step)
    async def aio_stepped(*arguments: Any, **named: Any) -> Any:
        token = _verb.set(verb or _verb.get())
        try:
            hit(begins)
            answer = await step(*arguments, **named)
            hit(done)
            return answer
        finally:
            _verb.reset(token)

    @functools.wraps(step)
    def stepped(*arguments: Any, **named: Any) -> Any:
        hit(begins)
        answer = step(*arguments, **named)
        hit(done)
        return answer

    return aio_stepped if inspect.iscoroutinefunction(step) else stepped


# --- SQLite ----------------------------------------------------------------------------------------------------------


@functools.cache
def _statements() -> dict[str, str]:
    """From the beginning of a statement's text to its name."""
    store = importlib.resources.files("fanwood.store")
    paths = [
        f"{folder}/{file.name}"
        for folder in ("sqlite", "postgres", "sql")
        for file in store.joinpath(folder).iterdir()
        if file.name.endswith(".sql")
    ]
    return {_key(text): name for path in paths for name, text in load(path).items()}


def _key(text: str) -> str:
    return _COMMENT.sub("", text).split("values")[0].strip()[:200]


@functools.cache
def _named(text: str) -> str:
    """Empty for what changes nothing but a connection."""
    if _OF_A_CONNECTION.match(text):
        return ""
    name = _statements().get(_key(text))
    if name is None:
        function = _FUNCTION.search(text)
        name = f"fw_{function[1]}" if function else " ".join(_key(text).split()[:4]).rstrip(";")[:40]
    return name


def _trace(hit: Hit, connection: Any) -> None:
    def traced(_: object, text: str, __: object) -> bool:
        if (verb := _verb.get()) and (name := _named(text)):  # else somebody only looks
            hit(f"sqlite: {verb}/{name}")
        return True

    connection.exec_trace = traced


class _Files(apsw.VFS):
    """SQLite's own way to the disk."""

    def __init__(self, hit: Hit) -> None:
        self.hit = hit
        self.base = apsw.vfs_names()[0]
        super().__init__(FILES, base=self.base)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  (SQLite's name)
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.hit(f"file: {_kind(filename)}: delete")
        super().xDelete(filename, syncdir)


class _Connection(apsw.Connection):
    """By that way, if it writes. (The last one that reads tries for a lock that it can't have. SQLite takes that
    easily, and the way back through Python does not.)"""

    def __init__(self, name: str, flags: int = WRITES | apsw.SQLITE_OPEN_CREATE, **about: Any) -> None:
        if flags & WRITES:
            about["vfs"] = FILES
        super().__init__(name, flags=flags, **about)


def _kind(path: str) -> str:
    return path.rpartition(".db")[2].lstrip("-") or "db"


class _File(apsw.VFSFile):
    def __init__(self, files: _Files, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__(files.base, name, flags)
        self._hit, self._kind = files.hit, _kind(path or "")

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._hit(f"file: {self._kind}: write")
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._hit(f"file: {self._kind}: truncate")
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._hit(f"file: {self._kind}: sync")
        super().xSync(flags)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def _speaking(hit: Hit, base: Any) -> Any:
    async def said(name: str, step: Any) -> Any:
        if not _verb.get():  # somebody only looks
            return await step
        hit(f"{name}: asked")
        asking = asyncio.ensure_future(step)
        await asyncio.sleep(0)
        hit(f"{name}: sent")
        return await asking

    def of(text: str) -> str:
        return f"postgres: {_verb.get()}/{_named(text)}"

    class Connection(base):
        async def fetch(self, query: str, *values: Any, **named: Any) -> Any:
            return await said(of(query), base.fetch(self, query, *values, **named))

        async def fetchval(self, query: str, *values: Any, **named: Any) -> Any:
            return await said(of(query), base.fetchval(self, query, *values, **named))

        async def execute(self, query: str, *values: Any, **named: Any) -> Any:
            return await said(of(query), base.execute(self, query, *values, **named))

        async def copy_records_to_table(self, table_name: str, **named: Any) -> Any:
            return await said(
                f"postgres: {_verb.get()}/copy {table_name}", base.copy_records_to_table(self, table_name, **named)
            )

    return Connection
