"""What a world stands on: a store in memory, or a SQLite file that all its processes have open.

Who looks at a world looks at tables in memory, whatever it stands on: of a file those are a mirror, told of each row
that a transaction changed once it is committed, and held against what the file itself says (`Store.audit`).
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from fanwood.model.budgets import Limit, Spent
from fanwood.model.forks import Lineage
from fanwood.model.invariants import Families, of_a_row
from fanwood.model.records import Walk
from fanwood.model.states import TERMINAL, Open
from fanwood.store.auditing import BEGIN
from fanwood.store.memory import auditing as mirrored
from fanwood.store.memory.memory import Memory
from fanwood.store.memory.tables import Gate, Moved, Pause, Run, Shared, Suspended, Tables, Urgent, Worker
from fanwood.store.sqlite import reader, reading
from fanwood.store.sqlite import store as sqlite
from fanwood.store.sqlite.connection import connect, migrate
from tests.places import in_memory

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fanwood.clock import Clock
    from fanwood.model.commands import ClaimRequest
    from fanwood.store.sqlite.driver import Database
    from tests.simulation.files import FlakyFile
    from tests.simulation.flaky import Flaky
    from tests.simulation.hosts import Host
    from tests.simulation.invariants import Watch

ALL = 1_000_000
where: str | None = None
"""The folder for files of worlds, if somebody clears it away afterwards."""


class InMemory:
    """The store in memory."""

    def __init__(self, clock: Clock) -> None:
        self.memory = Memory(clock)
        self.tables = self.memory.tables
        self.now = self.memory.now
        self.instead: list[tuple[Any, str, Any]] = []

    def store(self, host: Host) -> Flaky:
        """The way of a host to it."""
        from tests.simulation.flaky import FlakyMemory

        return FlakyMemory(host, self.memory)

    def watched_by(self, watch: Watch) -> None:
        """It is told of each transaction and of each claim."""
        memory: Any = self.memory
        claiming = memory.hot.claiming
        transaction, claim = memory.transaction, claiming.claim

        def watched(user: int) -> _Watched:
            return _Watched(transaction(user), watch, self.now)

        def watched_claim(*about: Any) -> Any:
            done = claim(*about)
            watch.claimed(about[2], [run.key for run in done.runs])
            return done

        memory.transaction, claiming.claim = watched, watched_claim

    def look(self) -> Iterator[str]:
        """What is wrong of it that its tables don't tell."""
        return iter(())

    def close(self) -> None:
        """The world is over."""


class _Watched:
    """A transaction, and then a look at what it changed."""

    def __init__(self, transaction: AbstractContextManager[int], watch: Watch, now: Callable[[], int]) -> None:
        self._transaction: Any = transaction
        self._watch = watch
        self._now = now

    def __enter__(self) -> int:
        return self._transaction.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._transaction.__exit__(*raised)
        if raised[0] is None:
            self._watch.settle(self._now())


