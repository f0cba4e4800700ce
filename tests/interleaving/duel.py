"""Two routines at once, interleaved at every statement; what comes out must be what one of the two orders gives.

A *schedule* lets one of them go as far as a stop, then the other one to its end, or until it waits for the first; then
the first goes on. What comes out is what both were answered, and all tables.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fanwood.errors import FanwoodError
from fanwood.model.commands import Committed
from fanwood.model.states import RunState
from tests.interleaving.players import Player, Stop
from tests.interleaving.stops import LOCK

LOOK = 0.001
PATIENCE = 60.0
_BLOCKED = "select pg_blocking_pids(p.pid) && $2::integer[] from unnest($1::integer[]) p (pid)"
_TABLES = "select tablename from pg_tables where schemaname = 'fanwood' and tablename !~ '^schema_' order by 1"
_SEQUENCES = "select sequencename from pg_sequences where schemaname = 'fanwood' order by 1"
_LETTERS = """
    select coalesce(jsonb_agg(distinct jsonb_build_array(m.worker_id, u.run_id)), '[]')
    from fanwood.mail m cross join lateral unnest(m.run_ids) u (run_id)
    where not exists (
        select from fanwood.run r join fanwood.run p on p.id = r.parent_id
        where r.id = u.run_id and p.worker_id = m.worker_id and p.state >= 8
          and r.worker_id is distinct from m.worker_id
    )
