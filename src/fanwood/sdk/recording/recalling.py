"""What an attempt learns of the children that the attempts before it had: who they are, and what those said that have
ended. So a child that is asked for again, and has ended, costs nothing: nothing is written, and nobody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.commands import ANSWER_BYTES, Finished
from fanwood.model.states import RunState
from fanwood.sdk.recording.origins import learn_origin
from fanwood.sdk.running.waiting import called

if TYPE_CHECKING:
    from fanwood.model.records import Known
    from fanwood.sdk.running.attempt import Attempt

PAGE = 1_000
SHORT = 16_384
"""Bytes: what a child said that is longer is asked for when it is needed."""


async def learn(attempt: Attempt) -> None:
    """Of the children that the attempts before it had, once."""
    if attempt.fork is not None:
        await learn_origin(attempt, attempt.fork)
    if not attempt.is_first and attempt.known is None:
        known, answers = await _recall(attempt)
        if attempt.known is None:  # another coroutine of this attempt may have been quicker, and gone on
            attempt.answers, attempt.known = answers, known
            if attempt.new_limit is not None:  # what is below has its deadline from the attempt before
                attempt.host.engine().move_deadline(attempt.id, attempt.run.attempt, attempt.new_limit)


async def _recall(attempt: Attempt) -> tuple[dict[bytes, bytes], dict[bytes, Known]]:
    """Its children by their identities: their ids, and what they said, as far as that is not too much in all."""
    engine, known, answers = attempt.host.engine(), dict[bytes, bytes](), dict[bytes, "Known"]()
    left, after = ANSWER_BYTES, attempt.floor
    while True:
        start, most = after, SHORT if left > 0 else -1
        page = await called(
            engine.call(lambda store: store.recalled(attempt.id, start, PAGE, most), steadfast=True)  # noqa: B023
        )
        for child in page:
            if child.asked < attempt.since:
                continue  # it was asked for before the run started over
            known[child.identity] = child.id
            if child.told:
                answers[child.identity] = child
                left -= len(child.output or "") + len(child.error or "")
        if len(page) < PAGE:
            return known, answers
        after = page[-1].id


def answer_of(attempt: Attempt, identity: bytes, digest: bytes | None) -> Finished | None:
    """How that child ended, if the attempt was told, and is to have that: it was asked for with the same content (whose
    digest stands beside a key), and is not to run again in this trial."""
    child = attempt.answers.get(identity) if attempt.answers else None
    if child is None or child.digest != digest:
        return None
    if child.state is not RunState.COMPLETED and child.asked < attempt.run.trial_start:
        return None
    return Finished(child.state, child.output, child.error)
