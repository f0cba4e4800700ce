"""Claims on SQLite: which runs a worker takes."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import msgspec

from fanwood import logs
from fanwood.model.commands import ANSWER_BYTES, SUSPECT_DEATHS, ClaimedRun, ClaimRequest
from fanwood.model.states import EndedBy, RunState
from fanwood.store.failures import MAX_ATTEMPTS, UNREADABLE, encode_failure
from fanwood.store.sqlite.leaving import Ending, Leaving, encoded
from fanwood.store.sqlite.turning import Turning
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Collection

    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.pauses import Pauses

logger = logs.logger("fanwood.store")

_SQL = load("sqlite/claiming.sql")

_FEW = 8
"""So many of each task are looked at first, if there are several with something in the queue; then of those that may
have more."""

FEWER = 100
"""So many are claimed at most while something is closed, or paused."""

CLEARINGS = 5
"""So many times as many of what is paused, and stands first in the queue, a claim moves out of its way."""

LOOKED_AT = 1_000
"""So many of the first in the queue are looked at one by one, if a claim could not be read."""

for _name in ("heads_of_one", "heads_of_one_unsuspected", "heads", "heads_unsuspected"):
    _SQL[f"{_name}_own"] = _SQL[_name].replace("q.state = 0", _SQL["of_programs"].rstrip(";"))

Head = tuple[str, int, str, int, str]
"""A run's task, and what the best is told by: priority and depth (negated), root, id."""

_claimed = msgspec.json.Decoder(list[ClaimedRun])
_heads = msgspec.json.Decoder(list[Head])
_attempts = msgspec.json.Decoder(list[tuple[str, int]])
_texts = msgspec.json.Decoder(list[str])


class Claim(NamedTuple):
    """What a claim brought."""

    runs: list[ClaimedRun]
    more: bool  # there may be more
    met_closed: bool