class InFile:
    """A SQLite file, in memory where that can be."""

    def __init__(self, clock: Clock) -> None:
        self.tables = Tables()
        self._clock = clock
        self._last = 0  # moment of a transaction
        self._file = _files.pop() if _files else _File()
        self.path = self._file.path
        self.instead: list[tuple[Any, str, Any]] = [  # of what the package has
            (module, "connect", self.connect) for module in (sqlite, reader)
        ]
        self._stores: list[FlakyFile] = []
        self._changes: list[tuple[Any, ...]] = []  # of the transaction that is under way
        self._watch: Watch | None = None

    def now(self) -> int:
        """The file's time, as all who have it open see it."""
        return max(self._clock.now(), self._last)

    def store(self, host: Host) -> Flaky:
        """The way of a host to it."""
        from tests.simulation.files import FlakyFile

        store = FlakyFile(host, self)
        self._stores.append(store)
        return store

    def watched_by(self, watch: Watch) -> None:
        """It is told of each transaction and of each claim."""
        self._watch = watch

    def connect(self, path: Path, *, read_only: bool = False) -> Database:
        """One that a world before this has let go of, or else a new one."""
        assert path == self.path
        idle = self._file.idle[read_only]
        return idle.pop() if idle else connect(path, read_only=read_only)

    def let_go(self, connection: Any) -> None:
        """As if it were closed."""
        connection.preupdate_hook(None)
        connection.exec_trace = None
        if connection.txn_state() == apsw.SQLITE_TXN_NONE:
            self._file.idle[connection.readonly("main")].append(connection)
        else:  # it was in the midst of reading
            connection.close()

    # --- what transactions change ----------------------------------------------------------------------------------

    def saw(self, change: Any) -> None:
        """A row is about to change."""
        if change.table_name in _ROWS:
            self._changes.append((change.table_name, change.op, change.old, change.new, change.update))

    def saw_claim(self, asked: ClaimRequest, taken: list[bytes]) -> None:
        """... and these runs were claimed."""
        self._changes.append(("claim", "", asked, taken, None))

    def rolled_back(self) -> None:
        """Nothing of it was done."""
        self._changes.clear()

    def committed(self, by: FlakyFile, now: int) -> None:
        """All of it was."""
        changes, self._changes = self._changes, []
        self._last = max(self._last, now)
        watch = self._watch
        assert watch is not None
        for table, kind, old, new, update in changes:
            if table == "claim":
                watch.claimed(old, new)
            else:
                _ROWS[table](self.tables, kind, old, new, update)
        watch.settle(self.now())
        for store in self._stores if changes else ():
            if store is not by:
                store.ring()

    # --- looking at it ---------------------------------------------------------------------------------------------

    def look(self) -> Iterator[str]:
        """Whether the file says what transactions have told; and all that must hold of rows as it reads them."""
        database, families = self.connect(self.path, read_only=True), Families()
        try:
            seen = 0
            for walk in (Walk.ROOTS, Walk.CHILDREN):
                for row in reading.audit(database, walk, BEGIN, ALL):
                    seen += 1
                    run = self.tables.runs.get(row.id)
                    if run is None or mirrored.audited(self.tables, run) != row:
                        yield f"the file says {row}, and transactions said {run}"
                    yield from of_a_row(row)
                    yield from families.saw(row) if walk is Walk.CHILDREN else ()
            if seen != len(self.tables.runs):
                yield f"{seen} runs are in the file, and {len(self.tables.runs)} should be"
            yield from self._counted(database)
            if (said := str(database.execute("pragma quick_check(1)").get)) != "ok":
                yield f"the file is damaged: {said}"
        finally:
            self.let_go(database)

    def _counted(self, database: Database) -> Iterator[str]:
        """What it says of the children of those that have some."""
        for parent in {run.parent_id: None for run in self.tables.runs.values() if run.parent_id is not None}:
            found = reading.counts(database, "child_counts", {"parent": parent})
            there = [self.tables.runs[id_] for id_ in self.tables.order("children", parent)]
            unfinished = sum(each.count for each in found if each.state not in TERMINAL)
            if (sum(each.count for each in found), unfinished) != (len(there), sum(not run.is_over for run in there)):
                yield f"{parent.hex()} has {len(there)} children, and the file says {found}"

    def close(self) -> None:
        """The world is over."""
        for store in self._stores:
            store.part()
        self._file.clear()
        _files.append(self._file)


# --- rows, as the tables in memory have them --------------------------------------------------------------------------


