"""What runs suffer outside the hot path: lost workers, timers. Bounded transactions, each of some hundred runs; what
must be safe against commits that are under way at the same moment is done by the functions of `functions/`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fanwood.model.states import EndedBy
from fanwood.store.failures import UNREADABLE, ancestor_ended, encode_failure, expired, poisoned
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fanwood.store.postgres.connection import Link, Transaction

SQL = load("postgres/chores.sql")
PAGE = 250
"""How many runs one transaction changes: whoever commits beside it waits for the processor, and for its WAL."""
LOOK = 5_000
"""How many children of one run are looked at, at a time."""
TIMERS_LOCK = 0x46414E59
SOMEBODY_ELSE = 1_000_000
"""When to look at the timers again, if another engine is at them; microseconds."""
BEGINNING = (-1, b"")
FROM_THE_BEGINNING = 1.0
"""Seconds after which timers are looked at from the beginning of their indexes."""

_decode_tick = msgspec.json.Decoder(tuple[int | None, int, str, bool]).decode


class Host(Protocol):
    """The store, as its chores know it."""

    url: str
    lease: float
    places: Places

    @property
    def side(self) -> Link: ...
    @property
    def notifies(self) -> bool: ...
    @property
    def given_now(self) -> int | None: ...
    async def instant(self, db: Transaction) -> int: ...


class Work:
    """One transaction's chores, and whom they concern."""

    def __init__(self, db: Transaction, now: int) -> None:
        self.db = db
        self.now = now
        self.told: list[int] = []
        self.ready: list[str] = []

    async def end(self, runs: list[tuple[bytes, str, int | None, str | None]], by: EndedBy) -> None:
        """These runs fail: id, error, and of those that may have children the gate, and the error of what is below."""
        columns: list[list[Any]] = [list(column) for column in zip(*runs, strict=True)]
        ids, errors, which, closing = columns
        self.told += await self.db.value(_first(SQL["leave"]), self.now, ids, errors, int(by), which, closing)


def _first(sql: str) -> str:
    """A statement whose first placeholder has a name, and whose others have numbers."""
    return sql.replace(":now", "$1::bigint")


@asynccontextmanager
async def chores(host: Host) -> AsyncGenerator[Work, None]:
    """A transaction; those whom it concerns are told at its end."""
    async with host.side.transaction() as db:
        work = Work(db, await host.instant(db))
        yield work
        if host.notifies and (work.told or work.ready):
            await db.call("fw_announce", work.told, work.ready)


# --- timers ----------------------------------------------------------------------------------------------------------


