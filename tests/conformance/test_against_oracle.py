"""Random lives of small trees, in the store and in the oracle: whatever happens, they agree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fanwood import RunState
from fanwood.model.commands import Attach, ClaimedRun, ClaimRequest, Outcome, Spawn, SpawnKind
from fanwood.model.states import TERMINAL, OnParentEnd
from tests.chaos.scale import scaled
from tests.conformance.oracle import DEATHS_LIMIT, Oracle
from tests.conformance.stage import FAILURE, MakeStore, Stage

T = TypeVar("T")

PICK = st.integers(0, 1000)
"""Which of the runs there are; they are few, so that rules meet on one."""


class Lives(RuleBasedStateMachine):
    def __init__(self, make_store: MakeStore) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stage = Stage(make_store)
        self.oracle = Oracle()
        self.ids: list[bytes] = []
        self.looks = 0

    def wait(self, verb: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(verb)

    @initialize()
    def begin(self) -> None:
        self.wait(self.stage.open())
        self.second = self.wait(self.stage.register())
        for priority in range(3):  # the rules are about runs that there are, and an example may go without some rules
            self.spawn_a_root(priority)

    def teardown(self) -> None:
        try:
            self.compare_at_rest()
        finally:
            self.wait(self.stage.close())
            self.loop.close()

    # --- rules -----------------------------------------------------------------------------------------------------

    def attempt_of(self, id_: bytes, stale: bool) -> int:
        return self.oracle.runs[id_].attempt - (1 if stale else 0)

    @rule(priority=st.integers(0, 2))
    def spawn_a_root(self, priority: int) -> None:
        spawn = self.stage.spawn(priority=priority)
        self.wait(self.stage.commit(spawns=[spawn]))
        self.oracle.spawn(spawn.id, None, 0, priority, OnParentEnd.DEFAULT)
        self.ids.append(spawn.id)

    @rule(pick=PICK, stale=st.booleans(), count=st.integers(1, 9), policy=st.sampled_from(OnParentEnd))
    def spawn_children(self, pick: int, stale: bool, count: int, policy: OnParentEnd) -> None:
        if len(self.ids) > 25:
            return
        parent = self.ids[pick % len(self.ids)]
        about, attempt = self.oracle.runs[parent], self.attempt_of(parent, stale)
        kind = SpawnKind("a", parent, attempt, about.root, about.depth + 1, on_parent_end=policy)
        ids = [self.stage.ids.new_id() for _ in range(count)]
        done = self.wait(self.stage.commit(spawns=[Spawn(kind, id_, id_, "{}") for id_ in ids]))
        for id_ in ids:
            if self.oracle.spawn(id_, parent, attempt, 1, policy):
                self.ids.append(id_)
        assert (ids[0] in self.oracle.runs) == (not done.fenced_parents)

    @rule(limit=st.integers(1, 4), second=st.booleans(), idle=st.booleans())
    def claim(self, limit: int, second: bool, idle: bool) -> None:
        worker = self.second if second else self.stage.worker
        claimed = self.wait(self.claimed(limit, worker, idle))
        assert [run.key for run in claimed] == self.oracle.claim(worker, limit, idle=idle)
        for run in claimed:
            about = self.oracle.runs[run.key]
            expected = (about.attempt, about.retry_count, about.deaths, about.trial_start)
            assert (run.attempt, run.retry_count, run.deaths, run.trial_start) == expected

    @rule(pick=PICK, stale=st.booleans(), completed=st.booleans())
    def end(self, pick: int, stale: bool, completed: bool) -> None:
        id_ = self.ids[pick % len(self.ids)]
        attempt = self.attempt_of(id_, stale)
        state = RunState.COMPLETED if completed else RunState.FAILED
        output, error = ("1", None) if completed else (None, FAILURE)
        done = self.wait(self.stage.report(Outcome(id_, attempt, state, output, error, closes=True)))
        assert self.oracle.end(id_, attempt, state) == (not done.fenced_outcomes)

    @rule(pick=PICK, stale=st.booleans(), retry=st.booleans())
    def requeue(self, pick: int, stale: bool, retry: bool) -> None:
        id_ = self.ids[pick % len(self.ids)]
        attempt = self.attempt_of(id_, stale)
        self.wait(self.stage.report(Outcome(id_, attempt, RunState.QUEUED, None, None, retry=retry)))
        self.oracle.requeue(id_, attempt, retry=retry)

    @rule(pick=PICK, stale=st.booleans())
    def ask_again(self, pick: int, stale: bool) -> None:
        children = [run for run in self.oracle.runs.values() if run.parent is not None]
        if not children:
            return
        child = children[pick % len(children)]
        assert child.parent is not None
        attempt = self.attempt_of(child.parent, stale)
        attach = Attach(SpawnKind("a", child.parent, attempt, on_parent_end=child.policy), child.id)
        done = self.wait(self.stage.commit(attaches=[attach]))
        state = self.oracle.attach(child.parent, attempt, child.id)
        assert [found.state for found in done.attached.values()] == ([] if state is None else [state])

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        id_ = self.ids[pick % len(self.ids)]
        lives = not self.wait(self.stage.get(id_)).state.is_terminal  # what is closed may still, before it is swept
        assert self.wait(self.stage.store.cancel(id_, "")) == lives
        assert lives or self.oracle.runs[id_].state.is_terminal
        self.oracle.cancel(id_)

    @rule(pick=PICK)
    def replay(self, pick: int) -> None:
        id_ = self.ids[pick % len(self.ids)]
        self.wait(self.stage.sweep())  # else what is closed and lives still would be refused
        assert self.wait(self.stage.store.replay(id_, TERMINAL)) == self.oracle.replay(id_)

    @rule()
    def sweep(self) -> None:
        self.wait(self.stage.store.sweep())

    @rule()
    def reap(self) -> None:
        self.wait(self.stage.sweep())  # else what is closed and lives still might count as waited for
        self.wait(self.stage.store.reap(self.second, DEATHS_LIMIT))
        self.oracle.reap(self.second)
        self.second = self.wait(self.stage.register())

    # --- what always holds -----------------------------------------------------------------------------------------

    async def claimed(self, limit: int, worker: int, idle: bool) -> list[ClaimedRun]:
        """What a worker gets who asks until there is no more: a claim that meets what is closed brings less."""
        found: list[ClaimedRun] = []
        while len(found) < limit:
            request = ClaimRequest('["a"]', limit - len(found), 0, idle and not found)
            done = await self.stage.commit(worker, claim=request)
            found += done.claimed
            if not done.has_more or any(run.is_suspect for run in found):
                break
        return found

    @invariant()
    def they_agree(self) -> None:
        """But for what is closed and has not been swept yet: nobody can tell it from what has ended."""
        records = self.wait(self.stage.records())
        assert records.keys() == set(self.ids)
        for record in records.values():
            found = (record.state, record.attempt, record.retry_count, record.deaths)
            expected = self.oracle.runs[record.id].visible
            if expected[0] is RunState.CANCELLED and not record.state.is_terminal:
                found = (RunState.CANCELLED, *found[1:])
            assert found == expected

    def compare_at_rest(self) -> None:
        self.look_for_orphans()
        self.wait(self.stage.sweep())
        for id_ in self.ids:
            assert self.wait(self.stage.get(id_)).state is self.oracle.runs[id_].state

    @invariant()
    def nobody_is_orphaned(self) -> None:
        """The whole report takes long: every fourth time."""
        self.looks += 1
        if self.looks % 4 == 0:
            self.look_for_orphans()

    def look_for_orphans(self) -> None:
        assert self.wait(self.stage.store.report()).orphans == []


EXAMPLES = {"memory": scaled(400, 15), "sqlite": scaled(200, 12), "postgres": scaled(60, 6)}
"""A server's answer takes longer; and all three are compared with each other in `test_differential.py`."""


def test_the_store_does_what_the_oracle_does(backend: str, store_factory_anew: Callable[[], MakeStore]) -> None:
    class LivesInThisStore(Lives):
        def __init__(self) -> None:
            super().__init__(store_factory_anew())

    run_state_machine_as_test(
        LivesInThisStore,
        settings=settings(
            max_examples=EXAMPLES[backend],
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # to shrink a life takes minutes, after which nothing would be told of it
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