def _suspended(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        del tables.suspended[old[0]]
    else:
        _, attempt, wakes, pending, missing, limit = new
        tables.suspended[new[0]] = Suspended(attempt, wakes, missing, limit, [], pending)


def _awaited(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        waiters = tables.awaited[old[0]]
        del waiters[old[1]]
        if not waiters:
            del tables.awaited[old[0]]
    else:
        tables.awaited.setdefault(new[0], {})[new[1]] = new[2]


def _run(tables: Tables, kind: str, old: Any, new: Any, update: Any) -> None:
    match kind:
        case "INSERT":
            tables.add(Run(*new))
        case "DELETE":
            tables.remove(tables.runs[old[0]])
        case _:
            names = Run.__struct_fields__
            values = {name: value for name, value in zip(names, update, strict=True) if value is not apsw.no_change}
            tables.change(tables.runs[old[0]], **values)


def _worker(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        del tables.workers[old[0]]
    elif kind == "INSERT":
        info: Any = None
        tables.workers[new[0]] = Worker(new[0], info, new[5], None, {})


def _lease(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    worker = tables.workers[(new or old)[0]]
    worker.lease = None if kind == "DELETE" else new[1]


def _gate(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        tables.gates.pop(old[0], None)
    else:
        tables.gates[new[0]] = Gate(*new[:9])


def _pause(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        tables.pauses.pop(old[0], None)
    else:
        tables.pauses[new[0]] = Pause(*new)


def _urgency(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        tables.urgent.pop(old[0], None)
    else:
        tables.urgent[new[0]] = Urgent(*new)


def _fork(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        tables.forks.pop(old[0], None)
    else:
        tables.forks[new[0]] = Lineage(*new)


def _moved(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        del tables.moved[old[0]]
    else:
        tables.moved[new[0]] = Moved(new[0], new[1], bool(new[2]))


def _mail(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        tables.mail[old[0]].discard(old[1])
    else:
        tables.mail[new[0]].add(new[1])


def _watch(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        tables.unwatch(*old)
    else:
        tables.watchers[new[0]].add(new[1])


def _shared(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "INSERT":
        tables.share(Shared(*new))
    elif kind == "UPDATE":
        tables.reopen(tables.shared[new[:2]], new[3])
    elif old[:2] in tables.shared:  # else it is gone with its run
        tables.shared_of.pop(old[2])
        tables.reopen(tables.shared.pop(old[:2]), Open.OVER)


def _hedge(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind == "DELETE":
        tables.unhedge(old[0])
    else:
        tables.hedge(*new)


def _budget(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind != "DELETE":
        tables.budgets.setdefault(new[0], {})[new[1]] = Limit(*new)
    elif old[0] in tables.budgets:
        tables.budgets[old[0]].pop(old[1], None)
        if not tables.budgets[old[0]]:
            del tables.budgets[old[0]]


def _spend(tables: Tables, kind: str, old: Any, new: Any, _: Any) -> None:
    if kind != "DELETE":
        tables.spends.setdefault(new[0], {})[new[1], new[2]] = Spent(*new)
    elif old[0] in tables.spends:
        tables.spends[old[0]].pop((old[1], old[2]), None)


_ROWS: dict[str, Callable[[Tables, str, Any, Any, Any], None]] = {
    "run": _run,
    "worker": _worker,
    "lease": _lease,
    "gate": _gate,
    "pause": _pause,
    "urgency": _urgency,
    "fork": _fork,
    "moved_deadline": _moved,
    "mail": _mail,
    "watch": _watch,
    "suspended": _suspended,
    "awaited": _awaited,
    "shared": _shared,
    "hedge": _hedge,
    "budget": _budget,
    "spend": _spend,
}


class _File:
    """A file, and connections to it that nobody uses: what they have compiled takes longer than a small world."""

    def __init__(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="world", dir=where or in_memory())
        self.path = Path(folder.name) / "world.db"
        self.idle: dict[bool, list[Database]] = {False: [], True: []}  # whether they only read
        self.path.write_bytes(_new()[0])
        weakref.finalize(self, self._remove, self.idle, folder)

    @staticmethod
    def _remove(idle: dict[bool, list[Database]], folder: tempfile.TemporaryDirectory[str]) -> None:
        for connection in idle[False] + idle[True]:
            connection.close()
        folder.cleanup()

    def clear(self) -> None:
        """It is as it was when it was new."""
        connection = self.idle[False][0]
        names = [name for (name,) in connection.execute("select name from sqlite_schema where type = 'table'")]
        connection.execute("begin immediate")
        for name in names:
            connection.execute(f"delete from {name}")
        for setting in _new()[1]:
            connection.execute("insert into setting (name, value) values (?, ?)", setting)
        connection.execute("commit")


_files: list[_File] = []
"""Those that no world stands on."""


@cache
def _new() -> tuple[bytes, list[Any]]:
    """A file with nothing in it but the schema: it takes longer to make than to write. And its settings."""
    with tempfile.TemporaryDirectory(prefix="world", dir=in_memory()) as folder:
        path = Path(folder) / "new.db"
        database = connect(path)
        migrate(database, path)
        columns = [column[1] for column in database.execute("pragma table_info(run)")]
        assert columns == list(Run.__struct_fields__)
        settings = list(database.execute("select name, value from setting"))
        database.close()
        return path.read_bytes(), settings
