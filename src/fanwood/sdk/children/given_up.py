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


async def pages_of(items: Iterator[BulkRunItem[Any, Any]]) -> AsyncIterator[list[BulkRunItem[Any, Any]]]:
    """As many as are looked at together, and no more than are asked for: `items` may have no end."""
    while some := list(islice(items, SOME)):
        yield some


async def asked_before(
    attempt: Attempt,
    pages: AsyncIterator[list[BulkRunItem[Any, Any]]],
    encode: Callable[[BulkRunItem[Any, Any]], Any],
) -> AsyncIterator[list[BulkRunItem[Any, Any]]]:
    """Those that an earlier attempt had asked for, some at a time; they are to be asked for before the next are taken.
    It asked in this order: behind a page of which none is known there are none."""
    last = dict[bytes, int]()
    async for some in pages:
        known, any_was = _known_of(attempt, some, encode, last)
        if known:
            yield known
        if not any_was:
            return


def _known_of(
    attempt: Attempt,
    items: Sequence[BulkRunItem[Any, Any]],
    encode: Callable[[BulkRunItem[Any, Any]], Any],
    last: dict[bytes, int],
) -> tuple[list[BulkRunItem[Any, Any]], bool]:
    """Those that an earlier attempt had asked for, but for what failed and would be tried again; and whether it had
    asked for any of them. `encode`: what is known of a run before anybody knows of it; what can't be was never asked
    for. `last`: of equal ones without a key, the number of the last that stands; as far as it was looked for."""
    encoded = list[tuple["BulkRunItem[Any, Any]", Any]]()
    for item in items:
        with contextlib.suppress(FanwoodError):
            encoded.append((item, encode(item)))
    known, numbers, any_was = list["BulkRunItem[Any, Any]"](), list[tuple[bytes, int]](), False
    with registering:
        for item, (_, options, _, content, parent, _) in encoded:
            if parent is None or options.share is not None:
                continue
            key, digest, number = options.effective_key, content, -1
            if key is None:
                number, digest = attempt.number(content), None
                numbers.append((content, number))
                identity = attempt.numbered(content, number)
            else:
                identity = attempt.identify(key, content)
            if attempt.known is None or identity not in attempt.known:
                continue
            any_was = True
            stands = _stands(attempt, identity, digest)
            if not stands and number >= 0:  # it is asked for as well, if one after it stands: that had its number else
                if content not in last:
                    last[content] = _last_that_stands(attempt, content, number)
                stands = number < last[content]
            if stands:
                known.append(item)
        attempt.forget((), reversed(numbers))  # they are only looked at
    return known, any_was


def _last_that_stands(attempt: Attempt, content: bytes, number: int) -> int:
    """Of the equal children from this one on that the earlier attempt had asked for, in this call or in a later one."""
    last = -1
    while attempt.known is not None and (identity := attempt.numbered(content, number)) in attempt.known:
        if _stands(attempt, identity, None):
            last = number
        number += 1
    return last


def _stands(attempt: Attempt, identity: bytes, digest: bytes | None) -> bool:
    has_ended = attempt.answers is not None and identity in attempt.answers
    return not has_ended or answer_of(attempt, identity, digest) is not None
