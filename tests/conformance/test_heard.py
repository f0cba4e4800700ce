"""What is done by hand holds once it returns: every worker that lives has heard of it, and given back what it held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fanwood.model.commands import ClaimedRun
from fanwood.store.cancelling import cancel
from fanwood.store.store import Store
from fanwood.store.surgery import patched, paused, reprioritized
from tests.conformance.stage import Stage
from tests.conformance.test_prioritizing import hear

Verb = Callable[[Store, ClaimedRun], Awaitable[object]]
VERBS: dict[str, Verb] = {
    "cancel": lambda store, run: cancel(store, run.key, "for a test"),
    "pause": lambda store, run: paused(store, run.key, "ann"),
    "reprioritize": lambda store, run: reprioritized(store, run.key, 7, "ann"),
    "patch": lambda store, run: patched(store, run.key, "1", "ann"),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_who_asks_waits_until_all_have_heard(stage: Stage, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await stage.running()
    await stage.running("b", run)
    await stage.born("c", run)
    answers, is_heard = list[bool](), stage.store.is_heard

    async def asked(*ids: bytes) -> bool:
        answers.append(await is_heard(*ids))
        return answers[-1]

    monkeypatch.setattr(stage.store, "is_heard", asked)
    act: Any = VERBS[verb](stage.store, run)
    doing = asyncio.ensure_future(act)
    while len(answers) < 3 and not doing.done():
        await asyncio.sleep(0.001)
    assert answers == [False] * 3
    assert await hear(stage) == [run.key]
    await doing
    assert answers[-1]
