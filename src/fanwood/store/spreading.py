"""An event's effects that didn't fit into the transaction that kept it: more waits, and those of which an expression
decides. Whoever comes first does it; an event stays open until that is done, so a crash in between loses nothing."""

from __future__ import annotations

import asyncio
import importlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood import logs
from fanwood.errors import UsageError
from fanwood.ids import id_text

if TYPE_CHECKING:
    from fanwood.model.matching import Event
    from fanwood.store.outside import Asking
    from fanwood.store.store import Store

logger = logs.logger("fanwood.store")

PAGE = 200
"""Waits whose expressions are evaluated at a time."""
REST, REST_OF_SERVERS = 0.7, 0.3
"""How many times as long as a page took to rest after it, as sweeps do. A file is locked while a page is made: beside a
process that made one after the other another one got the lock by chance alone, once in seconds."""
_MACRO = re.compile(r"\.\s*(all|exists|exists_one|existsOne|map|filter)\s*\(")
_TYPES = {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}
_TEXTS = {"key", "scope"}
LEAST_REST = 0.002
"""Seconds: those who wait for the lock of a file look for it each millisecond."""


class NothingReadsItError(UsageError):
    """What reads expressions is not installed here."""


class Compiled(NamedTuple):
    """An expression, ready to be evaluated."""

    execute: Any
    names: frozenset[str]
    """What it asks for by name."""


@lru_cache(maxsize=1000)
def compiled(expression: str) -> Compiled:
    """An expression in CEL.

    Raises:
        UsageError: it is none, or nothing is installed that reads it.
    """
    try:
        cel: Any = importlib.import_module("cel")
    except ImportError:
        raise NothingReadsItError(
            "expression= is in CEL, and nothing is installed that reads it: pip install 'fanwood[cel]'. (match= needs "
            "nothing, and is quicker.)"
        ) from None
    try:
        program = cel.compile(expression)
        names = getattr(program, "variables", set[str])()  # (older ones of the library don't tell)
        return Compiled(program.execute, frozenset(names) - _TYPES)
    except Exception as error:  # noqa: BLE001  (whatever the library raises)
        raise UsageError(f"expression= is not in CEL: {error}") from None


def checked_expression(expression: str, *names: str) -> None:
    """One that can be true of something that has these names.

    Raises:
        UsageError: it is not in CEL; or it asks for what there never is, so that nothing would ever be what it says.
    """
    asked_for = compiled(expression)
    strange = sorted(asked_for.names - set(names))
    if strange and not _MACRO.search(expression):  # (within which an expression gives names itself)
        raise UsageError(f"expression= asks for {', '.join(strange)}, and there is only: {', '.join(names)}")
    try:
        asked_for.execute({name: "" if name in _TEXTS else dict[str, Any]() for name in names})
    except RuntimeError as error:
        if str(error).startswith("Undefined "):
            raise UsageError(f"expression= asks for what there is not: {error}") from None
    except Exception:  # noqa: BLE001, S110  (a field is missing, of what it is not for)
        pass


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


def _answer(wait: Asking, event: Event) -> bool | None:
    """Whether a wait is for this event. None: its expression was checked when it was given, and is none any more."""
    try:
        return is_true(wait.expression, event)
    except NothingReadsItError:
        raise
    except UsageError as error:
        logger.warning("the wait %s fails, as somebody has spoilt its row: %s", id_text(wait.id), error)
        return None


class _Pages:
    """What one event ends, a page at a time, with a rest after each: whoever else commits has his turn."""

    def __init__(self, store: Store) -> None:
        self._loop = asyncio.get_running_loop()
        self._rest = REST if store.embedded else REST_OF_SERVERS
        self._begun = self._loop.time()

    async def rest(self) -> None:
        """A page is done."""
        await asyncio.sleep(max(LEAST_REST, self._rest * (self._loop.time() - self._begun)))
        self._begun = self._loop.time()


async def finish(store: Store, event: Event) -> None:
    """All waits that an open event ends."""
    pages = _Pages(store)
    while await store.spread(event):
        await pages.rest()
    after = b""
    while asking := await store.asking(event, after, PAGE):
        ids, spoilt = list[bytes](), list[bytes]()
        try:
            for wait in asking:
                answer = _answer(wait, event)
                if answer is not False:
                    (spoilt if answer is None else ids).append(wait.id)
        except NothingReadsItError as error:  # somebody else can, and does so: who waits with it, above all
            logger.warning("the event %s stays open: %s", event.id, error)
            return
        if ids or spoilt:
            await store.fulfil(event, ids, spoilt)
        after = asking[-1].mark
        if len(asking) == PAGE:
            await pages.rest()
    await store.close_event(event.id)
