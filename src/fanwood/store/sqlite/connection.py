"""Opening a SQLite file: ours, whole, writable, durable; and SQLite's errors in our words."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, cast

import apsw

from fanwood.errors import (
    StoreBusyError,
    StoreError,
    StoreForeignError,
    StoreFullError,
    StoreReadOnlyError,
    StoreSchemaError,
    StoreUnavailableError,
    StoreValueError,
)
from fanwood.store.sqlite.driver import damaged

if TYPE_CHECKING:
    from pathlib import Path

    from fanwood.store.sqlite.driver import Database

APPLICATION_ID = 0x46414E57  # "FANW": in the file's header, so that `file` and we can tell whose it is
OLDEST = 3
"""The first schema that was meant to last. Files of those before it can't be brought up to date."""
THROUGH = ("fullfsync", "checkpoint_fullfsync")
"""macOS: through the drive's own cache as well; elsewhere they do nothing."""
BUSY_MS = 5_000
PAUSE_MS = 20
RETRY_MS = 1
"""Between two tries for a lock that another has. SQLite's own way sleeps longer each time, up to a tenth of a second:
beside two busy processes a third came through once in seconds."""
CHECKPOINT_PAGES = 1_000
"""After how many pages the log is begun anew: writing over an old log is twice as quick to sync as growing it."""
JOURNAL_LIMIT = 64 * 1024 * 1024


