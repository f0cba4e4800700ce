"""Why a run is where it is: what that depends on, as the store shows it, and that in words.

Asked by people and programs, one run at a time: a few statements, each of which ends after `FAR` rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from fanwood.clock import moment
from fanwood.errors import BudgetExceeded
from fanwood.ids import id_text, short_text
from fanwood.model.budgets import DEPTH, Balance
from fanwood.model.commands import SUSPECT_DEATHS
from fanwood.model.looks import LAST_ID, Bond, Kin
from fanwood.model.matching import read
from fanwood.model.records import Circumstances, Holding, Living, Pause, Serving
from fanwood.model.states import FIRST_WAIT, WAIT_NAMES, GateKind, RunKind, RunState
from fanwood.store.failures import UNSERVED, decode_failure, summary
from fanwood.store.patching import patch_of
from fanwood.store.why_beside import at_work, besides, by_others, harm_of, push_of
from fanwood.store.words import are, lasting, many

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.records import Patched, RunRecord

FAR = 10_000
"""Rows that a look goes through, at most."""
SERVERS = 100
"""Workers that are named, at most."""
SOON, DAY = 600_000_000, 86_400_000_000
"""Microseconds: a time of the day is told with seconds before the one, and with its date after the other."""
SAMPLE, ENOUGH = 1_000, 20
"""Others of its task whose times are looked at; fewer than this say nothing."""


class Rows(Protocol):
    """Rows of a statement, from any store that knows SQL."""

    async def __call__(self, name: str, /, **bindings: Any) -> Sequence[Sequence[Any]]: ...


async def circumstances(rows: Rows, run: RunRecord, now: int) -> Circumstances:
    """See `Store.circumstances`."""
    found: dict[str, Any] = {"kin": await _kin(rows, run)}
    if run.state.is_terminal:
        return Circumstances(run, now, **found, patched=await _patched(rows, run))
    family = {"root": run.root_id, "parent": run.id, "most": FAR}
    gates = await rows("why_gate", id=run.id)
    gate = next((id_ for id_, what in gates if what == GateKind.CLOSED), None)
    found |= {"gate": gate, "deleting": bool(gates) and gate is None}
    if run.state is RunState.QUEUED:
        place = await rows("why_place", id=run.id, task=run.task, most=FAR)
        found["place"] = place[0][0] if place else None
    begins = run.state is RunState.QUEUED
    if run.state is RunState.WAITING and run.kind < FIRST_WAIT:
        begins = run.due_at is None  # once it is resumed
        for missing, awaited, *oldest in await rows("why_suspended", id=run.id, most=FAR):
            begins = False
            found |= {"missing": missing, "awaited": awaited, "oldest": _living([oldest])}
    if begins:
        serving = await rows("why_servers", task=run.task, now=now, most=FAR, servers=SERVERS)
        found["serving"] = tuple(Serving(id_, name, slots, bool(own), n) for id_, name, slots, own, n in serving)
    if run.kind >= FIRST_WAIT:
        found |= {"oldest": _living(await rows("why_shared", id=run.id)), **await _mark(rows, run)}
    if run.state is RunState.RUNNING:
        found["living"] = tuple((RunState(state), n) for state, n in await rows("why_living", **family))
        found["oldest"] = _living(await rows("why_oldest", **family))
        found["slowest"] = _living(await rows("why_slowest", **family))
        holding = await rows("why_worker", worker=run.worker_id, most=FAR)
        found["holding"] = Holding(*holding[0]) if holding else None
        if not found["living"]:
            found["took"] = tuple(took for (took,) in await _times(rows, run))
    oldest_one: Living | None = found.get("oldest")
    if oldest_one is not None and oldest_one.task == WAIT_NAMES[RunKind.SHARE]:
        found["shared"] = _living(await rows("why_shared", id=oldest_one.id))
    if found["kin"] is not None and found["kin"].bond is Bond.SHARED:
        found["links"] = (await rows("why_links", id=run.id, high=run.id + LAST_ID, most=FAR))[0][0]
    if run.kind < FIRST_WAIT:
        found["empty"] = empty(Balance(*row[:5], open=bool(row[5])) for row in await rows("balances", id=run.id))
    paused = await rows("why_paused", id=run.id)
    return Circumstances(run, now, **found, paused=Pause(*paused[0]) if paused else None)


async def _kin(rows: Rows, run: RunRecord) -> Kin | None:
    found = await rows("kin_of", parents=run.id, count=1)
    if not found and run.state is RunState.COMPLETED and run.parent_id is not None:
        found = await rows("why_helped", id=run.id, root=run.root_id, parent=run.parent_id, most=FAR)
    if not found:
        return None
    id_, bond, other, task, state = found[0]
    return Kin(id_, Bond(bond), other, task, RunState(state))


async def _mark(rows: Rows, run: RunRecord) -> dict[str, Any]:
    found = await rows("why_mark", id=run.id)
    return dict(zip(("mark", "expires_at"), found[0], strict=True)) if found else {}


async def _patched(rows: Rows, run: RunRecord) -> Patched | None:
    if run.state is not RunState.COMPLETED:
        return None
    return patch_of((row[0], row[1]) for row in await rows("why_patched", id=run.id))


def empty(limits: Iterable[Balance]) -> tuple[Balance, ...]:
    """Those of which nothing is left."""
    return tuple(one for one in limits if one.open and one.unit != DEPTH and one.used + one.held >= one.amount)


async def _times(rows: Rows, run: RunRecord) -> Sequence[Sequence[Any]]:
    if run.parent_id is None:
        return await rows("why_roots", task=run.task, most=SAMPLE)
    return await rows("why_siblings", root=run.root_id, parent=run.parent_id, task=run.task, most=SAMPLE)


def _living(found: Sequence[Sequence[Any]]) -> Living | None:
    if not found:
        return None
    id_, task, state, *times = found[0]
    return Living(id_, task, RunState(state), *times)


# --- in words --------------------------------------------------------------------------------------------------------


class WhyCause(StrEnum):
    """Why a run is where it is."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BUDGET_EMPTY = "budget_empty"  # it failed, as what it asked for was more than a budget had left
    DELETING = "deleting"  # its tree is being deleted
    CLOSING = "closing"  # something above it ended, and it ends with that in a moment
    DELAYED = "delayed"  # it waits until it is due
    OTHER_CODE = "other_code"  # it waits for a worker with the version of its code that began it
    SLEEPING = "sleeping"  # it is a sleep of a run
    WAITING = "waiting"  # for what comes from outside
    SPOILT = "spoilt"  # nothing may ever end it, as somebody has spoilt its row
    NO_WORKER = "no_worker"  # no live worker serves its task
    SUSPECT = "suspect"  # it may have killed its workers, and waits for one that executes nothing
    SLOTS_BUSY = "slots_busy"  # others are before it
    STARTING = "starting"  # a worker takes it at any moment
    WAITING_FOR_CHILDREN = "waiting_for_children"
    PAUSED = "paused"  # it, or something above it, is
    SUSPENDED = "suspended"  # its code is unloaded until others have ended
    LOST = "lost"  # its worker is gone; it is queued again in a moment
    EXECUTING = "executing"


