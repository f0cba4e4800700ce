"""What a run in a fork learns of the run that it is made from, once in each attempt that asks for anything."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError
from fanwood.model.commands import ANSWER_BYTES
from fanwood.model.lives import life_of
from fanwood.sdk.running.waiting import called

if TYPE_CHECKING:
    from fanwood.model.forks import Kept
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.forking import Origin

PAGE = 1_000
SHORT = 16_384
"""Bytes: what a child said that is longer is read when it is asked for."""


async def learn_origin(attempt: Attempt, origin: Origin) -> None:
    """All that is there to be copied. Nothing, if it was deleted since."""
    if origin.known:
        return
    engine, of = attempt.host.engine(), origin.fork.key
    way = bytes.fromhex(origin.fork.way[0]) if origin.fork.way else None
    found = await called(engine.call(lambda store: store.briefs([of]), steadfast=True))
    life, kept, left = life_of(found[0].life) if found else None, list["Kept"](), ANSWER_BYTES
    after, more = b"" if life is None else life.floor, bool(found)
    while more:
        start, most = after, SHORT if left > 0 else -1
        page = await called(
            engine.call(lambda store: store.kept(of, way, start, PAGE, most), steadfast=True)  # noqa: B023
        )
        kept += page if life is None else [each for each in page if each.asked >= life.since]
        left -= sum([len(each.output or "") for each in page])
        more = len(page) == PAGE
        after = page[-1].id if page else after
    origin.learn(life, kept)


async def learn_large(attempt: Attempt, origin: Origin) -> None:
    """What is too large to be read with the rest. What is there no more is not copied."""
    engine = attempt.host.engine()
    for kept in origin.untold():
        with contextlib.suppress(RunNotFoundError):
            record = await called(engine.call(lambda store: store.get(kept.id), steadfast=True))  # noqa: B023
            origin.tell(kept, record.state, record.output)