"""
"""Who is written to, and about what; however many letters that takes. (What a worker hears of the children of a run
that has ended there is nobody's business.)"""
_ALL_OF = "select coalesce(jsonb_agg({0} order by ({0})::text), '[]') from fanwood.{1} t"
_COLUMNS = {
    # A worker's claims have times of their own, one microsecond apart.
    "run": "to_jsonb(t) || jsonb_build_object('started_at', t.started_at / 1000)",
    "attempt": "to_jsonb(t) || jsonb_build_object('started_at', t.started_at / 1000)",
    # A number that tells that something changed, and not how often.
    "setting": "to_jsonb(t.name)",
    # How many commits there were, and what was said in the last one.
    "worker": "to_jsonb(t) - '{seq,claimed_at,has_claimed,fenced,refused,not_queued}'::text[]",
}
"""What is looked at of a row, where that is not all of it."""
_HELD = """
    select encode(r.id, 'hex') from fanwood.run r
    where r.id not in (select x.id from (select id from fanwood.run for update skip locked) x)
"""
Call = Callable[[Player], Awaitable[Any]]


class Reply(NamedTuple):
    """What one was answered: of runs that he has asked for, how they are, and all else as text. `took`: what he
    claimed."""

    said: str
    told: dict[str, Any]
    took: frozenset[str] = frozenset()


@dataclass
class Outcome:
    """What came out, with names for ids."""

    replies: tuple[Reply, Reply]
    tables: dict[str, Any]
    crosswise: int = 0
    passed_all: frozenset[int] = frozenset()
    """Who claimed nothing, as the other held all that he could have claimed."""

    def differences(self, other: Outcome) -> list[str]:
        """What is not as there; one line for each. A commit may tell of an end that came while it was under way, as
        that is read last, where in the same order it would be told by a letter."""
        ends = {row["id"]: [row["state"], row["output"], row["error"]] for row in self.tables["run"]}
        found: list[str] = []
        for who, mine, theirs in zip(("the first", "the second"), self.replies, other.replies, strict=True):
            if mine.said != theirs.said:
                found.append(f"{who} was answered {mine.said!r}, and not {theirs.said!r}")
            for run in sorted(mine.told.keys() | theirs.told.keys()):
                told = mine.told.get(run)
                if told not in (theirs.told.get(run), ends.get(run)):
                    found.append(f"{who} was told of {run}: {told!r}, and not {theirs.told.get(run)!r}")
        changed = [name for name, rows in self.tables.items() if rows != other.tables[name]]
        for name in changed:
            rows = self.tables[name]
            found += [f"{name}: {line}" for line in _rows_that_differ(rows, other.tables[name])]
        return found


def _rows_that_differ(mine: list[Any], theirs: list[Any]) -> Iterable[str]:
    keep = [json.dumps(row, sort_keys=True) for row in mine], [json.dumps(row, sort_keys=True) for row in theirs]
    left = [json.loads(row) for row in keep[0] if row not in keep[1]]
    right = [json.loads(row) for row in keep[1] if row not in keep[0]]
    for row in left:
        twin = next(
            (r for r in right if isinstance(r, dict) and isinstance(row, dict) and r.get("id") == row.get("id")), None
        )
        if twin is None:
            yield f"there is {_shown(row)}"
        else:
            right.remove(twin)
            changed = {key: (value, twin[key]) for key, value in row.items() if twin[key] != value}
            yield f"{row.get('id')}: " + ", ".join(
                f"{key} is {was!r} and not {is_!r}" for key, (was, is_) in changed.items()
            )
    yield from (f"there is no {_shown(row)}" for row in right)


def _shown(row: Any) -> str:
    return json.dumps({k: v for k, v in row.items() if v} if isinstance(row, dict) else row)


class Ground:
    """The schema that they play on: kept as it was prepared, and put back before each schedule."""

    def __init__(self, raw: Any, watcher: Any) -> None:
        self.raw = raw  # puts back, looks, and keeps the doors
        self._watcher = watcher
        self._looking = asyncio.Lock()
        self._back = ""
        self._look = ""
        self._tables: list[str] = []

    async def prepare(self) -> None:
        """Places to keep all rows in."""
        self._tables = [row[0] for row in await self.raw.fetch(_TABLES)]
        for table in self._tables:
            await self.raw.execute(f"create table steps.{table} as select * from fanwood.{table} with no data")
        parts = [
            f"'{t}', ({_LETTERS if t == 'mail' else _ALL_OF.format(_COLUMNS.get(t, 'to_jsonb(t)'), t)})"
            for t in self._tables
        ]
        self._look = f"select jsonb_build_object({', '.join(parts)})::text"

    async def empty(self) -> None:
        """As it is when it is new."""
        script = [f"delete from fanwood.{table}" for table in self._tables if table != "setting"]
        script += [f"select setval('fanwood.{row[0]}', 1, false)" for row in await self.raw.fetch(_SEQUENCES)]
        await self.raw.execute("; ".join([*script, "update fanwood.setting set value = '0'"]))

    async def keep(self) -> None:
        """What there is now is put back from now on."""
        script = [f"delete from steps.{t}; insert into steps.{t} select * from fanwood.{t}" for t in self._tables]
        await self.raw.execute("; ".join(script))
        back = [f"delete from fanwood.{table}" for table in self._tables]
        filled = [t for t in self._tables if await self.raw.fetchval(f"select exists (select from steps.{t})")]
        back += [f"insert into fanwood.{t} overriding system value select * from steps.{t}" for t in filled]
        for (name,) in await self.raw.fetch(_SEQUENCES):
            last, called = await self.raw.fetchrow(f"select last_value, is_called from fanwood.{name}")
            back.append(f"select setval('fanwood.{name}', {last}, {called})")
        self._back = "; ".join(back)

    async def put_back(self, *doors: int) -> None:
        """All rows as they were kept; these doors are shut."""
        shut = [f"select pg_advisory_lock({LOCK}, {door})" for door in doors]
        await self.raw.execute("; ".join([self._back, *shut]))

    async def tables(self) -> str:
        return await self.raw.fetchval(self._look)

    async def held(self) -> frozenset[str]:
        """Runs that somebody holds at this moment, by their ids."""
        return frozenset(row[0] for row in await self.raw.fetch(_HELD))

    async def waits(self, one: Player, other: Player) -> bool:
        """Whether one is waiting for a lock of the other."""
        mine, theirs = ([c.get_server_pid() for c in who.connections] for who in (one, other))
        async with self._looking:
            return any(row[0] for row in await self._watcher.fetch(_BLOCKED, mine, theirs))


@dataclass
class Duel:
    """Two calls on one ground, by two players."""

    ground: Ground
    players: tuple[Player, Player]
    calls: tuple[Call, Call]
    reset: Callable[[], None]  # what the players know, back to how it was
    named: Callable[[str], str]  # names for ids
    sweep: Callable[[], Awaitable[Any]]  # all that is closed
    again: Sequence[int] = ()  # whose call is made once more in the end
    unheard: Sequence[int] = ()  # ... and what he was answered does not count
    claims: dict[int, frozenset[str]] = field(default_factory=dict)  # what one takes in either of the orders
    _held: dict[int, frozenset[str]] = field(default_factory=dict)  # by the other, as one was through

    async def in_order(self, first: int) -> tuple[Outcome, list[Stop]]:
        """One after the other; and where the first could have been stopped."""
        await self.ground.put_back()
        self._new_turn({})
        one = self.players[first]
        one.passed = []
        replies = [await self._answered(first)]
        stops = one.passed
        await one.write_down_no_more()
        replies.append(await self._answered(1 - first))
        return await self._outcome(replies if first == 0 else replies[::-1]), stops

    async def _answered(self, number: int) -> Any:
        player = self.players[number]
        player.begin(lambda: self.calls[number](player))
        while not await self._settled(player, self.players[1 - number], 0):
            pass
        return await self._reply(player)

    async def interleaved(self, first: int, stop: Stop, then: Stop | None = None) -> Outcome:
        """The first as far as there, then the second (to its end, or as far as there if it comes there), then the
        first to its end."""
        async with asyncio.timeout(PATIENCE):
            one, two = self.players[first], self.players[1 - first]
            await self.ground.put_back(one.number, two.number)
            self._new_turn({one: stop, two: then})
            one.begin(lambda: self.calls[first](one))
            await self._until(one, one.halted)
            assert one.halted.is_set(), f"{stop} was not reached"
            two.begin(lambda: self.calls[1 - first](two))
            await self._settled(two, one)
            await self._look_at_held(1 - first)

            async def after_others() -> None:
                if not two.done:
                    two.wake()
                    await self._settled(two, one)

            one.before_each = after_others
            await one.go_on(self.ground.raw)
            if then is not None:
                await self._settled(one, two)
                await self._look_at_held(first)
            await two.go_on(self.ground.raw)
            while not (one.done and two.done):
                for who, other in ((one, two), (two, one)):
                    if not who.done:
                        await self._settled(who, other)
                        who.wake()
            return await self._outcome([await self._reply(player) for player in self.players])

    async def _look_at_held(self, number: int) -> None:
        """He is through, and the other may have stopped in the midst."""
        if number in self.claims and self.players[number].done:
            self._held[number] = frozenset(map(self.named, await self.ground.held()))

    def _passed_all(self, replies: list[Reply]) -> Iterable[int]:
        for number, could in self.claims.items():
            if could and not replies[number].took and could <= self._held.get(number, frozenset()):
                yield number

    def _new_turn(self, stops: dict[Player, Stop | None]) -> None:
        self.reset()
        self._held = {}
        for player in self.players:
            player.new_turn(stops.get(player))

    async def _until(self, player: Player, *events: asyncio.Event) -> None:
        """One of these, or that he is done."""
        assert player.task is not None
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait([player.task, *waits], return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _settled(self, player: Player, other: Player, patience: float = LOOK) -> bool:
        """He is done, or stopped, or he waits for the other: for a lock, which has no signal, or asleep."""
        assert player.task is not None
        while not (player.done or player.held):
            idle = asyncio.ensure_future(player.idle.wait())
            done, _ = await asyncio.wait(
                [player.task, idle], timeout=patience or None, return_when=asyncio.FIRST_COMPLETED
            )
            idle.cancel()
            if player.idle.is_set() and not player.done:
                if patience:
                    return False
                player.wake()  # nobody else is there
                await asyncio.sleep(0)
            elif not done and await self.ground.waits(player, other):
                return False
        return True

    async def _reply(self, player: Player) -> Reply:
        assert player.task is not None
        try:
            said = await player.task
        except FanwoodError as error:
            return Reply(type(error).__name__, {})
        told: dict[str, Any] = {}
        took = frozenset[str]()
        if isinstance(said, Committed):
            took = frozenset(self.named(repr(run.key)) for run in said.claimed)
            ends = {run.id: run for run in said.attached.values()} | said.finished
            told = {
                self.named(repr(id_)): [int(end.state), *map(self._text, (end.output, end.error))]
                for id_, end in ends.items()
            }
            said.finished = {}
            for run in said.attached.values():
                run.state, run.output, run.error = RunState.QUEUED, None, None
        return Reply(self.named(repr(said)), told, took)

    def _text(self, text: str | None) -> str | None:
        return None if text is None else self.named(text)

    async def _outcome(self, replies: list[Reply]) -> Outcome:
        passed_all = frozenset(self._passed_all(replies))
        if self.unheard:
            await self.sweep()
        for number in self.unheard:
            replies[number] = Reply("", {})
        for number in self.again:
            await self.calls[number](self.players[number])
        tables = json.loads(self.named(await self.ground.tables()))
        crosswise = sum(player.crosswise for player in self.players)
        return Outcome((replies[0], replies[1]), tables, crosswise, passed_all)


def namer(names: dict[bytes, str]) -> Callable[[str], str]:
    """Names for these ids, in hexadecimal and in Python's own writing."""
    spelt: dict[str, str] = {}
    for id_, name in names.items():
        spelt |= {
            f"\\\\x{id_.hex()}": name,
            repr(id_): name,
            id_.hex().upper(): name,
            id_.hex(): name,
            _dashed(id_): name,
        }
    pattern = re.compile("|".join(sorted(map(re.escape, spelt), key=len, reverse=True)))
    return lambda text: pattern.sub(lambda match: spelt[match[0]], text)


def _dashed(id_: bytes) -> str:
    text = id_.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