GOES_ON_PAUSED = (WhyCause.EXECUTING, WhyCause.WAITING_FOR_CHILDREN, WhyCause.SUSPENDED)
"""In which a run may be that is paused: what was begun before goes on."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a run is where it is: `cause` for programs, `text` for people, `command` that helps, if there is one, and the
    `facts` that the text has: numbers, ids, microseconds by the store's clock."""

    run_id: str
    task_name: str
    status: RunState
    cause: WhyCause
    text: str
    command: str | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return self.text


def explain(about: Circumstances) -> Why:
    """In words."""
    run = about.run
    if run.state.is_terminal:
        said = _ended(about)
    elif about.deleting:
        said = _Said(WhyCause.DELETING, "its tree is being deleted")
    elif about.gate is not None:
        above = short_text(about.gate)
        said = _Said(
            WhyCause.CLOSING, f"{above}, above it, has ended: it is cancelled in a moment, and nothing below it starts",
            f"fanwood runs get {above}", {"ended": id_text(about.gate)},
        )  # fmt: skip
    elif about.paused is not None and run.kind < FIRST_WAIT and _is_held(about):
        said = _paused(about, about.paused, served=bool(about.serving))
    elif run.state is RunState.WAITING and (harm := harm_of(about)):
        said = _Said(WhyCause.SPOILT, *harm)
    elif run.state is RunState.WAITING:
        said = _WAITING.get(run.kind, _suspended if about.awaited else _delayed)(about)
    elif run.state is RunState.QUEUED:
        said = _queued(about)
    else:
        said = _running(about)
    more, facts = besides(about)
    beside = f"; {more}" if more else ""
    if about.paused is not None and said.cause in (*GOES_ON_PAUSED, WhyCause.DELAYED, WhyCause.OTHER_CODE):
        pause = _paused(about, about.paused)
        what = "nothing below it begins" if said.cause in GOES_ON_PAUSED else "it does not begin before that ends"
        beside += f"; {pause.text}, and {what}"
        facts |= pause.facts or {}
    text = f"{run.task} {short_text(run.id)} is {run.state.name}: {said.text}{beside}."
    return Why(id_text(run.id), run.task, run.state, said.cause, text, said.command, facts | (said.facts or {}))


