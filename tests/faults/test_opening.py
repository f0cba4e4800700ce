"""Databases that can't be used: each is refused with a sentence that names it, and says what to do."""

import asyncio
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from fanwood import Fanwood
from fanwood.engine import membership
from fanwood.errors import (
    StoreBusyError,
    StoreError,
    StoreForeignError,
    StoreSchemaError,
    StoreUnavailableError,
)
from fanwood.model.states import RunState
from fanwood.store.sqlite import connection as sqlite_connection
from tests.faults.processes import Site

NOBODY = 65534


def refusal(url: str, kind: type[StoreError]) -> str:
    app = Fanwood(url, local_worker=False)
    with pytest.raises(StoreError) as caught:
        app.engine()
    app.close()
    assert type(caught.value) is kind
    return str(caught.value)


def test_eight_processes_open_a_new_database_at_once(site: Site) -> None:
    processes = [site.process("open") for _ in range(8)]
    for process in processes:
        process.expect("ready")
    for process in processes:
        process.say()
    for process in processes:
        process.expect("opened")
    assert site.rows("select count(*), count(distinct pid) from worker") == [(8, 8)]
    assert site.rows("pragma integrity_check") == [("ok",)]
    for process in processes:
        process.say()
        assert process.wait() == 0
        assert process.log == ""
    assert site.rows("select * from worker") == []


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, " * 1000)
    assert refusal(f"sqlite:///{path}", StoreForeignError) == (
        f"{path} is not a SQLite database. Nothing in it was touched. Name another file."
    )
    assert path.read_text() == "Dear diary, " * 1000
    assert list(tmp_path.iterdir()) == [path]


