"""Children of an earlier attempt that were given up before they were asked for anew."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Any

from fanwood.errors import FanwoodError
from fanwood.sdk.recording.recalling import answer_of
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.running.attempt import Attempt

SOME = 500
"""Of those that are asked for in one call, so many are looked at together."""


async def asked_before(
    attempt: Attempt, items: Iterator[BulkRunItem[Any, Any]], encode: Callable[[BulkRunItem[Any, Any]], Any]
) -> AsyncIterator[list[BulkRunItem[Any, Any]]]:
    """Those of `items` that an earlier attempt had asked for, some at a time; they are to be asked for before the next
    are taken. It asked in this order: behind many that are not known there are none. (`items` may have no end.)"""
    any_was = True
    while any_was and (some := list(islice(items, SOME))):
        known, any_was = _known_of(attempt, some, encode)
        if known:
            yield known


def _known_of(
    attempt: Attempt, items: Sequence[BulkRunItem[Any, Any]], encode: Callable[[BulkRunItem[Any, Any]], Any]
) -> tuple[list[BulkRunItem[Any, Any]], bool]:
    """Those that an earlier attempt had asked for, but for what failed and would be tried again; and whether it had
    asked for any of them. `encode`: what is known of a run before anybody knows of it; what can't be was never asked
    for."""
    encoded = list[tuple["BulkRunItem[Any, Any]", Any]]()
    for item in items:
        with contextlib.suppress(FanwoodError):
            encoded.append((item, encode(item)))
    known, numbers, any_was = set[int](), list[tuple[bytes, int]](), False
    passed_by = dict[bytes, list[int]]()  # what failed and has no key, by content
    with registering:
        for place, (_, (_, options, _, content, parent, _)) in enumerate(encoded):
            if parent is None or options.share is not None:
                continue
            key, digest = options.effective_key, content
            if key is None:
                number, digest = attempt.number(content), None
                numbers.append((content, number))
                identity = attempt.numbered(content, number)
            else:
                identity = attempt.identify(key, content)
            if attempt.known is None or identity not in attempt.known:
                continue
            any_was = True
            if _stands(attempt, identity, digest):
                # Equal ones before it are asked for as well, whatever became of them: else it had one's number.
                known.update((place, *passed_by.pop(content, ()))) if key is None else known.add(place)
            elif key is None:
                passed_by.setdefault(content, []).append(place)
        attempt.forget((), reversed(numbers))  # they are only looked at
    if len(items) == SOME:  # and an equal one may come after these
        known.update(*passed_by.values())
    return [encoded[place][0] for place in sorted(known)], any_was


def _stands(attempt: Attempt, identity: bytes, digest: bytes | None) -> bool:
    has_ended = attempt.answers is not None and identity in attempt.answers
    return not has_ended or answer_of(attempt, identity, digest) is not None
