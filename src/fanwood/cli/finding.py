"""Which run is meant: an id, the beginning or the end of one, `@last`, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.cli import text
from fanwood.cli.base import Sentence
from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.actions import shown
from fanwood.model.records import RunFilter

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

LAST = "@last"
CANDIDATES = 5
NEWEST = 50
"""Roots among which the newest is looked for that is no action on others."""


async def find(store: Store, given: str | None, namespace: str = "") -> bytes:
    """The run that is meant. The newest is none of those by which something was done to others.

    Raises:
        Sentence: there is none, or more than one: then it lists them.
    """
    if given is None or given == LAST:
        newest = (await store.listing(of := roots(namespace, NEWEST))).runs
        if not newest:
            raise Sentence(f"There are no runs in {store.url}{f' of namespace {namespace}' if namespace else ''}")
        return (shown(newest, of) or newest)[0].id
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