@dataclass(frozen=True, slots=True)
class _Said:
    cause: WhyCause
    text: str
    command: str | None = None
    facts: dict[str, Any] | None = None


def _ended(about: Circumstances) -> _Said:
    run = about.run
    ago = lasting(about.now - (run.finished_at or about.now))
    tries = f" after {run.attempt:,} attempts" if run.is_begun_again else ""
    if run.state is RunState.COMPLETED:
        how = "its time came, or it was woken" if run.kind is RunKind.SLEEP else "it returned"
        if run.kind is RunKind.RECORDED and "decided" in (told := _told(run)):
            what = {"run": "ran"}.get(str(told["decided"]), str(told["decided"]))
            how = f"step {told.get('step')} {'' if what == 'ran' else 'was '}{what}: {told.get('because')},"
        if about.kin is not None and about.kin.bond is Bond.HELPED:
            how = f"its hedge, {short_text(about.kin.other)}, completed it"
        others, facts = by_others(about)
        said = others or f"{how} {ago} ago{tries}"
        return _Said(WhyCause.COMPLETED, said, f"fanwood runs get {short_text(run.id)}", facts)
    why = "" if run.error is None else f": {summary(decode_failure(run.error))}"
    who = run.id if run.kind < FIRST_WAIT else run.parent_id or run.id  # a part of its parent, which is run again
    again = f"fanwood runs retry {short_text(who)}"
    if about.kin is not None and about.kin.bond is Bond.HELPS:  # nobody asks for a hedge again
        again = f"fanwood why {short_text(about.kin.other)}"
    if run.state is RunState.FAILED:
        failure = decode_failure(run.error)
        if failure.type != BudgetExceeded.__name__ or not failure.limit:
            return _Said(WhyCause.FAILED, f"{ago} ago{tries}{why}", again)
        helps = f"fanwood tree {failure.owner or id_text(run.root_id)}"  # it says who has burnt what
        facts = {"limit": failure.limit, "budget": failure.owner or None}
        return _Said(WhyCause.BUDGET_EMPTY, f"{ago} ago{tries}{why}", helps, facts)
    return _Said(WhyCause.CANCELLED, f"{ago} ago{why}", again)


def _is_held(about: Circumstances) -> bool:
    """Whether nothing but the pause keeps it from being begun."""
    waits = about.run.state is RunState.WAITING and about.run.due_at is None and not about.awaited
    return about.run.state is RunState.QUEUED or waits


def _paused(about: Circumstances, pause: Pause, *, served: bool = True) -> _Said:
    who = "it is" if pause.run_id == about.run.id else f"{short_text(pause.run_id)}, above it, is"
    said = f"{who} paused by {pause.by} since {lasting(about.now - pause.made_at)}"
    facts: dict[str, Any] = {"paused": id_text(pause.run_id), "by": pause.by, "since": pause.made_at}
    if not served:  # so it would not begin if it were resumed
        said, facts["workers"] = f"{said}, and no live worker serves {about.run.task}", []
    return _Said(WhyCause.PAUSED, said, f"fanwood runs resume {short_text(pause.run_id)}", facts)


def _delayed(about: Circumstances) -> _Said:
    run = about.run
    why = "" if run.error is None else f" (its last attempt failed: {summary(decode_failure(run.error))})"
    left = max(0, (run.due_at or about.now) - about.now)
    if about.kin is not None and about.kin.bond is Bond.HELPS and run.attempt == 0:
        text = f"it begins in {lasting(left)}, if the run that it is to help has not ended by then"
        return _Said(WhyCause.DELAYED, text, f"fanwood why {short_text(about.kin.other)}", {"due_at": run.due_at})
    failure = decode_failure(run.error)
    if failure.kind == UNSERVED:
        text = f"it waits for a worker with other code: {failure.message}. It is queued again in {lasting(left)}"
        return _Said(WhyCause.OTHER_CODE, text, "fanwood worker MODULE:APP", {"due_at": run.due_at})
    return _Said(
        WhyCause.DELAYED, f"it is queued again in {lasting(left)}, for retry {run.retry_count}{why}",
        f"fanwood logs {short_text(run.id)}", {"due_at": run.due_at, "retry": run.retry_count},
    )  # fmt: skip


