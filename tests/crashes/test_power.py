"""
The power fails, at any moment: a SQLite file holds what was acknowledged, is whole, and goes on.

Everything happens in this process, by SQLite's own library, on a disk that says afterwards what may be left
(`tests/crashes/disk.py`). What is found on it must be the state that the database had after one of its transactions:
the last that was acknowledged, or a later one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner

from fanwood import Context, Fanwood, TaskRunError
from fanwood.cli.main import cli
from fanwood.store.sqlite import connection as connections
from fanwood.store.sqlite import store as stores
from fanwood.store.sqlite.store import SqliteStore
from tests.crashes.disk import Acknowledged, Disk, Recording

CUTS = int(os.environ.get("FANWOOD_POWER_CUTS", "150"))
RESUMED = max(4, CUTS // 100)
"""After so many of them all is gone on with, to the end."""
NOBODY = 1 << 23
"""No process has this number."""


def state_of(db: Any) -> str:
    """All that a database holds."""
    tables = db.execute("select name from sqlite_schema where type = 'table' order by 1").fetchall()
    rows = [(name, db.execute(f"select * from {name}").fetchall()) for (name,) in tables]
    return hashlib.sha1(repr(rows).encode()).hexdigest()


class Witness:
    """Which states the database had, in order, and which of them somebody was told of."""

    def __init__(self, record: Recording) -> None:
        self.states = [hashlib.sha1(b"[]").hexdigest()]
        self._record = record
        self._later: set[SqliteStore] = set()  # what they do may be lost

    def _note(self, db: Any) -> int:
        """Within the transaction, so that they come in their order."""
        self.states.append(state_of(db))
        return len(self.states) - 1

    def _acknowledge(self, state: int) -> None:
        self._record.events.append(Acknowledged(state))

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        transaction, unsynced, migrate = SqliteStore._transaction, SqliteStore._unsynced, stores.migrate

        @contextlib.contextmanager
        def in_transaction(store: SqliteStore) -> Iterator[Any]:
            with transaction(store) as db:
                yield db
                state = self._note(db)
            # Who changed nothing waits for no disk: he says no more than was said before, whatever he has read.
            if store not in self._later and self.states[state] != self.states[state - 1]:
                self._acknowledge(state)

        @contextlib.contextmanager
        def in_unsynced(store: SqliteStore) -> Iterator[None]:
            self._later.add(store)
            try:
                with unsynced(store):
                    yield
            finally:
                self._later.remove(store)

        def migrating(db: Any, path: Path) -> list[str]:
            steps = migrate(db, path)
            if steps:
                self._acknowledge(self._note(db))
            return steps

        patch.setattr(SqliteStore, "_transaction", in_transaction)
        patch.setattr(SqliteStore, "_unsynced", in_unsynced)
        patch.setattr(stores, "migrate", migrating)


def application(url: str) -> Fanwood:
    app = Fanwood(url, local_worker=True, shared=False, slots=4)

    @app.task(retries=1, backoff_factor=1, backoff_max_seconds=0.01)
    async def child(input: dict, ctx: Context) -> int:
        ctx.log(f"child {input['n']}")
        if input["n"] == 3 and ctx.retry_count == 0:
            raise ValueError("once more")
        return input["n"] ** 2

    @app.task
    async def parent(input: dict) -> int:
        items = [child.create_bulk_run_item({"n": n, "text": "x" * 300}) for n in range(input["n"])]
        return sum(await child.aio_run_many(items))

    @app.task
    async def fails(input: dict) -> None:
        await parent.aio_run_no_wait(input)
        raise ValueError("it fails, and what is below it is closed")

    return app


def live(url: str) -> None:
    """Everything that changes rows."""
    for _ in range(2):  # whoever comes second finds a file without a log
        with application(url) as app:
            parent, fails = app.find("parent"), app.find("fails")
            assert parent.run({"n": 5}) == 30
            assert parent.run_no_wait({"n": 4}, idempotency_key="once").result(60) == 14
            with pytest.raises(TaskRunError):
                fails.run({"n": 30})
            cancelled = parent.run_no_wait({"n": 40})
            app.runs.cancel(cancelled.id)
            ended = parent.run_no_wait({"n": 3})
            assert ended.result(60) == 5
            app.runs.replay(ended.id)
            with application(url) as other:  # as another process does: two write to one log
                refs = [each.find("parent").run_no_wait({"n": 4}) for each in (app, other, app, other)]
                assert [ref.result(60) for ref in refs] == [14] * 4
            app.engine().call(lambda store: store.prune(store.now(), 50)).result(60)


def lived(folder: Path, live: Callable[[str], None] = live) -> tuple[Recording, Witness]:
    with pytest.MonkeyPatch.context() as patch, Recording() as record:
        patch.setattr(connections, "CHECKPOINT_PAGES", 20)
        witness = Witness(record)
        witness.watch(patch)
        live(f"sqlite:///{folder}/fanwood.db")
    return record, witness


def wrong(folder: Path, allowed: list[str]) -> str:
    """What is the matter with a file that was found after the power was back."""
    path = folder / "fanwood.db"
    if not path.exists():
        return "" if allowed[0] == hashlib.sha1(b"[]").hexdigest() else "there is no file"
    with contextlib.closing(apsw.Connection(str(path))) as db:
        if (said := db.execute("pragma integrity_check").get) != "ok":
            return f"it is damaged: {said}"
        return "" if state_of(db) in allowed else "something that was acknowledged is gone, or half there"


def cuts(record: Recording, count: int, dice: random.Random) -> Iterator[tuple[int, Disk]]:
    """The disk at so many moments."""
    disk, chosen = Disk(), set(dice.sample(range(len(record.events)), min(count, len(record.events))))
    for number, event in enumerate(record.events):
        disk.do(event)
        if number in chosen:
            yield number, disk


def found_wrong(folder: Path, dice: random.Random, count: int = CUTS, live: Callable[[str], None] = live) -> list[str]:
    record, witness = lived(folder.parent, live)
    found: list[str] = []
    for number, disk in cuts(record, count, dice):
        left = folder / str(number)
        left.mkdir()
        disk.cut(left, dice)
        if said := wrong(left, witness.states[max(0, disk.acknowledged) :]):
            found.append(f"cut after event {number}: {said}")
        elif dice.random() > RESUMED / count:
            shutil.rmtree(left)
    return found


@pytest.fixture
def left(tmp_path: Path) -> Path:
    (tmp_path / "left").mkdir()
    return tmp_path / "left"


def test_what_was_acknowledged_is_there_whenever_the_power_fails(left: Path) -> None:
    seed = int(os.environ.get("FANWOOD_POWER_SEED", "1"))
    assert found_wrong(left, random.Random(seed)) == []
    for folder in left.iterdir():
        if (folder / "fanwood.db").exists():
            goes_on(folder / "fanwood.db")


def goes_on(path: Path) -> None:
    """Whoever opens it ends what is in it, and the doctor finds nothing."""
    url = f"sqlite:///{path}"
    with application(url) as app:
        app.engine()
        with contextlib.closing(apsw.Connection(str(path))) as db:
            db.set_busy_timeout(60_000)
            db.execute("update worker set pid = ? where id < (select max(id) from worker)", [NOBODY])
        assert app.find("parent").run({"n": 4}, timeout=60) == 14
        assert app.find("parent").run_no_wait({"n": 4}, idempotency_key="once").result(60) == 14
        for run in app.runs.list(all_runs=True, limit=1000):
            if not run.status.is_terminal:
                with contextlib.suppress(TaskRunError):
                    app.runs.get_run_ref(run.id).result(60)
    result = CliRunner().invoke(cli, ["doctor", "--full", "--url", url], prog_name="fanwood")
    assert result.exit_code == 0, result.output


def test_a_sync_that_is_left_out_is_seen(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transaction = SqliteStore._transaction

    @contextlib.contextmanager
    def lax(store: SqliteStore) -> Iterator[Any]:
        assert store._connection is not None
        # Each time: after a transaction that may be lost, the store has all others synced again.
        store._connection.pragma("synchronous", "normal")
        with transaction(store) as db:
            yield db

    monkeypatch.setattr(SqliteStore, "_transaction", lax)
    assert "acknowledged" in "".join(found_wrong(left, random.Random(1), 40))


def test_who_changes_nothing_acknowledges_nothing(left: Path) -> None:
    """Also not what may be lost, and he has read."""

    async def change(store: Any) -> None:
        with store._transaction():
            store._connection.execute("create table said (number)")
        for number in range(20):
            with store._unsynced():
                store._connection.execute("insert into said values (?)", [number])
            with store._transaction():
                pass

    def live(url: str) -> None:
        with application(url) as app:
            app.engine().call(change).result(60)

    assert found_wrong(left, random.Random(1), live=live) == []


@pytest.mark.skipif(os.name != "posix", reason="folders can't be synced there")
def test_the_folders_that_we_make_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    fsync = os.fsync

    def note(number: int) -> None:
        fsync(number)
        about = os.fstat(number)
        synced.append((about.st_dev, about.st_ino))

    monkeypatch.setattr(os, "fsync", note)
    with Fanwood(f"sqlite:///{tmp_path}/new/.fanwood/fanwood.db", local_worker=False) as app:
        app.engine()
    for folder in (tmp_path, tmp_path / "new"):
        about = folder.stat()
        assert (about.st_dev, about.st_ino) in synced
