"""In which order a durable run was given the ends of others, and where its time was over: recorded, as more have ended
when its code is run again."""

from __future__ import annotations

from bisect import bisect_left
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from fanwood.model.commands import Record
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.recording.once import doing, in_a_step
from fanwood.sdk.recording.patience import of_this_trial
from fanwood.sdk.recording.recording import kind_of, known_parts, note
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts


class Order:
    """Of one loop over the ends of the runs with these ids."""

    def __init__(self, attempt: Attempt, parts: Parts, ids: Iterable[bytes]) -> None:
        self._attempt = attempt
        self._parts = parts
        self._ids = sorted(ids)
        self._given = 0
        self._place = b""
        with registering:
            self._identity = attempt.identify(None, content_digest("~order", b"".join(self._ids)))

    def next(self) -> list[bytes] | None:
        """Whose ends were given out next, by an attempt before; none: its time was over. None: there was none."""
        place = blake2b(b"", digest_size=16, key=self._identity, salt=self._given.to_bytes(8, "big")).digest()
        with registering:
            self._place, found = of_this_trial(self._attempt, self._parts, place)
        if found is None or found.output is None:
            return None
        self._given += 1
        self._attempt.given((found.id,))
        numbers: list[int] = msgspec.json.decode(found.output)
        return [self._ids[number] for number in numbers]

    def give(self, ids: Sequence[bytes]) -> None:
        """These are given out next; none: its time is over. (Not waited for: it goes before what is written next.)"""
        attempt = self._attempt
        attempt.asks("~step order", self._place)
        attempt.replay = None  # this is new
        with registering:
            index = attempt.children
            attempt.children += 1
        shown = msgspec.json.encode({"step": "order", "args": [self._given]}).decode()
        output = msgspec.json.encode([bisect_left(self._ids, id_) for id_ in ids]).decode()
        kind, id_ = kind_of(attempt, RunKind.RECORDED), attempt.new_id()
        began = attempt.host.engine().store.now()
        done = RunState.COMPLETED
        note(attempt, Record(kind, id_, self._place, shown, done, index, output=output, began=began))
        self._given += 1


async def order_of(ids: Iterable[bytes]) -> Order | None:
    """That of a loop in the own code of a durable run; elsewhere it need not be known."""
    attempt = doing()
    if attempt is None or in_a_step():
        return None
    attempt.check()
    return Order(attempt, await known_parts(attempt), ids)
