"""Every verb of a store raises every kind of error, once before it does something and once after it did, under programs
that use every feature: nobody sees more of it than he must, nobody hangs, and all ends well.

A verb that no program asks for, and that is not entered below as one that only looks, fails the test; so a new one is
in it or it is seen. So is a new part of what is committed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import msgspec
import pytest

from fanwood import FailedTaskRunExceptionGroup, FanwoodError, WaitTimeoutError
from fanwood.engine import commits, services, spreading
from fanwood.errors import StoreBusyError, StoreError, StoreFullError, StoreUnavailableError, StoreValueError
from fanwood.model.commands import Batch
from fanwood.store.looks import Looks
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.store import Store
from tests.chaos import checker
from tests.chaos.backends import Backend
from tests.chaos.features import FEATURES, Stage
from tests.chaos.scale import scaled
from tests.faults.processes import until

INJECTED = "injected"


class Another(BaseException):
    """Of a driver."""


KINDS: dict[str, type[BaseException]] = {
    "away": StoreUnavailableError,
    "busy": StoreBusyError,
    "full": StoreFullError,
    "unknown": StoreError,
    "bug": KeyError,
    "memory": MemoryError,
    "cancelled": asyncio.CancelledError,
    "value": StoreValueError,
    "deep": RecursionError,
    "ctrl-c": KeyboardInterrupt,
    "exit": SystemExit,
    "closed": GeneratorExit,
    "over": StopIteration,
    "all over": StopAsyncIteration,
    "another": Another,
}
LIFE = {"open", "close", "migrate", "now", "watch"}
"""An engine has none without these."""
LOOKING = Looks.__abstractmethods__ | {
    "asking", "attempts", "audit", "balances", "child_counts", "children", "circumstances", "contended", "copy_in",
    "copy_out", "count", "counted", "deadlines", "event", "events", "find", "forks", "get", "is_heard", "kept",
    "left_over", "lineage", "listing", "log_end", "logs", "number", "open_events", "pauses", "previews", "prunable",
    "recalled", "recorded", "recorded_few", "report", "served", "spent", "take_over", "tasks", "tree_counts",
    "tree_failures", "tree_slowest", "turns", "unserved", "value", "workers",
}  # fmt: skip
"""They change nothing (or make a copy of a store that nobody uses): whoever calls one is told of its trouble, or it is
asked for again, as of all others. A program need not ask for each of these."""
RARE = {"fail_unreadable", "to_many"}
"""Asked for where a row can't be read, or somebody says so; and by actions, which have engines of their own."""
VERBS = sorted(Store.__abstractmethods__ - LIFE)
FIELDS = {field.name for field in msgspec.structs.fields(Batch)}


SHORT = {"sqlite": ("unknown", "value"), "postgres": ("away",)}
"""What `make test` tries; `make chaos` all on both."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "RESTART_SECONDS", 0.05)
    monkeypatch.setattr(services, "TROUBLED_SECONDS", 0.02)
    monkeypatch.setattr(spreading, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(commits, "APART_SECONDS", 0.1)
    monkeypatch.setattr(commits, "PAUSES", (0.001, 0.01, 0.02, 0.05))
    monkeypatch.setattr(commits, "AWAY_PAUSE", 0.02)


class Storm:
    """Stands before a store's verbs, and behind them. `kind`: what is raised; None: nothing, it only looks on."""

    def __init__(self, store: Store) -> None:
        self.kind: type[BaseException] | None = None
        self.called: set[str] = set()
        self.raised = Counter[str]()
        # What was done is not answered with trouble where that can't be: a file's commit has no answer to be lost.
        self._once = {"commit", "send"} if store.embedded else {"commit"}
        for name in VERBS:
            setattr(store, name, self._around(name, getattr(store, name)))
        if isinstance(store, PostgresStore):
            store._ask = self._losing(store._ask)

    def begin(self, kind: type[BaseException] | None) -> None:
        self.raised.clear()
        self.kind = kind

    def _raise(self, name: str, times: int) -> None:
        if self.kind is not None and self.raised[name] < times:
            self.raised[name] += 1
            raise self.kind(f"{INJECTED} into {name}")

    def _around(self, name: str, verb: Any) -> Any:
        async def storming(*arguments: Any, **named: Any) -> Any:
            self.called.add(name)
            for field in _fields(arguments[1]) if name == "commit" else ():
                self.called.add(f"commit of {field}")
                self._raise(f"commit of {field}", 1)
            self._raise(name, 1)
            answer = await verb(*arguments, **named)
            if name not in self._once:
                self._raise(name, 2)
            return answer

        return storming

    def _losing(self, ask: Any) -> Any:
        """What was committed is not answered: the connection is lost."""

        async def losing(arguments: Any) -> Any:
            answer = await ask(arguments)
            if self.kind is StoreUnavailableError and self.raised["an answer"] < 5:
                self._raise("an answer", 5)
            return answer

        return losing


def _fields(batch: Batch) -> list[str]:
    return sorted(field for field in FIELDS if getattr(batch, field))


@pytest.mark.parametrize(
    ("backend", "kind"),
    [(store, kind) for store, kinds in SHORT.items() for kind in scaled(tuple(KINDS), kinds)],
    indirect=["backend"],
)
def test_every_verb_raises_every_error(make_app: Any, backend: Backend, kind: str) -> None:
    app = make_app(heartbeat=0.2, sweep=0.05)
    engine = app.engine()
    storm = Storm(engine.store)
    for program in FEATURES.values():
        storm.begin(KINDS[kind])
        try:
            program(Stage(app, INJECTED))
        except (
            FanwoodError,
            FailedTaskRunExceptionGroup,
        ) as error:  # what says "this value" is the fault of whoever came with it
            if kind != "value" or isinstance(error, WaitTimeoutError):
                raise
        assert engine.alive
    storm.begin(None)
    until(lambda: not list(checker._left_over(backend, {os.getpid()})), "all is swept")
    storm.begin(KINDS[kind])
    app.close()
    if kind != "value":
        assert set(VERBS) - LOOKING - storm.called <= RARE
        assert FIELDS - {each.removeprefix("commit of ") for each in storm.called} <= {"blocks"}  # of very large trees
    assert list(checker._left_over(backend, {os.getpid()})) == []
    assert asyncio.run(checker._audited(backend.url)) == []