def test_the_database_of_another_application(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    db = apsw.Connection(str(path))
    db.execute("create table orders (id)")
    db.close()
    before = path.read_bytes()
    assert refusal(f"sqlite:///{path}", StoreForeignError) == (
        f"{path} is a SQLite database, but not one of Fanwood's. Nothing in it was touched. "
        f"Name another file, e.g. sqlite:///{tmp_path}/fanwood.db"
    )
    assert path.read_bytes() == before


def test_an_empty_database_that_another_application_has_marked(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    db = apsw.Connection(str(path))
    db.pragma("application_id", 77)
    db.close()
    assert "but not one of Fanwood's" in refusal(f"sqlite:///{path}", StoreForeignError)


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    path.touch()
    with Fanwood(f"sqlite:///{path}") as app:
        assert app.runs.list() == []


def test_a_newer_schema(site: Site) -> None:
    with Fanwood(site.url) as app:
        app.engine()
    db = apsw.Connection(str(site.database))
    known = db.pragma("user_version")
    db.pragma("user_version", 999)
    db.close()
    assert refusal(site.url, StoreSchemaError) == (
        f"{site.database} has schema version 999, and this Fanwood knows versions up to {known}. It was written by a "
        f"newer Fanwood: upgrade this one, or name another file."
    )


@pytest.mark.parametrize("version", [1, 2])
def test_a_schema_from_before_the_first_release(site: Site, version: int) -> None:
    with Fanwood(site.url) as app:
        app.engine()
    db = apsw.Connection(str(site.database))
    db.pragma("user_version", version)
    db.close()
    said = refusal(site.url, StoreSchemaError)
    assert f"{site.database} has schema version {version}, of a Fanwood before its first release" in said
    assert "Nothing in it was touched" in said


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder.db"
    folder.mkdir()
    assert refusal(f"sqlite:///{folder}", StoreUnavailableError) == (
        f"{folder} can't be opened (unable to open database file). It is a folder."
    )


def test_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(f"sqlite:///{tmp_path}/file/fanwood.db", StoreUnavailableError) == (
        f"{tmp_path}/file can't be made: File exists"
    )


def test_locked_by_another_program(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with Fanwood(site.url) as app:
        app.engine()
    monkeypatch.setattr(sqlite_connection, "BUSY_MS", 1000)
    other = apsw.Connection(str(site.database))
    other.execute("begin exclusive")
    try:
        assert refusal(site.url, StoreBusyError) == (
            f"{site.database} was locked by another program for over 1 s (database is locked)."
        )
    finally:
        other.execute("rollback")
        other.close()


def test_locked_while_work_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs waits until the lock is gone; nothing is lost."""
    monkeypatch.setattr(sqlite_connection, "BUSY_MS", 100)
    with Fanwood(site.url, local_worker=True) as app:

        @app.task
        def task(input: dict) -> int:
            return input["n"]

        assert task.run({"n": 1}) == 1
        other = apsw.Connection(str(site.database))
        other.execute("begin immediate")
        try:
            with pytest.raises(StoreBusyError, match=r"fanwood\.db was locked by another program for over 0 s"):
                task.run({"n": 2})
        finally:
            other.execute("rollback")
            other.close()
        assert task.run({"n": 3}) == 3
    said = [record.message for record in caplog.records]
    assert [m for m in said if "was locked by another program" in m and m.endswith("trying again until it works.")]
    assert "the store can be written to again: work goes on" in said


def test_closing_while_it_is_locked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that can't hand back its runs stops all the same; its lease will lapse."""
    monkeypatch.setattr(sqlite_connection, "BUSY_MS", 10)
    monkeypatch.setattr(membership, "RETIRE_SECONDS", 0.5)
    begun = threading.Event()
    with Fanwood(site.url, local_worker=True) as app:

        @app.task
        async def task(input: dict) -> None:
            begun.set()
            await asyncio.sleep(60)

        ref = task.run_no_wait({})
        assert begun.wait(60)
        other = apsw.Connection(str(site.database))
        other.execute("begin immediate")
        try:
            app.close()
        finally:
            other.execute("rollback")
            other.close()
    with Fanwood(site.url, local_worker=False) as app:
        assert app.runs.get_status(ref.id) is RunState.RUNNING


def test_the_file_is_removed_while_it_is_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "RETIRE_SECONDS", 0.1)
    with Fanwood(site.url, local_worker=True) as app:

        @app.task
        def task(input: dict) -> int:
            return input["n"]

        assert task.run({"n": 1}) == 1
        for file in site.folder.glob("fanwood.db*"):
            file.unlink()
        with pytest.raises(StoreUnavailableError, match=r"fanwood\.db is gone: it was removed or replaced"):
            task.run({"n": 2})


# --- permissions: tried as somebody who isn't root, whom they would not stop ------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


def refusal_for_nobody(url: str) -> str:
    """What opening it raises, in a forked process: a new one of that user might not be able to read the interpreter."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking while there are threads
        pid = os.fork()
    if pid == 0:
        message = "it was opened"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            Fanwood(url, local_worker=False).engine()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, message.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        message = answer.read()
    os.waitpid(pid, 0)
    return message


def test_a_read_only_file(folder: Path) -> None:
    path = folder / "fanwood.db"
    with Fanwood(f"sqlite:///{path}") as app:
        app.engine()
    path.chmod(0o444)
    assert refusal_for_nobody(f"sqlite:///{path}") == (
        f"StoreReadOnlyError: {path} can't be written to. Check the permissions of the file and of its folder."
    )


def test_a_read_only_folder(folder: Path) -> None:
    path = folder / "fanwood.db"
    with Fanwood(f"sqlite:///{path}") as app:
        app.engine()
    path.chmod(0o666)
    folder.chmod(0o555)
    message = refusal_for_nobody(f"sqlite:///{path}")
    assert message.startswith(f"StoreReadOnlyError: {path} can't be written to")
    assert "Check the permissions of the file and of its folder" in message


def test_a_new_database_in_a_read_only_folder(folder: Path) -> None:
    folder.chmod(0o555)
    assert refusal_for_nobody(f"sqlite:///{folder}/fanwood.db") == (
        f"StoreUnavailableError: {folder}/fanwood.db can't be opened (unable to open database file). "
        f"The folder {folder} can't be written to."
    )


def test_a_new_folder_in_a_read_only_folder(folder: Path) -> None:
    folder.chmod(0o555)
    assert refusal_for_nobody(f"sqlite:///{folder}/data/fanwood.db") == (
        f"StoreUnavailableError: {folder}/data can't be made: Permission denied"
    )


def test_a_new_file_that_somebody_else_is_just_writing_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "fanwood.db"
    other = apsw.Connection(str(path))
    other.execute("begin immediate")
    pauses: list[float] = []

    def release(seconds: float) -> None:
        pauses.append(seconds)
        if other.in_transaction:
            other.execute("commit")

    monkeypatch.setattr(sqlite_connection.time, "sleep", release)
    opened = sqlite_connection.connect(path)
    assert opened.pragma("journal_mode") == "wal"
    assert pauses, "SQLite waited by itself: _use_wal is not needed any more"
    opened.close()
    other.close()
