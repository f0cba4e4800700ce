"""What a run in a fork learns of the run that it is made from, once in each attempt that asks for anything."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError
from fanwood.model.commands import ANSWER_BYTES
from fanwood.model.forks import FORKS, fork_of
from fanwood.model.lives import life_of
from fanwood.model.states import RunState
from fanwood.sdk.running.forking import Source
from fanwood.sdk.running.waiting import called

if TYPE_CHECKING:
    from fanwood.engine.engine import Engine
    from fanwood.model.forks import Fork, Kept
    from fanwood.model.lives import Life
    from fanwood.model.records import RunRecord
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.forking import Origin

PAGE = 1_000
SHORT = 16_384
"""Bytes: what a child said that is longer is read when it is asked for."""


async def learn_origin(attempt: Attempt, origin: Origin) -> None:
    """All that is there to be copied. Nothing, if it was deleted since."""
    if origin.known:
        return
    engine, sources, left = attempt.host.engine(), list[Source](), ANSWER_BYTES
    fork: Fork | None = origin.fork
    while fork is not None and len(sources) < FORKS:
        of = fork.key
        found = await called(engine.call(lambda store: store.briefs([of]), steadfast=True))  # noqa: B023
        if not found:
            break
        source, left = await _source(engine, fork, life_of(found[0].life), left)
        sources.append(source)
        fork = _before(fork, found[0])
    origin.learn(sources)


def _before(fork: Fork, run: RunRecord) -> Fork | None:
    """If a run that is taken like that is a fork itself, and may have been ended before it asked for all that it would
    have copied: how it would have."""
    before = fork_of(run.life)
    if before is None or before.how == "again":
        return None
    if fork.way:  # it has asked for that, and so for all that came before it
        return None
    return None if run.state is RunState.COMPLETED and run.attempt else before


async def _source(engine: Engine, fork: Fork, life: Life | None, left: int) -> tuple[Source, int]:
    """A run's children; `left`: how many bytes of what they said may be read."""
    way = bytes.fromhex(fork.way[0]) if fork.way else None
    kept, after, of = dict[bytes, "Kept"](), b"" if life is None else life.floor, fork.key
    while True:
        start, most = after, SHORT if left > 0 else -1
        page = await called(
            engine.call(lambda store: store.kept(of, way, start, PAGE, most), steadfast=True)  # noqa: B023
        )
        kept |= {each.identity: each for each in page if life is None or each.asked >= life.since}
        left -= sum([len(each.output or "") for each in page])
        if len(page) < PAGE:
            return Source(fork, life, kept), left
        after = page[-1].id


async def learn_large(attempt: Attempt, origin: Origin) -> None:
    """What is too large to be read with the rest. What is there no more is not copied."""
    engine = attempt.host.engine()
    for kept in origin.untold():
        with contextlib.suppress(RunNotFoundError):
            record = await called(engine.call(lambda store: store.get(kept.id), steadfast=True))  # noqa: B023
            origin.tell(kept, record.state, record.output)