def _sleeping(about: Circumstances) -> _Said:
    run = about.run
    until = run.due_at or about.now
    left = max(0, until - about.now)
    when = moment(until).astimezone()
    shown = f"{when:%H:%M:%S}" if left < SOON else f"{when:%H:%M}" if left < DAY else f"{when:%Y-%m-%d %H:%M}"
    what = "a wait of its parent's gives up at" if "timeout" in _told(run) else "it sleeps until"
    return _Said(
        WhyCause.SLEEPING, f"{what} {shown} ({lasting(left)})",
        f"fanwood runs wake {short_text(run.id)}", {"due_at": run.due_at},
    )  # fmt: skip


def _suspended(about: Circumstances) -> _Said:
    run, oldest = about.run, about.oldest
    said = f"suspended: its code is unloaded, and waits for {about.missing:,} of {many(about.awaited, 'run')}"
    facts: dict[str, Any] = {"missing": about.missing, "awaited": about.awaited, "due_at": run.due_at}
    if oldest is None:
        return _Said(WhyCause.SUSPENDED, said, None, facts)
    age = lasting(about.now - oldest.created_at)
    said += f"{_oldest(about, oldest, facts)}, asked for {age} ago"
    return _Said(WhyCause.SUSPENDED, said, f"fanwood why {short_text((about.shared or oldest).id)}", facts)


def _oldest(about: Circumstances, oldest: Living, facts: dict[str, Any]) -> str:
    """Of what it waits for; a link by what is shared."""
    facts["oldest"] = id_text(oldest.id)
    shared = about.shared
    if shared is None:
        return f"; the oldest is {oldest.task} {short_text(oldest.id)}, {oldest.state.name}"
    facts["shared"] = id_text(shared.id)
    return f"; the oldest is the shared run {short_text(shared.id)} of {shared.task}, {shared.state.name}"


def _promised(about: Circumstances) -> _Said:
    name = _told(about.run).get("name", "")
    facts = {"promise": name, "created_at": about.run.created_at, "due_at": about.expires_at}
    text = f"it waits for somebody to settle {name}{_since(about)}"
    return _Said(WhyCause.WAITING, text, "fanwood promises resolve TOKEN VALUE", facts)


def _for_event(about: Circumstances) -> _Said:
    run = about.run
    wanted = read(run.input or "{}")
    facts: dict[str, Any] = {"event": wanted.key, "scope": wanted.scope, "match": wanted.match}
    facts |= {"expression": wanted.expression, "created_at": run.created_at, "due_at": about.expires_at}
    more = [] if wanted.scope is None else [f"scope {wanted.scope}"]
    more += [f"{path} = {msgspec.json.encode(value).decode()[:80]}" for path, value in wanted.match.items()]
    more += [] if wanted.expression is None else [wanted.expression]
    text = ", ".join([f"it waits for event {wanted.key}{_since(about)}", *more])
    return _Said(WhyCause.WAITING, text, push_of(wanted), facts)


def _for_message(about: Circumstances) -> _Said:
    run = about.run
    name = read(run.input or "{}").key
    return _Said(
        WhyCause.WAITING, f"it waits for a message {name}{_since(about)}", None,
        {"message": name, "created_at": run.created_at, "due_at": about.expires_at},
    )  # fmt: skip


def _for_shared(about: Circumstances) -> _Said:
    shared = about.oldest
    if shared is None:
        return _Said(WhyCause.WAITING, f"it waits for a shared run{_since(about)}", None, {})
    text = f"it waits for the shared run {short_text(shared.id)} of {shared.task}, {shared.state.name}{_since(about)}"
    facts: dict[str, Any] = {"shared": id_text(shared.id), "task": shared.task, "state": shared.state.name}
    return _Said(WhyCause.WAITING, text, f"fanwood why {short_text(shared.id)}", facts)


def _told(run: RunRecord) -> dict[str, Any]:
    """What is written of a wait."""
    try:
        told = msgspec.json.decode(run.input or "{}")
    except msgspec.DecodeError:  # somebody wrote it by hand
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _since(about: Circumstances) -> str:
    end = "" if about.expires_at is None else f" (and gives up in {lasting(about.expires_at - about.now)})"
    return f" since {lasting(about.now - about.run.created_at)}{end}"


