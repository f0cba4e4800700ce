"""Looking into a store from a command, without becoming one of its engines; and runs as JSON.

Nothing is created unless asked for: where there is no database, that is what is said.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from fanwood.cli import text
from fanwood.cli.base import OF_OUTPUT, Common
from fanwood.clock import MICROSECONDS, SystemClock
from fanwood.engine.health import as_told, current_task, is_meant
from fanwood.ids import id_bytes, id_text, short_text
from fanwood.model.looks import Bond
from fanwood.model.states import RunKind, RunState, Waits, waits_named
from fanwood.store.failures import attempt_error, decode_failure, summary
from fanwood.store.opening import store_for
from fanwood.store.words import lasting

if TYPE_CHECKING:
    from fanwood.lens.views import KinView
    from fanwood.model.commands import Failure
    from fanwood.model.records import AttemptRecord, LogRecord, Pause, RunRecord, TaskCount
    from fanwood.store.store import Store

T = TypeVar("T")


_OURS = (KeyboardInterrupt, SystemExit, click.ClickException, click.exceptions.Exit, click.Abort)
"""What ends a command; whatever else a driver may raise is a sentence."""
_FOR = {
    RunKind.EVENT: "waits for event", RunKind.MESSAGE: "waits for a message",
    RunKind.PROMISE: "waits for somebody to settle",
}  # fmt: skip
NAME, LONGEST = 60, 10_000
"""Characters of a name that are shown, and at most looked at."""
MINUTE = 60 * MICROSECONDS
_TEXT = r'"((?:[^"\\]|\\.)*)'
_NAMED = re.compile(rf'\{{"(?:key|name)":{_TEXT}(?:",?(?:"scope":{_TEXT})?)?')
_CUT = re.compile(r"\\(u[0-9a-f]{0,3})?$", re.IGNORECASE)


def look(
    common: Common,
    verb: Callable[[Store], Awaitable[T]],
    on_notify: Callable[[], None] = lambda: None,
    *,
    create: bool = False,
) -> T:
    """Open the store, ask, close it. `on_notify`: see `Store.open`. `create`: make it if there is none.

    Raises:
        StoreError: it can't be opened; above all: there is none.
    """
    store = store_for(common.settings(), SystemClock(), create=create)
    return asked(store.url, _look(store, verb, on_notify))


def asked(url: str, asking: Coroutine[Any, Any, T]) -> T:
    """What a store says. Whatever a driver raises is a sentence."""
    return asyncio.run(_asked(url, asking))


async def _asked(url: str, asking: Coroutine[Any, Any, T]) -> T:
    mine = current_task()
    try:
        return await asking
    except BaseException as error:
        if is_meant(error, mine) or isinstance(error, _OURS) or (isinstance(error, OSError) and _is_of_files(error)):
            raise
        raise as_told(error, url) from error


def _is_of_files(error: OSError) -> bool:
    """Or of what the output goes to; and not of a connection to a server."""
    return error.filename is not None or error.errno in (errno.EPIPE, *OF_OUTPUT)


async def _look(store: Store, verb: Callable[[Store], Awaitable[T]], on_notify: Callable[[], None]) -> T:
    await store.open(on_notify)
    try:
        return await verb(store)
    finally:
        await store.close()


def ended_at(run: RunRecord, now: int) -> int | None:
    """How long a run has taken, or takes; None if nobody is at it."""
    if run.started_at is None or run.state in (RunState.QUEUED, RunState.WAITING):
        return None
    return (run.finished_at if run.finished_at is not None else now) - run.started_at


def reason(error: str | None) -> str:
    """Why a run has no output, in one line."""
    return text.clean(summary(decode_failure(error)), 160)


def waits(run: RunRecord, now: int) -> str:
    """What a WAITING run waits for."""
    what = "sleeping" if run.kind is RunKind.SLEEP else "paused" if run.waits == Waits.RESUME else "waiting"
    return what if run.due_at is None else f"{what} until {text.clock_time(run.due_at, now)}"


def waits_for(run: RunRecord, preview: str, now: int, longest: int) -> str:
    """The same of one whose input begins so, and for what: `waits for event order:paid, scope 77, since 4 min`."""
    if run.kind is RunKind.SLEEP and run.due_at is not None:
        return f"{waits(run, now)} ({lasting(run.due_at - now)})"
    name, scope = named(run, preview, longest)
    if not name:
        return waits(run, now)
    said = f"{_FOR[run.kind]} {name}{scope and f', scope {scope}'}, since {lasting(now - run.created_at)}"
    if (until := run.until) is None:
        return said
    shown = text.clock_time(until, now)
    return f"{said}, until {shown.rpartition(':')[0] if until - now > MINUTE else shown}"


def named(run: RunRecord, preview: str, longest: int = NAME) -> tuple[str, str]:
    """The name of a wait whose input begins so (an event's key, a promise's name), or how it begins, and its scope; "":
    it has none."""
    found = _NAMED.match(preview) if run.kind in _FOR else None
    name, scope = found.groups(default="") if found is not None else ("", "")
    return _short(_read(name), longest), _short(_read(scope), longest)


def _short(name: str, longest: int) -> str:
    """What is too long for a line, without its middle: how it ends tells as much as how it begins."""
    line, tail = text.clean(name, LONGEST), longest // 3
    return line if len(line) <= longest else f"{line[: longest - tail - 3].rstrip()}...{line[-tail:].lstrip()}"


def _read(written: str) -> str:
    """A text of JSON, which may have been cut."""
    try:
        return msgspec.json.decode(f'"{_CUT.sub("", written)}"', type=str)
    except msgspec.DecodeError:
        return written


def paused_json(pause: Pause | None) -> dict[str, Any] | None:
    """What pauses a run."""
    if pause is None:
        return None
    return {"run_id": id_text(pause.run_id), "by": pause.by, "since": text.instant(pause.made_at)}


def paused(pause: Pause) -> str:
    """`paused by ann since 12:03:44`."""
    return f"paused by {text.clean(pause.by, 80)} since {text.local_time(pause.made_at)}"


def kin(found: KinView) -> str:
    """`shares rate 6c466a1c`."""
    if found.how == Bond.SHARED:
        return "shared"
    how = {Bond.SHARES: "shares", Bond.HELPS: "hedge of", Bond.HELPED: "has the hedge"}[Bond(found.how)]
    return f"{how} {text.clean(found.task, 60)} {short_text(id_bytes(found.id))}"


def kin_json(found: KinView | None) -> dict[str, Any] | None:
    """What a run has to do with another one: `how` is shares, helps, helped or shared."""
    if found is None:
        return None
    return {"how": found.how, "id": found.id, "task": found.task, "status": found.state.upper()}


def run_json(run: RunRecord, now: int) -> dict[str, Any]:
    """A run in a listing."""
    elapsed = ended_at(run, now)
    return {
        "id": id_text(run.id),
        "task": run.task,
        "kind": run.kind.name.lower(),
        "status": run.state.name,
        "parent_id": id_text(run.parent_id) if run.parent_id else None,
        "root_id": id_text(run.root_id),
        "depth": run.depth,
        "child_key": run.child_key,
        "priority": run.priority,
        "metadata": _json(run.metadata) or {},
        "attempt": run.attempt,
        "retry_count": run.retry_count,
        "created_at": text.instant(run.created_at),
        "started_at": text.instant(run.started_at),
        "finished_at": text.instant(run.finished_at),
        "waits": waits_named(run.waits),
        "due_at": text.instant(run.until),
        "seconds": None if elapsed is None else elapsed / MICROSECONDS,
        "busy_seconds": run.busy / MICROSECONDS,
        "error": error_json(run.error),
    }


def whole_run_json(run: RunRecord, now: int) -> dict[str, Any]:
    """A run with what went in and came out."""
    return {**run_json(run, now), "input": _json(run.input), "output": _json(run.output)}


def error_json(error: str | None) -> dict[str, str] | None:
    if error is None:
        return None
    return failure_json(decode_failure(error))


def failure_json(failure: Failure) -> dict[str, str]:
    return {
        "kind": failure.kind,
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback,
        "limit": failure.limit,
        "owner": failure.owner,
    }


def log_json(line: LogRecord) -> dict[str, Any]:
    return {"at": text.instant(line.at), "level": line.level, "attempt": line.attempt, "message": line.message}


def attempt_json(attempt: AttemptRecord) -> dict[str, Any]:
    """One attempt of a run."""
    failure = attempt_error(attempt)
    return {
        "number": attempt.number,
        "status": attempt.state.name,
        "worker": attempt.worker,
        "worker_id": attempt.worker_id,
        "started_at": text.instant(attempt.started_at),
        "finished_at": text.instant(attempt.finished_at),
        "error": None if failure is None else failure_json(failure),
    }


def counts_json(counts: Sequence[TaskCount]) -> dict[str, dict[str, int]]:
    """`{task: {state: how many}}`."""
    found: dict[str, dict[str, int]] = {}
    for count in counts:
        found.setdefault(count.task, {})[count.state.name] = count.count
    return found


def _json(data: str | None) -> Any:
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError:  # somebody wrote it by hand
        return data
