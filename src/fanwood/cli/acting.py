"""`fanwood runs cancel`, `retry` and `rm`: on runs that are named, or on all that the filters let through."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Exit, Sentence
from fanwood.cli.engines import judged
from fanwood.cli.filtered import Deed, do_to_all
from fanwood.cli.finding import find
from fanwood.cli.selecting import Wanted
from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text, short_text
from fanwood.model.states import TERMINAL, RunState
from fanwood.store import cancelling
from fanwood.store.retention import delete_tree
from fanwood.store.retrying import failures_retried

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

_ENDED_BADLY = (RunState.FAILED, RunState.CANCELLED)


def user() -> str:
    """Who sits at the terminal."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        name = "somebody"
    return f"{name}@{socket.gethostname()}"


def named_runs(common: Common, runs: tuple[str, ...], wanted: Wanted, verb: str) -> list[RunRecord]:
    """Those that were named, in whatever state.

    Raises:
        Sentence: there are filters as well; or there is no such run.
    """
    if wanted.is_narrowed:
        raise Sentence(f"Name runs to {verb}, or filter by --status, --task, --since, --until, --meta: not both")
    namespace = common.settings().namespace

    async def get(store: Store) -> list[RunRecord]:
        return [await store.get(await find(store, run, namespace)) for run in runs]

    return looking.look(common, get)


# --- cancel ----------------------------------------------------------------------------------------------------------


class Cancelled(NamedTuple):
    """What a cancellation has done so far."""

    runs: list[RunRecord]
    ended: int
    more: bool
    served: bool  # somebody is there who does the rest


def cancel(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool) -> None:
    if not runs:
        do_to_all(common, wanted, Deed("cancel", "cancel", "cancelled", "Cancelled", user()), yes=yes)
        return
    found = named_runs(common, runs, wanted, "cancel")

    async def act(store: Store) -> Cancelled:
        count = await cancelling.cancel_all(store, [run.id for run in found], "by request")
        more = False
        for run in found:
            swept = await store.sweep(run.id)  # tells whether there is more, and does some of it
            count, more = count + swept.ended, more or swept.more
        served = not more or any(judged(worker, store.now()).live for worker in await store.workers())
        return Cancelled([await store.get(run.id) for run in found], count, more, served)

    done = looking.look(common, act)
    if common.as_json:
        output.print_json(_cancelled_json(done, one=len(runs) == 1))
    else:
        output.print_line(_said(done))


def _cancelled_json(done: Cancelled, *, one: bool) -> dict[str, Any]:
    about = [{"id": id_text(run.id), "status": run.state.name} for run in done.runs]
    return {**(about[0] if one else {"runs": about}), "cancelled": done.ended, "more": done.more}


def _said(done: Cancelled) -> str:
    who = named(done.runs)
    if done.more:
        rest = "the rest follows" if done.served else "the rest follows once a worker or client is there"
        return f"Cancelled {who}: {text.many(done.ended, 'run has', 'runs have')} ended so far, {rest}"
    if done.ended:
        return f"Cancelled {text.many(done.ended, 'run')}: {who}"
    if len(done.runs) == 1:
        return f"{who} is {done.runs[0].state.name}: nothing to cancel"
    return "Nothing to cancel"


def named(runs: list[RunRecord]) -> str:
    first = f"{text.clean(runs[0].task)} {_id(runs[0].id)}" if runs else ""
    return first if len(runs) < 2 else f"{first} and {len(runs) - 1:,} more"


def _id(id_: bytes) -> str:
    return short_text(id_) if output.on_terminal() else id_text(id_)


# --- retry -----------------------------------------------------------------------------------------------------------


class Retried(NamedTuple):
    """The runs as they are now; those that were queued; and tasks that nobody serves."""

    runs: list[RunRecord]
    queued: set[bytes]
    unserved: list[str]