def make_folder(folder: Path) -> None:
    """Make the folder of a file, if there is none. It is there for good: SQLite syncs the names of its files, and not
    that of the folder in which they are.

    Raises:
        StoreUnavailableError: it can't be made.
    """
    ours = folder.name == ".fanwood"
    try:
        above = [each.parent for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(mode=0o700 if ours else 0o777, parents=True, exist_ok=True)  # payloads may be private
        for each in above:
            _sync_folder(each)
        if ours:
            ignore = folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise StoreUnavailableError(f"{folder} can't be made: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    """As far as that can be done: not on Windows, and not where it may not be read."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def connect(path: Path, *, read_only: bool = False) -> Database:
    """A connection to a file of ours, its settings in place.

    Raises:
        StoreForeignError: it is no SQLite file, or somebody else's.
        StoreUnavailableError: it can't be opened.
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    with translated(path):
        connection = cast("Database", apsw.Connection(str(path), flags=flags, statementcachesize=256))
        connection.set_busy_handler(_wait)
        _check_ours(connection, path)
        if not read_only:
            _use_wal(connection)
            connection.pragma("synchronous", "full")
            for name in THROUGH:
                connection.pragma(name, 1)
            connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            connection.pragma("journal_size_limit", JOURNAL_LIMIT)
        connection.pragma("cache_size", -32 * 1024)
        connection.pragma("temp_store", "memory")
    return connection


class Syncing(NamedTuple):
    """How far a connection's commits go before they are acknowledged. Other connections have settings of their own."""

    synchronous: int
    through_the_drive: bool  # also through the drive's own cache, or a plain sync does that already


def syncing(connection: Database) -> Syncing:
    """As SQLite says, and not as it was told."""
    whole = all(int(connection.pragma(name)) for name in THROUGH)
    return Syncing(int(connection.pragma("synchronous")), whole or sys.platform != "darwin")


def check_writable(connection: Database, path: Path) -> None:
    """SQLite opens a file that it can't write as read-only, and says so only at the first write.

    Raises:
        StoreReadOnlyError: it is one.
    """
    if connection.readonly("main"):
        raise StoreReadOnlyError(f"{path} can't be written to. Check the permissions of the file and of its folder.")


def _wait(tries: int) -> bool:
    """Called by SQLite when another has a lock: wait a little, and say whether to try again."""
    time.sleep(RETRY_MS / 1000)
    return tries * RETRY_MS < BUSY_MS


def _use_wal(connection: Database) -> None:
    """SQLite does not wait here for a lock, as it does elsewhere: two processes may open a new file at one time."""
    for _ in range(BUSY_MS // PAUSE_MS):
        try:
            connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            time.sleep(PAUSE_MS / 1000)
        else:
            return
    connection.pragma("journal_mode", "wal")


def file_identity(path: str) -> tuple[int, int] | None:
    """Equal for as long as the path leads to one and the same file; None if it leads nowhere.

    SQLite itself goes on writing to a file that was removed, and everything would be lost with the last process.
    """
    try:
        stat = os.stat(path)  # noqa: PTH116  (before each transaction: a path object takes longer than the look)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _check_ours(connection: Database, path: Path) -> None:
    # In this order: another process may be writing both at this moment, in one transaction.
    tables = connection.execute("select count(*) from sqlite_schema").get
    identity = connection.pragma("application_id")
    if identity == APPLICATION_ID:
        return
    if identity != 0 or tables != 0:
        raise StoreForeignError(
            f"{path} is a SQLite database, but not one of Fanwood's. Nothing in it was touched. "
            f"Name another file, e.g. sqlite:///{path.with_name('fanwood.db')}"
        )


def migrations() -> list[tuple[int, str, str]]:
    """The schema's steps: number, name and text, in order."""
    folder = files("fanwood.store").joinpath("sqlite/migrations")
    found = [
        (f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in folder.iterdir() if f.name[0].isdigit()
    ]
    return sorted((int(name.split("_")[0]), name, text) for name, text in found)


def migrate(connection: Database, path: Path) -> list[str]:
    """Bring the schema up to date, one transaction for all steps; several processes may do it at once. The names of
    the steps that this took.

    Raises:
        StoreSchemaError: the file is from a newer version.
        StoreReadOnlyError: it can't be written to.
    """
    steps = migrations()
    newest = steps[-1][0]
    taken: list[str] = []
    with translated(path):
        if schema_version(connection, path, newest) == newest:
            return taken
        connection.execute("begin immediate")
        try:
            present = schema_version(connection, path, newest)
            for number, name, text in steps:
                if number > present:
                    connection.execute(text)
                    taken.append(name)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", newest)
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
    return taken


def check_schema(connection: Database, path: Path) -> None:
    """For who may not change it: the schema is up to date.

    Raises:
        StoreSchemaError: it is not.
    """
    newest = migrations()[-1][0]
    with translated(path):
        present = schema_version(connection, path, newest)
    if present != newest:
        raise StoreSchemaError(
            f"{path} has schema version {present}, and this Fanwood works with {newest}. Run: fanwood db migrate"
        )


def pending(path: Path) -> list[str]:
    """The names of the steps that `migrate` would take; the file need not exist, and isn't changed."""
    steps = migrations()
    present = 0
    if path.exists():
        connection = connect(path, read_only=True)
        try:
            with translated(path):
                present = schema_version(connection, path, steps[-1][0])
        finally:
            connection.close()
    return [name for number, name, _ in steps if number > present]


def schema_version(connection: Database, path: Path, newest: int) -> int:
    """The file's schema version; an error if it is newer than ours, or older than any that can be brought up to
    date."""
    present = int(connection.pragma("user_version"))
    if 0 < present < OLDEST:
        raise StoreSchemaError(
            f"{path} has schema version {present}, of a Fanwood before its first release, and can't be brought up to "
            f"date. Nothing in it was touched. Finish what is in it with the Fanwood that made it, and name another "
            f"file, e.g. sqlite:///{path.with_name('fanwood-new.db')}"
        )
    if present > newest:
        raise StoreSchemaError(
            f"{path} has schema version {present}, and this Fanwood knows versions up to {newest}. It was written by a "
            f"newer Fanwood: upgrade this one, or name another file."
        )
    return present


class translated:  # noqa: N801  (reads as the statement that it is)
    """SQLite's errors, in our words and with the path."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            _raise(error, self._path)


class Transaction:
    """Begun when it is entered; committed, or undone by an exception."""

    __slots__ = ("_connection", "_path")

    def __init__(self, connection: Database, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> Database:
        try:
            self._connection.execute("begin immediate")
        except BaseException as error:
            self._undo(error)
            raise
        return self._connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self._undo(error)
            return
        try:
            self._connection.execute("commit")
        except BaseException as failed:
            self._undo(failed)
            raise

    def _undo(self, error: BaseException) -> None:
        if self._connection.in_transaction:
            self._connection.execute("rollback")
        _raise(error, self._path)


def _raise(error: BaseException, path: Path) -> None:
    """If it is one of SQLite's; else it goes on as it is."""
    if isinstance(error, apsw.Error):
        raise _translate(error, path) from error
    if isinstance(error, (OverflowError, UnicodeError)):  # before it was SQLite's turn
        raise StoreValueError(f"{path}: a value that SQLite can't hold: {error}") from error


def _translate(error: apsw.Error, path: Path) -> StoreError:
    said = str(error)
    if isinstance(error, apsw.NotADBError):
        return StoreForeignError(f"{path} is not a SQLite database. Nothing in it was touched. Name another file.")
    if isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError) and _no_space(path)):
        return StoreFullError(
            f"{path}: no space left to write ({_free(path)} free). What was acknowledged is safe; "
            f"work goes on when there is room again."
        )
    if isinstance(error, (apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError)):
        return StoreReadOnlyError(
            f"{path} can't be written to ({said}). Check the permissions of the file and of its folder: SQLite also "
            f"writes {path.name}-wal and {path.name}-shm beside it."
        )
    if isinstance(error, apsw.InterruptError):
        return StoreBusyError(f"{path}: a look took too long ({said}), and was given up.")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return StoreBusyError(f"{path} was locked by another program for over {BUSY_MS // 1000} s ({said}).")
    if isinstance(error, (apsw.TooBigError, apsw.ConstraintError, apsw.MismatchError, apsw.RangeError)):
        return StoreValueError(f"{path}: a value that does not fit ({said}).")
    if isinstance(error, apsw.CantOpenError):
        return StoreUnavailableError(f"{path} can't be opened ({said}). {_why_not(path)}")
    is_damage = isinstance(error, apsw.CorruptError)
    return StoreError(damaged(path, said) if is_damage else f"{path}: {type(error).__name__}: {said}")


def _no_space(path: Path) -> bool:
    return _free_bytes(path) < 1024 * 1024


def _free_bytes(path: Path) -> int:
    try:
        stat = os.statvfs(path.parent)
    except (OSError, AttributeError):
        return 1 << 62
    return stat.f_bavail * stat.f_frsize


def _free(path: Path) -> str:
    return f"{_free_bytes(path):,} bytes"


def _why_not(path: Path) -> str:
    if not path.parent.exists():
        return f"The folder {path.parent} does not exist."
    if path.is_dir():
        return "It is a folder."
    if not os.access(path.parent, os.W_OK):
        return f"The folder {path.parent} can't be written to."
    return "Is it readable and writable for this user?"