class Places:
    """How far the timers have been worked through: what is before these places in their indexes is dead, most likely.
    Only for a moment, as something may have come in before them, or have been passed by."""

    def __init__(self) -> None:
        self.due: tuple[int, bytes] = BEGINNING
        self.late: tuple[int, bytes] = BEGINNING
        self._since = 0.0

    def refresh(self) -> None:
        """Begin at the beginning, now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._since > FROM_THE_BEGINNING:
            self.due, self.late, self._since = BEGINNING, BEGINNING, now


async def tick(host: Host) -> int | None:
    """See `Store.tick`. One round trip, unless something was not begun in time."""
    places = host.places
    places.refresh()
    answer = await host.side.call("tick", host.given_now, PAGE, *places.due, *places.late, SOMEBODY_ELSE, host.notifies)
    due, at, id_, late = _decode_tick(answer)
    places.due = (at, bytes.fromhex(id_))
    return await _expire(host, places) if late else due


async def _expire(host: Host, places: Places) -> int | None:
    """Some that were not begun in time fail; when something is due next."""
    async with chores(host) as work:
        db, now = work.db, work.now
        if not await db.value(f"select pg_try_advisory_xact_lock({TIMERS_LOCK}, hashtext(current_schema()))"):
            return now + SOMEBODY_ELSE
        await db.call("fw_enter_gates")
        late = await db.call("fw_expired", now, PAGE, *places.late)
        if not late and places.late != BEGINNING:
            places.late = BEGINNING
            late = await db.call("fw_expired", now, PAGE, *places.late)
        if late:
            await work.end([_expired(*row) for row in late], EndedBy.EXPIRY)
            places.late = (late[-1][6], late[-1][0])
        next_ = await db.value("select fw_next_due($1, $2, $3, $4)", *places.due, *places.late)
        if next_ is None or next_ > now:
            next_ = await db.value("select fw_next_due($1, $2, $3, $4)", *BEGINNING, *BEGINNING)
        return next_


def _expired(
    run_id: bytes, task: str, attempt: int, deadline: int | None, by: bytes | None, timeout: int | None, until: int
) -> tuple[bytes, str, int | None, str | None]:
    by_deadline = deadline is not None and deadline <= until
    error = encode_failure(expired(task, run_id, by if by_deadline else None, timeout))
    return run_id, error, *_gate(run_id, attempt, "timed out")


def _gate(run_id: bytes, attempt: int, how: str) -> tuple[int | None, str | None]:
    return (0, ancestor_ended(run_id, how)) if attempt > 0 else (None, None)


# --- what can't be read ----------------------------------------------------------------------------------------------


async def fail_unreadable(host: Host, tasks: list[str]) -> int:
    """See `Store.fail_unreadable`."""
    async with chores(host) as work:
        await work.db.call("fw_enter_gates")
        ids = await work.db.value("select fw_unreadable($1, $2)", tasks, PAGE)
        if ids:
            error = encode_failure(UNREADABLE)
            await work.end([(id_, error, None, None) for id_ in ids], EndedBy.OUTCOME)
    return len(ids)


# --- lost workers ----------------------------------------------------------------------------------------------------


async def reap(host: Host, worker: int, deaths_limit: int, *, if_lapsed: bool) -> int:
    """See `Store.reap`."""
    async with host.side.transaction() as db:
        taken = await db.value("select fw_take_lease($1, $2, $3)", worker, await host.instant(db), if_lapsed)
        if taken:
            await db.call("fw_count_members")
    if not taken:
        return 0
    released = 0
    known: dict[bytes, bool] = {}
    after = b""  # those before it have been released: their entries are dead, and are not to be walked each time
    while True:
        done, last, doubtful = await _release_some(host, worker, deaths_limit, known, after)
        released += done
        more = last is not None or after != b""
        after = b"" if doubtful or last is None else last
        for run_id in doubtful:
            known[run_id] = not await _waits(host, run_id)
        if not more and not doubtful:
            return released
        await asyncio.sleep(0)


async def _release_some(
    host: Host, worker: int, deaths_limit: int, known: dict[bytes, bool], after: bytes
) -> tuple[int, bytes | None, list[bytes]]:
    """A page of a dead worker's runs goes back, or fails as poison: how many went back, the last of the page, and those
    of which is not known yet whether they were executing. If there is none from the first on, the worker goes."""
    done = 0
    async with chores(host) as work:
        db = work.db
        rows = await db.call("fw_of_dead", worker, after, PAGE, list(known), list(known.values()), work.now)
        await db.call("fw_enter_gates")  # before anything is changed, and after the worker's row
        doubtful = [row[0] for row in rows if row[3] is None]
        sure = [row for row in rows if row[3] is not None]
        fatal = [(run_id, task, deaths + 1) for run_id, task, deaths, hit in sure if hit and deaths + 1 >= deaths_limit]
        if fatal:
            await work.end(
                [
                    (id_, encode_failure(poisoned(task, deaths)), *_gate(id_, 1, "failed"))
                    for id_, task, deaths in fatal
                ],
                EndedBy.POISON,
            )
        poison = {run_id for run_id, _, _ in fatal}
        back = [(row[0], row[3]) for row in sure if row[0] not in poison]
        if back:
            ids, charged = zip(*back, strict=True)
            sql = db.named(_first(SQL["release"]))
            ((told, ready, done),) = await db.connection.fetch(sql, work.now, list(ids), list(charged))
            work.told += told
            work.ready += ready
        if not rows and not after:
            await db.call("fw_remove_worker", worker)
            await db.call("fw_count_members")
    return done, rows[-1][0] if rows else None, doubtful


async def _waits(host: Host, run_id: bytes) -> bool:
    """Whether a run with very many children has one that is unfinished; looked for from the oldest on."""
    after = b""
    while True:
        async with host.side.transaction() as db:
            ((last, unfinished),) = await db.call("fw_some_children", run_id, after, LOOK)
        if unfinished or last is None:
            return bool(unfinished)
        after = last
        await asyncio.sleep(0)
