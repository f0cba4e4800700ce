"""Limits that have come, as far as a worker knows, of runs whose deadlines are those of runs above them."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from fanwood.worker.deadlines import Deadlines


class Executing:
    """An attempt with a deadline of a run above it."""

    def __init__(self, deadline: int | None) -> None:
        self.id, self.interruption = b"i" * 16, None
        self.run = SimpleNamespace(id="I", attempt=1, deadline=deadline)

    @property
    def deadline(self) -> tuple[int | None, bytes | None]:
        return self.run.deadline, b"o" * 16


@pytest.mark.parametrize(("is_now", "comes"), [(900, "over"), (1000, "over"), (1001, "set anew"), (None, "nothing")])
def test_who_is_over_in_time_is_told_and_all_others_are_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, is_now: int | None, comes: str
) -> None:
    attempt, said = Executing(500), list[Any]()

    def call(*_: object, **__: object) -> Future[dict[bytes, int]]:
        looked = Future[dict[bytes, int]]()
        looked.set_result({} if is_now is None else {attempt.id: is_now})
        return looked

    engine: Any = SimpleNamespace(
        call=call, set_limit=lambda *limit: said.append(limit), store=SimpleNamespace(now=lambda: 1000)
    )
    running: Any = {"I": attempt}
    deadlines = Deadlines(engine, running, lambda *_: None)
    monkeypatch.setattr(deadlines, "time_out", lambda _: said.append("over"))
    deadlines.reached([("I", 1)])
    assert said == {"over": ["over"], "set anew": [("I", 1, is_now)], "nothing": []}[comes]