def retry(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, force: bool, failures: bool) -> None:
    if not runs:
        action = "retry_failures" if failures else "replay" if force else "retry"
        do_to_all(common, wanted, Deed(action, "retry", "retried", "Queued again:", user()), yes=yes)
        return
    allow = TERMINAL if force or failures else _ENDED_BADLY
    found = named_runs(common, runs, wanted, "retry")

    async def again(store: Store, run: RunRecord) -> bool:
        if failures:
            return await failures_retried(store, run.id, user()) > 0
        return await store.replay(run.id, allow)

    async def act(store: Store) -> Retried:
        queued = {run.id for run in found if await again(store, run)}
        tasks = sorted({run.task for run in found if run.id in queued})
        unserved = [task for task in tasks if not await store.served(0, task)]
        return Retried([await store.get(run.id) for run in found], queued, unserved)

    done = looking.look(common, act)
    if len(runs) == 1 and not done.queued:
        raise Sentence(_nothing_failed(done.runs[0]) if failures else _not_retried(done.runs[0]))
    if common.as_json:
        about = [{"id": id_text(run.id), "task": run.task, "status": run.state.name} for run in done.runs]
        output.print_json({**(about[0] if len(runs) == 1 else {"runs": about}), "served": not done.unserved})
    else:
        queued = [run for run in done.runs if run.id in done.queued]
        output.print_line(f"Queued again: {named(queued)}" if queued else "Nothing to retry")
    for task in done.unserved:
        output.warn(f"no live worker serves {text.clean(task)}: its runs stay queued until one does")


def _nothing_failed(record: RunRecord) -> str:
    return f"Nothing of {record.task} {_id(record.id)}, or below it, has failed"


def _not_retried(record: RunRecord) -> str:
    who = f"{record.task} {_id(record.id)}"
    if record.state is RunState.COMPLETED:
        return f"{who} has completed and has its result. --force runs it again all the same."
    return f"{who} is {record.state.name}: only what has ended can be retried. `fanwood runs cancel` ends it."


# --- wake ------------------------------------------------------------------------------------------------------------


def wake(run: str, common: Common) -> None:

    async def act(store: Store) -> tuple[bool, RunRecord]:
        id_ = await find(store, run, common.settings().namespace)
        return await store.wake(id_), await store.get(id_)

    woken, record = looking.look(common, act)
    if common.as_json:
        output.print_json({"id": id_text(record.id), "status": record.state.name, "woken": woken})
    elif woken:
        output.print_line(f"Woken: {named([record])}")
    else:
        output.print_line(f"{named([record])} is {record.state.name}: it does not sleep any more")


# --- rm --------------------------------------------------------------------------------------------------------------


def rm(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool) -> None:
    if wanted.every:
        raise Sentence("Whole trees are deleted: --all, which is children as well, has no meaning here")
    if not runs:
        do_to_all(common, wanted, Deed("delete", "delete", "deleted", "Deleted", user()), yes=yes)
        return
    found = named_runs(common, runs, wanted, "delete")
    for run in found:
        if run.parent_id is not None:
            raise Sentence(
                f"{run.task} {_id(run.id)} is a child: whole trees are deleted. Its root: {_id(run.root_id)}"
            )

    async def act(store: Store) -> tuple[int, list[bytes]]:
        deleted, left = 0, list[bytes]()
        for run in found:
            deleted += await delete_tree(store, run)
            try:
                await store.get(run.id)
                left.append(run.id)
            except RunNotFoundError:
                pass
        return deleted, left

    deleted, left = looking.look(common, act)
    trees = len(found) - len(left)
    if common.as_json:
        output.print_json({"trees": trees, "runs": deleted, "left": [id_text(id_) for id_ in left]})
    else:
        output.print_line(f"Deleted {text.many(trees, 'tree')}, {text.many(deleted, 'run')}")
        for id_ in left:
            output.warn(f"{_id(id_)} stays: something in its tree has not ended")
    if left:
        raise SystemExit(Exit.FAILED)
