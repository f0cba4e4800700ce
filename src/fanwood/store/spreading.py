"""An event's effects that didn't fit into the transaction that kept it: more waits, and those of which an expression
decides. Whoever comes first does it; an event stays open until that is done, so a crash in between loses nothing."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood import logs
from fanwood.errors import UsageError

if TYPE_CHECKING:
    from fanwood.model.matching import Event
    from fanwood.store.outside import Outside

logger = logs.logger("fanwood.store")

PAGE = 200
"""Waits whose expressions are evaluated at a time."""


class Compiled(NamedTuple):
    """An expression, ready to be evaluated."""

    execute: Any


@lru_cache(maxsize=1000)
def compiled(expression: str) -> Compiled:
    """An expression in CEL.

    Raises:
        UsageError: it is none, or nothing is installed that reads it.
    """
    try:
        cel: Any = importlib.import_module("cel")
    except ImportError:
        raise UsageError(
            "expression= is in CEL, and nothing is installed that reads it: pip install 'fanwood[cel]'. (match= needs "
            "nothing, and is quicker.)"
        ) from None
    try:
        return Compiled(cel.compile(expression).execute)
    except Exception as error:  # noqa: BLE001  (whatever the library raises)
        raise UsageError(f"expression= is not in CEL: {error}") from None


def is_true(expression: str, event: Event) -> bool:
    """Whether it says that this is the event. One that can't be evaluated for it, as a field is missing, says no."""
    about = {
        "input": msgspec.json.decode(event.payload),
        "metadata": msgspec.json.decode(event.metadata or "{}"),
        "key": event.key,
        "scope": event.scope or "",
    }
    return holds(expression, about)


def holds(expression: str, about: dict[str, Any]) -> bool:
    """Whether it is true of these. One that can't be evaluated, as a field is missing, is not."""
    execute = compiled(expression).execute
    try:
        return execute(about) is True
    except Exception:  # noqa: BLE001  (whatever the library raises)
        return False


async def finish(store: Outside, event: Event) -> None:
    """All waits that an open event ends."""
    while await store.spread(event):
        pass
    after = b""
    while asking := await store.asking(event, after, PAGE):
        try:
            ids = [wait.id for wait in asking if is_true(wait.expression, event)]
        except UsageError as error:  # somebody else can read it, and does so: who waits with it, above all
            logger.warning("the event %s stays open: %s", event.id, error)
            return
        if ids:
            await store.fulfil(event, ids)
        after = asking[-1].mark
    await store.close_event(event.id)
