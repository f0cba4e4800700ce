"""What else is said of why a run is where it is: of whom it is a hedge, who shares it, which budgets are empty."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fanwood.ids import id_text, short_text
from fanwood.model.forks import fork_of
from fanwood.model.looks import Bond
from fanwood.model.matching import is_found
from fanwood.model.states import WAIT_NAMES, RunKind
from fanwood.store.budgets import amount_text, shown
from fanwood.store.words import lasting, many

if TYPE_CHECKING:
    from fanwood.model.matching import Wanted
    from fanwood.model.records import Circumstances


def besides(about: Circumstances) -> tuple[str, dict[str, Any]]:
    """In words, and as facts."""
    said, facts = _kin(about)
    if about.empty:
        facts["empty"] = [
            {"run_id": id_text(one.run_id), "unit": shown(one.unit), "amount": amount_text(one.unit, one.amount)}
            for one in about.empty
        ]
        rows = [
            f"of {amount_text(one.unit, one.amount)} {shown(one.unit)} in the budget of {short_text(one.run_id)} none "
            "are left"
            for one in about.empty
        ]
        said.append(f"{' and '.join(rows)}, and what asks for more of them is refused")
    return "; ".join(said), facts


def by_others(about: Circumstances) -> tuple[str, dict[str, Any]]:
    """Of one that has completed, and not by its own code: how, and when. Nothing, if it was that."""
    run, patched = about.run, about.patched
    if patched is not None:
        when = f"{lasting(about.now - patched.at)} ago"
        return f"{patched.by} gave it its output by hand {when}", {"patched_by": patched.by, "patched_at": patched.at}
    fork = fork_of(run.life)
    if fork is None or fork.how != "copy":
        return "", {}
    ago = lasting(about.now - (run.finished_at or about.now))
    said = f"it was copied {ago} ago from {short_text(fork.key)}, which had completed: nothing was executed"
    return said, {"copy_of": id_text(fork.key)}


def at_work(about: Circumstances) -> tuple[str, dict[str, Any]]:
    """Of one that its worker has taken. It may have taken more than it has slots: nobody else knows which of them
    execute, and which of them wait for others there."""
    run, holding = about.run, about.holding
    took = about.now - (run.started_at or about.now)
    facts: dict[str, Any] = {"executing": took}
    if holding is None or holding.running <= holding.slots:
        return f"attempt {run.attempt:,} has been executing for {lasting(took)}", facts
    said = f"attempt {run.attempt:,} was taken {lasting(took)} ago, by a worker with {many(holding.slots, 'slot')} and "
    said += f"{many(holding.running, 'run')}: it executes, or waits there for a slot"
    return said, facts | {"slots": holding.slots, "running": holding.running}


def harm_of(about: Circumstances) -> tuple[str, str, dict[str, Any]] | None:
    """Of what waits and has no code: why nothing may ever end it, and what does. None: it will be found."""
    run = about.run
    kind = next((kind for kind, name in WAIT_NAMES.items() if name == run.task), run.kind)
    if run.kind != kind:
        what = f"it is a {run.task}, and its kind says otherwise"
    elif kind is RunKind.SLEEP and run.due_at is None:
        what = "it sleeps, and does not say until when"
    elif kind in (RunKind.EVENT, RunKind.MESSAGE) and not is_found(kind, run.parent_id, about.mark, run.input):
        what = "it waits, and what it waits for does not find it"
    else:
        return None
    said = f"somebody has spoilt its row in the database: {what}, so it may wait for ever"
    return said, f"fanwood runs cancel {short_text(run.id)}", {"created_at": run.created_at}


def push_of(wanted: Wanted) -> str:
    """The command that pushes an event for which somebody waits: of that scope, and with what it must have in it."""
    payload: dict[str, Any] = {}
    for path, value in sorted(wanted.match.items()):
        *way, last = path.split(".")
        place = payload
        for step in way:
            below: Any = place.setdefault(step, {})
            # (where another path ends here, no event has both)
            place = cast("dict[str, Any]", below) if isinstance(below, dict) else {}
        place[last] = value
    said = shlex.quote(msgspec.json.encode(payload).decode()) if payload else "PAYLOAD"
    scope = "" if wanted.scope is None else f" --scope {shlex.quote(wanted.scope)}"
    return f"fanwood events push {shlex.quote(wanted.key)} {said}{scope}"


def _kin(about: Circumstances) -> tuple[list[str], dict[str, Any]]:
    kin, run = about.kin, about.run
    if kin is None:
        return [], {}
    other = f"{kin.task} {short_text(kin.other)}"
    if kin.bond is Bond.HELPS:
        return [f"it is a hedge of {other}, {kin.state.name}"], {"hedge_of": id_text(kin.other)}
    if kin.bond is Bond.HELPED:
        said = [] if run.state.is_terminal else [f"its hedge is {other}, {kin.state.name}"]
        return said, {"hedge": id_text(kin.other)}
    if kin.bond is Bond.SHARES:
        return [], {"shared": id_text(kin.other)}
    if run.state.is_terminal:
        return ["it is shared by calls of its tree"], {}
    return [f"it is shared, and {many(about.links, 'call')} of its tree {_wait(about.links)} for it"], {
        "links": about.links
    }


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"