class Claiming:
    """Claims, on one connection."""

    def __init__(self, connection: Database, leaving: Leaving, pauses: Pauses) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._changes = connection.changes
        self._leaving = leaving
        self._pauses = pauses
        self._programs = ""  # of the present claim
        self._damaged = set[str]()  # queued runs of which the disk has lost something: nothing can be done with them

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    def finds(self, claim: ClaimRequest) -> bool:
        """Whether the queue holds anything for it."""
        return bool(self._one("has_ready", tasks=claim.tasks))

    def claim(self, me: int, now: int, claim: ClaimRequest, *, gated: bool, paused: bool) -> Claim:
        """Take the best. `gated`, `paused`: something is closed, or paused, anywhere."""
        cleared = paused and not self._damaged and self._clear(claim.tasks)
        if gated or paused:  # what is met and must be ended makes a commit longer
            claim = msgspec.structs.replace(claim, limit=min(claim.limit, FEWER))
        runs, more = self._pick(claim)
        met_closed, more = False, more or cleared
        if gated:
            closed = self._leaving.end_closed(now, [(run.id, run.attempt - 1, RunState.QUEUED) for run in runs])
            met_closed = bool(closed)
            runs, more = [run for run in runs if run.id not in closed], more or met_closed
        if paused and (held := self._pauses.hold([run.id for run in runs])):
            runs, more, met_closed = [run for run in runs if run.id not in held], True, False
        if runs:
            self._execute(_SQL["take_runs"], {"ids": encoded([run.id for run in runs]), "me": me, "now": now})
            if not self._changes():
                return Claim([], more=False, met_closed=met_closed)
            self._recall(runs)
        return Claim(runs, more, met_closed)

    def _clear(self, tasks: str) -> bool:
        """What stands first in the queue, and is paused, waits; whether there was any. (A claim of one run would else
        move one.)"""
        ready = _texts.decode(self._one("ready_tasks", tasks=tasks))
        moved, self._programs = False, ""
        for _ in range(CLEARINGS if ready else 0):
            heads = self._best(ready, FEWER, "")
            held = self._pauses.hold(heads)
            moved = moved or bool(held)
            if len(held) < FEWER:
                break
        return moved

    def _recall(self, runs: list[ClaimedRun]) -> None:
        """What is known of those that were suspended."""
        found = {row[0]: row for row in self._leaving.suspending.history([run.id for run in runs])}
        for run in runs if found else ():
            if run.id in found:
                _, attempt, wakes, until, pending = found[run.id]
                run.wakes = wakes
                if attempt == run.attempt - 1:
                    run.until, run.pending = until, pending

    def fail_unreadable(self, now: int, tasks: str) -> int:
        """See `Store.fail_unreadable`. Ids and the queue's own columns are what they should be; each is read by
        itself."""
        ready = _texts.decode(self._one("ready_tasks", tasks=tasks))
        ids = self._around_damage(ready, LOOKED_AT, "")
        known = len(self._damaged)
        unreadable = [id_ for id_ in ids if not self._is_readable(id_)]
        if not self._damaged:  # (it would have to be read)
            unreadable += set(_texts.decode(self._one("against_the_rules", ids=encoded(ids)))).difference(unreadable)
        error = encode_failure(UNREADABLE)
        ended = 0
        for id_, attempt in _attempts.decode(self._one("attempts_of", ids=encoded(unreadable))):
            how = Ending(id_, attempt, RunState.QUEUED, RunState.FAILED, None, error, 0, EndedBy.OUTCOME)
            self._execute("savepoint one")
            try:
                ended += not self._leaving.end(0, now, [how])
            except apsw.CorruptError:  # to write it, all of its row has to be read
                self._execute("rollback to one")
                self._pass_by(id_)
            self._execute("release one")
        return ended + len(self._damaged) - known

    def _pass_by(self, id_: str) -> None:
        self._damaged.add(id_)
        logger.error("run %s is queued, and passed by: its part of the file is damaged", id_)

    def _is_readable(self, id_: str) -> bool:
        try:
            return all(run.attempt <= MAX_ATTEMPTS for run in self._read([id_]))
        except (UnicodeError, msgspec.DecodeError):
            return False
        except apsw.CorruptError:
            self._pass_by(id_)
            return True

    def _pick(self, claim: ClaimRequest) -> tuple[list[ClaimedRun], bool]:
        first: list[str] = []
        if claim.turns is not None and not self._damaged:
            turning = Turning(self._connection, claim.tasks, claim.programs)
            tasks, first = turning.first(claim.turns, claim.limit)
        else:
            tasks = _texts.decode(self._one("ready_tasks", tasks=claim.tasks))
        if not tasks:
            return [], False
        own, self._programs = "_own" if claim.programs else "", claim.programs
        if len(tasks) == 1 and not claim.fair and not own and not first and not self._damaged:
            best = self._one("best_of_one", task=tasks[0], limit=claim.limit, bytes=ANSWER_BYTES)
            runs = _claimed.decode(best)
            letters = sum([len(run.input) for run in runs])  # of four bytes at most
            more = len(runs) >= claim.limit or letters * 4 >= ANSWER_BYTES
        else:
            ids = self._ids(tasks, claim, own, first)
            runs = self._read(ids)
            more = len(ids) >= claim.limit or len(runs) < len(ids)
        if [run for run in runs if run.deaths >= SUSPECT_DEATHS]:  # seldom, so that nobody else pays for looking
            if claim.idle and (best := self._read(self._best(tasks, 1, own))) and best[0].is_suspect:
                return best, True
            suspects = {run.id for run in runs if run.is_suspect}
            ids = self._ids(tasks, claim, f"_unsuspected{own}", first, suspects)
            runs = [run for run in self._read(ids) if not run.is_suspect]
            more = len(ids) >= claim.limit or len(runs) < len(ids)
        return runs, more

    def _around_damage(self, tasks: list[str], limit: int, which: str) -> list[str]:
        """Some of each task, by the queue's index alone."""
        found: list[str] = []
        for task in tasks:
            most = max(1, limit // len(tasks)) + len(self._damaged)
            heads = self._one(f"heads_of_one{which}", task=task, limit=most, programs=self._programs)
            found += [id_ for id_ in _texts.decode(heads) if id_ not in self._damaged]
        return found[:limit]

    def _ids(
        self, tasks: list[str], claim: ClaimRequest, which: str, turns: list[str], suspects: Collection[str] = ()
    ) -> list[str]:
        """The oldest, as many as are to be, then those whose turn it is, then the best."""
        if self._damaged:
            return self._around_damage(tasks, claim.limit, which)
        oldest: list[str] = []
        if claim.fair:
            oldest = _texts.decode(self._one("oldest", tasks=encoded(tasks), fair=claim.fair))
        first = dict.fromkeys(id_ for id_ in oldest + turns if id_ not in suspects)  # a place is for another
        if len(first) < claim.limit:
            first |= dict.fromkeys(self._best(tasks, claim.limit, which))
        return list(first)[: claim.limit]

    def _best(self, tasks: list[str], limit: int, which: str) -> list[str]:
        if len(tasks) == 1:
            return _texts.decode(self._one(f"heads_of_one{which}", task=tasks[0], limit=limit, programs=self._programs))
        return self._merged(tasks, limit, which)

    def _merged(self, tasks: list[str], limit: int, which: str) -> list[str]:
        """The best of several tasks: a few of each, and more only of a task of which all these are among the best."""
        heads: dict[str, list[Head]] = {}
        grow, rows = tasks, max(_FEW, 2 * limit // len(tasks))
        while True:
            for task in grow:
                heads[task] = []
            for head in _heads.decode(
                self._one(f"heads{which}", tasks=encoded(grow), limit=rows, programs=self._programs)
            ):
                heads[head[0]].append(head)
            best = list(islice(merge(*map(sorted, heads.values()), key=_rank), limit))
            taken = dict.fromkeys(heads, 0)
            for head in best:
                taken[head[0]] += 1
            grow = [task for task in grow if taken[task] == len(heads[task]) == rows < limit]
            if not grow:
                return [head[4] for head in best]
            rows = min(limit, rows * 4)

    def _read(self, ids: list[str]) -> list[ClaimedRun]:
        return _claimed.decode(self._one("read_claimed", ids=encoded(ids), bytes=ANSWER_BYTES)) if ids else []


def _rank(head: Head) -> tuple[int, str, int, str]:
    return head[1:]
