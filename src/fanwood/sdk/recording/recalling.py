"""What an attempt learns of the children that the attempts before it had: who they are, and what those said that have
ended. So a child that is asked for again, and has ended, costs nothing: nothing is written, and nobody is asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood.model.commands import ANSWER_BYTES, Finished
from fanwood.model.states import RunState
from fanwood.sdk.declaring.identity import child_identity
from fanwood.sdk.recording.origins import learn_origin
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.reading import Reading
from fanwood.sdk.running.waiting import called, heard, in_turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from fanwood.model.records import Known
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.keys import Keys
    from fanwood.store.store import Store

PAGE = 1_000
SHORT = 16_384
"""Bytes: what a child said that is longer is asked for when it is needed."""


async def learn(attempt: Attempt) -> None:
    """Of the children that the attempts before it had, once."""
    if attempt.is_first and attempt.fork is None:
        return
    with registering:
        reading = attempt.reading = attempt.reading or Reading(is_read=False)
    if not reading.is_over:
        await reading.passed(partial(heard, attempt), lambda: _learn(attempt))
    if attempt.answers:
        await in_turns(attempt)


async def _learn(attempt: Attempt) -> None:
    if attempt.fork is not None:
        await learn_origin(attempt, attempt.fork)
    if not attempt.is_first and attempt.known is None:
        attempt.known, attempt.answers = await _recall(attempt)
        if attempt.new_limit is not None:  # what is below has its deadline from the attempt before
            attempt.host.engine().move_deadline(attempt.id, attempt.run.attempt, attempt.new_limit)


async def _recall(attempt: Attempt) -> tuple[dict[bytes, bytes], dict[bytes, Known]]:
    """Its children by their identities: their ids, and what they said, as far as that is not too much in all."""
    known, answers, left = dict[bytes, bytes](), dict[bytes, "Known"](), ANSWER_BYTES
    async for page in _pages(attempt, lambda: SHORT if left > 0 else -1):  # noqa: B023  (as it is then)
        for child in page:
            known[child.identity] = child.id
            if child.told:
                answers[child.identity] = child
                left -= len(child.output or "") + len(child.error or "")
    return known, answers


async def with_keys(
    attempt: Attempt,
    keys: Keys,
    chunk: list[BulkRunItem[Any, Any]],
    send: Callable[[list[BulkRunItem[Any, Any]]], None],
) -> None:
    """Send these, of which some may have keys that it has given before."""
    keys.hold()  # what is looked at now stands as long as that
    try:
        if keys.is_cut:
            given = {item.options.effective_key for item in chunk if not item.options.detached}
            own = [attempt.mine(child_identity(key)) for key in given if key is not None]
            with registering:
                again = any(keys.is_old(identity) for identity in own)
            if again:
                await learn_keys(attempt, keys)
        send(chunk)
    finally:
        keys.hold(-1)


async def learn_keys(attempt: Attempt, keys: Keys) -> None:
    """All that it has given itself, while somebody holds them; from now on they are kept."""
    if not keys.is_cut:
        return
    async for page in _pages(attempt, lambda: -1):
        with registering:
            known = attempt.known = {} if attempt.known is None else attempt.known
            for child in page:
                known.setdefault(child.identity, child.id)
    with registering:
        keys.be_whole()


async def _pages(attempt: Attempt, most: Callable[[], int]) -> AsyncGenerator[list[Known]]:
    """Its children, of its present life. `most`: outputs of so many bytes come with them."""
    engine, after = attempt.host.engine(), attempt.floor
    while True:
        ask = partial(_page, attempt.id, after, most())
        page = await called(engine.call(ask, steadfast=True))
        yield [child for child in page if child.asked >= attempt.since]  # else from before the run started over
        if len(page) < PAGE:
            return
        after = page[-1].id


async def _page(parent: bytes, after: bytes, most: int, store: Store) -> list[Known]:
    return await store.recalled(parent, after, PAGE, most)


def answer_of(attempt: Attempt, identity: bytes, digest: bytes | None) -> Finished | None:
    """How that child ended, if the attempt was told, and is to have that: it was asked for with the same content (whose
    digest stands beside a key), and is not to run again in this trial."""
    child = attempt.answers.get(identity) if attempt.answers else None
    if child is None or child.digest != digest:
        return None
    if child.state is not RunState.COMPLETED and child.asked < attempt.run.trial_start:
        return None
    return Finished(child.state, child.output, child.error)
