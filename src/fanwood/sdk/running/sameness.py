"""Whether the code of a durable run is the code that began it: it must ask again for all that it had asked for.

Code that asks for one thing more, or in another order, finds its children as they are. What tells that it is other
code is that something recorded is not asked for again. That can be said once all of it waits and nothing that it waits
for has ended, or once it has come to its end; and where it does one thing after another, as soon as it asks for
something new.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.engine.signals import running_loop
from fanwood.errors import NonDeterminismError
from fanwood.ids import id_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.store.store import Store

logger = logs.logger("fanwood")

SHOWN, LENGTH = 10, 200
"""So many things are named, by so many characters of what they were given."""
WAKES = 10
"""A run that was woken so often, and never asked again for as many things, would go on so for ever."""
PAGE = 500


class Sameness:
    """Of one attempt. `recorded`: by identity, what attempts before it asked for, as far as that is known."""

    __slots__ = ("_asked", "_attempt", "_new", "_told", "is_strict", "recorded")

    def __init__(self, attempt: Attempt, *, is_strict: bool) -> None:
        self.recorded: dict[bytes, bytes] = {}
        self.is_strict = is_strict
        self._attempt = attempt
        self._asked: set[bytes] = set()
        self._new: list[str] = []
        self._told: dict[bytes, str] = {}

    async def learn(self, store: Store) -> None:
        """All that is recorded, by name."""
        self.recorded, self._told = await _identities(store, self._attempt), await told(store, self._attempt)

    def ask(self, identity: bytes, shown: str) -> None:
        """Its code asks for this. (`shown` is empty: what is not its code's.)

        Raises:
            NonDeterminismError: and for something else before, which it does not ask for any more.
        """
        self._asked.add(identity)
        if identity not in self.recorded and shown and len(self._new) < SHOWN:
            self._new.append(shown[:LENGTH])
        if self.is_strict and identity not in self.recorded and self._is_alone() and self.unasked():
            raise self.error()

    def unasked(self) -> list[bytes]:
        """What is recorded and was not asked for, the oldest first."""
        return sorted(id_ for identity, id_ in self.recorded.items() if identity not in self._asked)

    def is_other(self) -> bool:
        """Whether it can't go on, as it is other code; if nothing that it waits for has ended."""
        unasked, least = self.unasked(), 1 if self.is_strict else WAKES
        return len(unasked) >= least and (self.is_strict or self._attempt.run.wakes >= WAKES)

    def note(self) -> None:
        """It is unloaded."""
        if self._attempt.run.wakes % WAKES == 1 and (unasked := self.unasked()):
            logger.warning("%s", _text(self._attempt, unasked, self._told, self._new))

    def error(self, named: dict[bytes, str] | None = None) -> NonDeterminismError:
        """What it asks for, beside what it had asked for."""
        return NonDeterminismError(_text(self._attempt, self.unasked(), named or self._told, self._new))

    def _is_alone(self) -> bool:
        """Whether it does one thing after another."""
        unloading = self._attempt.unloading
        if unloading is None:
            return False
        if running_loop() is None:
            return self._attempt.thread == threading.get_ident()
        own = self._attempt.coroutine_task
        return asyncio.current_task() is own and all(task.done() or task is own for task in list(unloading.tasks))


async def _identities(store: Store, attempt: Attempt) -> dict[bytes, bytes]:
    """All children of a run (of its present life): from identity to id."""
    found: dict[bytes, bytes] = {}
    for read in (store.recalled, store.recorded):
        after = attempt.floor
        while page := await read(attempt.id, after, PAGE):
            found.update((each.identity, each.id) for each in page if each.identity and each.asked >= attempt.since)
            after = page[-1].id
    return found


async def told(store: Store, attempt: Attempt) -> dict[bytes, str]:
    """The children of a run, in words."""
    found: dict[bytes, str] = {}
    after = attempt.floor
    while page := await store.children(attempt.id, after=after, limit=PAGE):
        after = page[-1].id
        inputs = await store.previews([child.id for child in page], LENGTH)
        found.update((it.id, asked_with(it.task, it.child_key, given)) for it, given in zip(page, inputs, strict=True))
    return found


def asked_with(task: str, key: str | None, given: str) -> str:
    """A child, for people."""
    return f"{task} {given}" if key is None else f"{task} (key {key}) {given}"


def _text(attempt: Attempt, unasked: Sequence[bytes], named: dict[bytes, str], new: Sequence[str]) -> str:
    lines = [f"The code of {attempt.spec.name} is not what began run {id_text(attempt.id)}: it asks for something else"]
    if unasked:
        lines.append("  recorded, and not asked for any more:")
        lines += [f"    - {named.get(id_, id_text(id_))}" for id_ in unasked[:SHOWN]]
    if len(unasked) > SHOWN:
        lines.append(f"    - and {len(unasked) - SHOWN} more")
    if new:
        lines += ["  asked for now, and not recorded:", *(f"    + {one}" for one in new)]
    return "\n".join(
        [*lines, "Let runs end with the code that began them, or have new code ask for the old things too."]
    )
