"""What runs record of their own (steps, sleeps, times), as code in a world sees it: each is done once, and is the same
ever after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood.model.forks import fork_of
from fanwood.model.lives import since_of
from fanwood.model.states import FIRST_WAIT, EndedBy, OnParentEnd, RunKind, RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from fanwood.store.memory.tables import Run, Tables
    from tests.simulation.invariants import Watch

REVIVED = (RunState.FAILED, RunState.CANCELLED)
EARLY = 1000
"""Microseconds by which a store's time may be ahead of the world's: each of its transactions has another time."""
HEARD = 60_000_000
"""Microseconds within which the code that slept goes on, once all is calm: it may wait for a slot."""
SHORT = 1_000_000
"""Microseconds. A sleep of less is recorded when it is over, and nobody waits for that."""


def _since(run: Run | None) -> int:
    return 0 if run is None else since_of(run.life)


class Asked(NamedTuple):
    """A sleep, as an attempt asked for it."""

    said: dict[str, Any]  # of it, in its row
    span: float  # seconds
    until: int | None  # instead
    began: int


@dataclass
class _Post:
    """A message, and when its sending began, and was acknowledged, if it was: of what happens with messages, so many
    things before."""

    payload: dict[str, Any]
    began: int
    acknowledged: int | None = None


class Parts:
    """Of one world."""

    def __init__(self, tables: Tables, now: Callable[[], int], watch: Watch) -> None:
        self._tables = tables
        self._watch = watch
        self._now = now
        self._answers: dict[tuple[bytes, Any], Any] = {}
        self._done: dict[tuple[bytes, int, Any], int] = {}  # how often an attempt has done something
        self._made = 0
        self._sent: dict[str, list[Any]] = {}  # values of promises, by token, and of events, by key
        self._settled: dict[str, Any] = {}
        self._posts: dict[tuple[bytes, str], list[_Post]] = {}  # messages, as they were begun to be sent
        self._known: dict[bytes, int] = {}  # how often a child had been revived when its parent last dealt with it

    def is_current(self, run_id: bytes, attempt: int) -> bool:
        """Whether an attempt is the one that counts."""
        run = self._tables.runs.get(run_id)
        return run is not None and run.is_at(RunState.RUNNING, attempt)

    def find(self, run_id: bytes, kind: RunKind, said: dict[str, Any], *, of_old: bool = False) -> Run | None:
        """What a run has recorded: the first of which it says this, in its present life, or (`of_old`) in any; of
        several one that completed, if there is one."""
        since, first = 0 if of_old else _since(self._tables.runs.get(run_id)), None
        for id_ in self._tables.order("children", run_id):
            part = self._tables.runs[id_]
            if part.asked >= since and part.kind == kind and msgspec.json.decode(part.input).items() >= said.items():
                if part.state == RunState.COMPLETED:
                    return part
                first = first or part
        return first

    def origin(self, run_id: bytes) -> bytes | None:
        """The run that this one is a fork of, and takes what that has recorded."""
        run = self._tables.runs.get(run_id)
        fork = None if run is None else fork_of(run.life)
        return None if fork is None or fork.how != "fork" else fork.key

    def origins(self, run_id: bytes) -> Iterator[bytes]:
        """That one, and what it is a fork of itself, and so on: what a fork had not come to, it has from there."""
        while (of := self.origin(run_id)) is not None:
            yield of
            run_id = of

    def _copies(self, run_id: bytes, kind: RunKind, said: dict[str, Any]) -> bool:
        """Whether what a run has recorded is a copy; or will be, as that is written with what comes next."""
        part = self.find(run_id, kind, said)
        if part is not None:
            return fork_of(part.life) is not None
        found = (self.find(of, kind, said, of_old=True) for of in self.origins(run_id))
        return any(there is not None and there.state == RunState.COMPLETED for there in found)

    # --- steps and times -------------------------------------------------------------------------------------------

    def does(self, run_id: bytes, attempt: int, what: Any, args: list[Any]) -> Iterator[str]:
        """A step's function is called."""
        key = run_id, attempt, what
        self._done[key] = self._done.get(key, 0) + 1
        part = self.find(run_id, RunKind.RECORDED, {"args": args})
        if part is not None and part.state == RunState.COMPLETED and self.is_current(run_id, attempt):
            yield f"step {what} of {run_id.hex()[-6:]} is done again by attempt {attempt}, and was recorded"

    def times(self, run_id: bytes, attempt: int, what: Any) -> int:
        """How often this attempt has done it."""
        return self._done.get((run_id, attempt, what), 0)

    def made(self) -> int:
        """Something that nobody else has."""
        self._made += 1
        return self._made

    def answered(self, run_id: bytes, what: Any, value: Any) -> Iterator[str]:
        """Code got this, and it was recorded."""
        first = self._answers.setdefault((run_id, what), value)
        if first != value:
            yield f"{what} of {run_id.hex()[-6:]} was {first}, and is {value}"

    def at_the_end(self) -> Iterator[str]:
        """What was answered stands there."""
        for (run_id, what), value in self._answers.items():
            if run_id in self._tables.runs and isinstance(what[-1], int) and len(what) == 2:
                said = {"args": list(what)}
                part = self.find(run_id, RunKind.RECORDED, said, of_old=True)
                for of in self.origins(run_id):  # (of a fork that ended before it copied)
                    part = part or self.find(of, RunKind.RECORDED, said, of_old=True)
                if part is None and any(of not in self._tables.runs for of in self.origins(run_id)):
                    continue  # that was deleted
                if part is None or msgspec.json.decode(part.output or "null") != value:
                    yield f"step {what} of {run_id.hex()[-6:]} was answered with {value}, and {part} stands there"

    # --- sleeps ----------------------------------------------------------------------------------------------------

    def slept(self, run_id: bytes, attempt: int, asked: Asked, calm: int | None) -> Iterator[str]:
        """Code goes on after a sleep; all has been calm since then, or never."""
        if not self.is_current(run_id, attempt) or self._copies(run_id, RunKind.SLEEP, asked.said):
            return
        now, part, whose = self._now(), self.find(run_id, RunKind.SLEEP, asked.said), run_id.hex()[-6:]
        due = asked.until or round((part.created_at if part else asked.began) + asked.span * 1e6)
        if (part is None or part.state in REVIVED) and due < asked.began + SHORT:
            if now < due - EARLY:
                yield f"{whose} goes on {due - now} us too early, after a short sleep: {asked}"
            return
        if part is None or part.state != RunState.COMPLETED or part.finished_at is None:
            yield f"{whose} goes on after {asked}, and its sleep is {part}"
            return
        if part.ended_by != EndedBy.CALL and now < due - EARLY:
            yield f"{whose} goes on {due - now} us too early, after {asked}"
        if calm is not None and part.finished_at > calm and now > part.finished_at + HEARD:
            yield f"{whose} goes on {now - part.finished_at} us after its sleep has ended"

    def woken(self, sleep_id: bytes, *, woken: bool) -> Iterator[str]:
        """A sleep was ended, says the store."""
        sleep = self._tables.runs.get(sleep_id)
        if woken and sleep is not None and sleep.state != RunState.COMPLETED:
            yield f"{sleep_id.hex()[-6:]} was woken, and is {RunState(sleep.state).name}"

    # --- from outside ----------------------------------------------------------------------------------------------

    def sends(self, to: str, value: Any) -> None:
        """Somebody is about to say this: of a promise (its token), or of what has happened (its key)."""
        self._sent.setdefault(to, []).append(value)

    def settled(self, token: str, value: Any, *, forked: bool = False) -> Iterator[str]:
        """A promise has this value, says the store. (In a fork it was sent to another one, perhaps.)"""
        if not any(value in self._sent.get(each, ()) for each in (self._sent if forked else (token,))):
            yield f"a promise has the value {value}, which nobody sent"
        first = self._settled.setdefault(token, value)
        if first != value:
            yield f"a promise was resolved with {first}, and with {value}"

    def happened(self, key: str, value: Any) -> Iterator[str]:
        """Code was told of an event."""
        if value not in self._sent.get(key, ()):
            yield f"code was told that {value} has happened, which nobody said of {key}"

    def waiting_for(self, key: str) -> list[bytes]:
        """Runs that wait for such an event."""
        runs = self._tables.runs.values()
        waiting = (run for run in runs if run.kind == RunKind.EVENT and run.state == RunState.WAITING)
        return [run.id for run in waiting if msgspec.json.decode(run.input)["key"] == key]

    def heard(self, waiting: list[bytes]) -> Iterator[str]:
        """It has happened: they wait no more, but for those that have begun to wait anew, or end with their tree."""
        gated = self._gated()
        for id_ in waiting:
            run = self._tables.runs.get(id_)
            waits = run is not None and run.state == RunState.WAITING and not run.trial_start
            if run is not None and waits and run.root_id not in gated:
                yield f"{id_.hex()[-6:]} waits for what has happened"

    # --- messages --------------------------------------------------------------------------------------------------

    def posts(self, run_id: bytes, name: str) -> dict[str, Any]:
        """A message is about to be sent: this one."""
        payload = {"name": name, "made": self.made()}
        self._posts.setdefault((run_id, name), []).append(_Post(payload, self.made()))
        return payload

    def posted(self, run_id: bytes, name: str, payload: dict[str, Any]) -> None:
        """... and was."""
        (post,) = (post for post in self._posts[run_id, name] if post.payload is payload)
        post.acknowledged = self.made()

    def received(self, run_id: bytes, name: str, payload: dict[str, Any]) -> Iterator[str]:
        """Code got this message: it was sent, one wait took it, and all that were sent before were taken as well."""
        if run_id not in self._tables.runs:
            return
        whose, posts, of = run_id.hex()[-6:], self._posts.get((run_id, name), []), self.origin(run_id)
        if of is not None and not any(post.payload == payload for post in posts):
            yield from self.received(of, name, payload)  # a copy of what that one has received
            return
        post = next((post for post in posts if post.payload == payload), None)
        if post is None:
            yield f"{whose} received {payload}, which nobody sent"
            return
        parts = [self._tables.runs[id_] for id_ in self._tables.order("children", run_id)]
        outputs = [part.output for part in parts if part.kind == RunKind.MESSAGE and part.output is not None]
        taken = [msgspec.json.decode(output)["payload"]["made"] for output in outputs]
        if taken.count(payload["made"]) != 1:
            yield f"{whose} received {payload}, which {taken.count(payload['made'])} of its waits have"
        for each in posts:
            sooner = each.acknowledged is not None and each.acknowledged < post.began
            if sooner and each.payload["made"] not in taken:
                yield f"{whose} received {payload}, and not {each.payload}, which was sent before"

    # --- children that nobody wants any more -----------------------------------------------------------------------

    def asked_for(self, ids: Iterable[bytes]) -> None:
        """Their parent has asked for these anew: what revives them afterwards is somebody else's doing."""
        self._known |= {id_: self._watch.revivals[id_] for id_ in ids}

    def let_go(self, run_id: bytes, attempt: int, ids: Iterable[bytes]) -> Iterator[str]:
        """An attempt has cancelled these children: they have ended, as far as it had asked for them."""
        for id_ in ids:
            child = self._tables.runs.get(id_)
            if child is not None and child.parent_id == run_id and child.asked == attempt:
                self._known[id_] = self._watch.revivals[id_]
                if not child.is_over:
                    yield f"{id_.hex()[-6:]} was cancelled by {run_id.hex()[-6:]}, and lives on"

    def _is_by_hand(self, parent: Run, child: Run) -> bool:
        """Whether a child was replayed by somebody after its parent knew that it had ended, or
        had let go of it: that is for who did so to want."""
        if child.asked == parent.attempt:
            return self._watch.revivals[child.id] > self._known.get(child.id, 0)
        return parent.started_at is not None and self._watch.revived_since(child, parent.started_at)

    def left(self, run_id: bytes, attempt: int, numbers: Collection[int], *, of_old: bool = True) -> Iterator[str]:
        """Of these children, by numbers of their plans, this attempt has let go: none lives on. But for those that it
        had not come to ask for, and an attempt before it had (unless `of_old`): they are wanted until it ends."""
        run = self._tables.runs.get(run_id)
        if run is None or not self.is_current(run_id, attempt) or run.root_id in self._gated():
            return
        for child in (self._tables.runs[id_] for id_ in self._tables.order("children", run_id)):
            if child.is_over or child.kind == RunKind.STEP or child.on_parent_end == OnParentEnd.SHARED:
                continue
            given = msgspec.json.decode(child.input)
            if child.kind >= FIRST_WAIT:
                given = given.get("input", {}) if child.kind == RunKind.SHARE else {}
            since = _since(run) if of_old else attempt
            wanted = not since <= child.asked <= attempt or self._is_by_hand(run, child)
            if not wanted and given.get("n") in numbers:
                yield f"{child.id.hex()[-6:]} lives on, and {run_id.hex()[-6:]} does not want it any more"

    def _gated(self) -> set[bytes]:
        return {gate.root_id for gate in self._tables.gates.values()}
