"""Which run is meant: an id, the beginning or the end of one, `@last`, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from fanwood.cli import text
from fanwood.cli.base import Common, Sentence
from fanwood.errors import FanwoodError, RunNotFoundError
from fanwood.ids import id_text, short_text
from fanwood.model.actions import SPACE
from fanwood.model.records import RunFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

LAST = "@last"
CANDIDATES = 5
NEWEST = 50
"""Roots among which the newest is looked for that is no action on others."""
COMPLETED = 15
"""So many of the newest roots are offered when a run's id is completed."""
ABOUT = (
    "RUN is a run's id, or as much of its beginning or of its end as is unique (what listings show is the end); or "
    "@last, the newest root. Without it the newest root is taken."
)


async def find(store: Store, given: str | None, namespace: str = "") -> bytes:
    """The run that is meant. The newest is none of those by which something was done to others.

    Raises:
        Sentence: there is none, or more than one: then it lists them.
    """
    if given is None or given == LAST:
        newest = (await store.listing(roots(namespace, NEWEST))).runs
        if not newest:
            raise Sentence(f"There are no runs in {store.url}{f' of namespace {namespace}' if namespace else ''}")
        return next((run.id for run in newest if not run.task.startswith(f"{SPACE}/")), newest[0].id)
    found = await store.find(given, CANDIDATES + 1)
    if len(found) == 1:
        return found[0]
    if not found:
        raise RunNotFoundError(f"In {store.url} no run's id begins or ends with {given!r}")
    now, lines = store.now(), list[str]()
    for id_ in found[:CANDIDATES]:
        run = await store.get(id_)
        lines.append(f"  {id_text(id_)}  {described(run, now)}")
    more = "\n  ..." if len(found) > CANDIDATES else ""
    raise Sentence(f"{given!r} fits several runs; give more of the id:\n" + "\n".join(lines) + more)


def roots(namespace: str, limit: int) -> RunFilter:
    """The newest of a namespace."""
    return RunFilter(prefix=f"{namespace}/" if namespace else None, limit=limit)


def described(run: RunRecord, now: int) -> str:
    """What it is, for who has to choose."""
    key = f" {run.child_key}" if run.child_key else ""
    return f"{text.clean(run.task + key, 40)} {run.state.name}, {text.took(now - run.created_at)} ago"


def one_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument RUN, which may be left out."""
    return click.argument("run", required=False, shell_complete=run_ids)(function)


# --- completion ------------------------------------------------------------------------------------------------------


def run_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The newest roots, for a shell. Without a database there is nothing to offer."""
    from fanwood.cli import looking

    async def ask(store: Store) -> tuple[list[RunRecord], int]:
        return (await store.listing(roots(common.settings().namespace, COMPLETED))).runs, store.now()

    common = _common(ctx)
    try:
        runs, now = looking.look(common, ask)
    except FanwoodError:
        return []
    found = [CompletionItem(short_text(run.id), help=described(run, now)) for run in runs]
    found.append(CompletionItem(LAST, help="the newest root"))
    return [item for item in found if str(item.value).startswith(incomplete)]


def _common(ctx: click.Context) -> Common:
    return Common(ctx.params.get("url"), as_json=False)


def task_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
    """The tasks that workers have published, for a shell."""
    from fanwood.cli import looking

    try:
        tasks = looking.look(_common(ctx), lambda store: store.tasks())
    except FanwoodError:
        return []
    return [
        CompletionItem(task.name, help=text.clean(task.description, 60))
        for task in tasks
        if task.kind != "step" and task.name.startswith(incomplete)
    ]
