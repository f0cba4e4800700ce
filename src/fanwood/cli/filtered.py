"""Commands on all runs that filters let through: counted and asked about first, then done by an action that is a run
itself, as what the pages and `fanwood.runs.bulk` do. So it survives the command: a worker or a server goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Exit, Sentence
from fanwood.cli.meter import Meter
from fanwood.cli.selecting import Wanted
from fanwood.engine.signals import block
from fanwood.errors import WaitTimeoutError
from fanwood.ids import id_text

if TYPE_CHECKING:
    from fanwood.server.choosing import Action
    from fanwood.server.choosing import Wanted as Asked
    from fanwood.server.previews import Seen
    from fanwood.store.store import Store

NAMED = 4
"""Tasks that a question names."""
LOOK = 0.25
"""Seconds between two looks at how far it is."""


class Deed(NamedTuple):
    """What is to be done: to `cancel`, to be `cancelled`. `once`: what is said of those that it was done to."""

    action: Action
    verb: str
    past: str
    once: str
    by: str
    priority: int | None = None


def do_to_all(common: Common, wanted: Wanted, deed: Deed, *, yes: bool) -> None:
    """Ask, do it, and say what came of it.

    Raises:
        Sentence: nothing says which runs, or nobody agrees.
    """
    if not wanted.is_narrowed:
        raise Sentence(
            f"Name a run to {deed.verb} (@last is the newest root), or filter by --status, --task, --since, --until, "
            f"--meta"
        )
    asked, seen, unserved = looking.look(common, lambda store: _look(store, common, wanted, deed))
    if not seen.runs and not seen.at_least:
        _say(common, deed, seen, "", 0, 0)
        return
    _agree(deed, seen, yes=yes)
    id_, (done, left) = _do(common, asked, seen, deed)
    _say(common, deed, seen, id_, done, left)
    if left and deed.action == "delete":
        raise SystemExit(Exit.FAILED)
    for task in unserved if done else ():
        output.warn(f"no live worker serves {text.clean(task)}: its runs stay queued until one does")


async def _look(store: Store, common: Common, wanted: Wanted, deed: Deed) -> tuple[Asked, Seen, list[str]]:
    from fanwood.server import scripted

    namespace = common.settings().namespace
    filter_ = wanted.filter(namespace, store.now(), 1)
    which: dict[str, Any] = {
        "task": filter_.task,
        "state": None if filter_.state is None else filter_.state.name.lower(),
        "since": filter_.since or None,
        "until": filter_.until,
        "metadata": wanted.metadata() or None,
        "all": wanted.every,
    }
    asked = scripted.wanted(deed.action, namespace, await store.moment() + 1, deed.priority, **which)
    assert asked is not None
    seen = await scripted.look(store, asked)
    again = deed.action in ("retry", "replay", "retry_failures", "fork")
    unserved = [task for task in sorted(seen.tasks) if again and not await store.served(0, task)]
    return asked, seen, unserved


def _agree(deed: Deed, seen: Seen, *, yes: bool) -> None:
    """To what was not said run by run."""
    if yes:
        return
    tasks = seen.tasks.most_common()
    named = ", ".join(f"{count:,} {text.clean(task, 40)}" for task, count in tasks[:NAMED])
    more = f", {len(tasks) - NAMED} more tasks" if len(tasks) > NAMED else ""
    what = f"{'at least ' if seen.at_least else ''}{text.many(seen.runs, 'run')} ({named}{more})"
    if not output.can_ask():
        raise Sentence(f"{what} would be {deed.past}. Nobody is there to ask: say --yes")
    if not click.confirm(f"{deed.verb.capitalize()} {what}?", err=True):
        raise SystemExit(Exit.USAGE)


def _do(common: Common, asked: Asked, seen: Seen, deed: Deed) -> tuple[str, tuple[int, int]]:
    """By an engine of our own, which is there until it is done; others may have a part in it."""
    from fanwood.server import scripted

    begun = scripted.Begun(common.settings())
    try:
        about = scripted.deed_text(asked, deed.by, seen.runs, at_least=seen.at_least)
        block(begun.begin(about, token=None), "an action")
        with Meter(quiet=common.as_json) as meter:
            while True:
                try:
                    return begun.id, block(begun.result(LOOK), "an action")
                except WaitTimeoutError:
                    at = block(begun.seen(), "an action")
                    of = f"{max(at, seen.runs):,}{' or more' if seen.at_least else ''}"
                    meter.show(f"{deed.verb}: {at:,} of {of} runs")
    except KeyboardInterrupt:
        if begun.id:
            output.note(
                f"Not all is done. A worker or `fanwood ui` goes on with it; `fanwood runs cancel {begun.id}` ends it."
            )
        raise
    finally:
        begun.close()


def _say(common: Common, deed: Deed, seen: Seen, id_: str, done: int, left: int) -> None:
    if common.as_json:
        output.print_json({"action": id_ or None, "done": done, "left": left})
    elif not done:
        output.print_line(f"Nothing to {deed.verb}")
    else:
        first = seen.sample[0]
        more = f" and {done - 1:,} more" if done > 1 else ""
        output.print_line(f"{deed.once} {text.many(done, 'run')}: {text.clean(first.task)} {id_text(first.id)}{more}")
    if left:
        were = text.many(left, "run was", "runs were")
        output.warn(f"{were} let be: that could not be {deed.past}, or not any more")