_WAITING = {
    RunKind.SLEEP: _sleeping,
    RunKind.EVENT: _for_event,
    RunKind.PROMISE: _promised,
    RunKind.MESSAGE: _for_message,
    RunKind.SHARE: _for_shared,
}


def _queued(about: Circumstances) -> _Said:
    run, serving = about.run, about.serving
    since = f"queued for {lasting(about.now - run.created_at)}" if run.attempt == 0 else "queued again"
    if not serving:
        return _Said(
            WhyCause.NO_WORKER, f"{since}, and no live worker serves {run.task}",
            "fanwood worker MODULE:APP", {"created_at": run.created_at},
        )  # fmt: skip
    slots, running = sum(one.slots for one in serving), sum(one.running for one in serving)
    facts = {"workers": [one.name for one in serving], "slots": slots, "running": running, "place": about.place}
    own = sum(one.own for one in serving)
    who = f"served by {many(len(serving), 'worker')} with {many(slots, 'slot')}"
    only = f" ({own:,} of them only below roots of their own program)" if own else ""
    if run.deaths >= SUSPECT_DEATHS:
        return _Said(
            WhyCause.SUSPECT,
            f"{run.deaths} workers in a row died while executing it, so it is taken only by one that executes nothing "
            f"else; it is {who}{only}", "fanwood top", facts,
        )  # fmt: skip
    ahead = f"more than {FAR - 1:,} runs are" if about.place is None else are(about.place - 1)
    facts["ahead"] = None if about.place is None else about.place - 1
    if running >= slots or about.place is None or about.place > slots - running:
        return _Said(
            WhyCause.SLOTS_BUSY, f"{since}; {who}{only}, with {many(running, 'run')} now; {ahead} "
            "ahead of it", "fanwood top", facts,
        )  # fmt: skip
    return _Said(WhyCause.STARTING, f"{since}; {who}{only}; {ahead} ahead of it", "fanwood top", facts)


def _running(about: Circumstances) -> _Said:
    run, holding = about.run, about.holding
    lease = 0 if holding is None else holding.lease_expires_at - about.now
    where = "a worker that is gone" if holding is None else holding.name
    facts: dict[str, Any] = {"worker": where, "lease_expires_at": None if holding is None else holding.lease_expires_at}
    if lease <= 0:
        return _Said(
            WhyCause.LOST, f"its worker, {where}, has lost its lease; it is queued again as soon as any worker or "
            "client looks", "fanwood doctor", facts,
        )  # fmt: skip
    at = f"on {where}, whose lease expires in {lasting(lease)} unless it is renewed"
    if about.living:
        return _parent(about, at, facts)
    said, more = at_work(about)
    facts |= more | _typical(about.took)
    usual = f"; p99 of {run.task} is {lasting(facts['p99'])}" if "p99" in facts else ""
    return _Said(WhyCause.EXECUTING, f"{said}, {at}{usual}", f"fanwood logs {short_text(run.id)} --follow", facts)


def _parent(about: Circumstances, at: str, facts: dict[str, Any]) -> _Said:
    living, oldest, slowest = dict(about.living), about.oldest, about.slowest
    pause = None if about.paused is None else _paused(about, about.paused)
    count = sum(living.values())
    least = "at least " if count >= FAR else ""
    said = [f"it has {least}{many(count, 'child', 'children')} that {'has' if count == 1 else 'have'} not ended ("]
    said += [", ".join(f"{n:,} {state.name}" for state, n in sorted(living.items())), ")"]
    facts["children"] = {state.name: n for state, n in living.items()}
    if oldest is not None:
        said.append(_oldest(about, oldest, facts))
    if slowest is not None and slowest.started_at is not None:
        said.append(f"; {slowest.task} {short_text(slowest.id)} has run for {lasting(about.now - slowest.started_at)}")
        facts["slowest"] = id_text(slowest.id)
    next_ = slowest or about.shared or oldest
    command = None if next_ is None else f"fanwood why {short_text(next_.id)}"
    if pause is not None:  # what of them has not begun waits for that
        command = pause.command
    return _Said(WhyCause.WAITING_FOR_CHILDREN, "".join([*said, f"; {at}"]), command, facts)


def _typical(took: tuple[int, ...]) -> dict[str, int]:
    """Median and p99, if there are enough of them."""
    if len(took) < ENOUGH:
        return {}
    ordered = sorted(took)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]}
