"""Trees of every shape: what becomes of each run when what is above it ends, one after another."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from fanwood import RunState
from fanwood.model.commands import ClaimedRun, Outcome, Spawn
from fanwood.model.states import OnParentEnd
from tests.conformance.oracle import Oracle
from tests.conformance.stage import Stage, completed, failed, retried
from tests.conformance.test_differential import POLICIES

CHILD_ENDS = ("goes on", "completes", "fails", "is cancelled")
ROOT_ENDS = ("completes", "fails", "is cancelled", "completes in another attempt")


@dataclass
class Tree:
    """Four runs, one below another. Of the third there are two: one that executes, and one that is queued."""

    policies: tuple[OnParentEnd, OnParentEnd]
    child_ends: str
    root_ends: str
    runs: dict[str, ClaimedRun] = field(default_factory=dict[str, ClaimedRun])

    def __str__(self) -> str:
        of_child, of_grandchild = self.policies
        child, below = f"the child ({of_child.name}) {self.child_ends}", f"what is below it is {of_grandchild.name}"
        return f"{child}, then the root {self.root_ends}; {below}"


class Wood:
    """All of them, in the store and in the oracle, level by level."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.oracle = Oracle()
        self.trees = [Tree(*shape) for shape in product(product(POLICIES, POLICIES), CHILD_ENDS, ROOT_ENDS)]
        self.names: dict[bytes, tuple[str, Tree]] = {}

    async def grow(self, name: str, task: str, above: str | None, policy: Any) -> None:
        """One run in each tree."""
        spawns: list[Spawn] = []
        for tree in self.trees:
            parent = tree.runs[above] if above else None
            about = policy(tree)
            spawn = self.stage.spawn(task, parent, **({} if parent is None else {"on_parent_end": about}))
            assert self.oracle.spawn(spawn.id, parent.key if parent else None, int(parent is not None), 0, about)
            self.names[spawn.id] = (name, tree)
            spawns.append(spawn)
        await self.stage.commit(spawns=spawns)

    async def claim(self, task: str) -> None:
        """All that is queued of a task."""
        claimed = await self.stage.claim(len(self.trees), tasks=[task])
        assert len(claimed) == len(self.trees)
        for run in claimed:
            name, tree = self.names[run.key]
            tree.runs[name] = run
            self.oracle.runs[run.key].state = RunState.RUNNING
            self.oracle.runs[run.key].attempt = run.attempt

    async def end(self, name: str, how: str) -> None:
        """This run of all trees in which it ends so."""
        ends = "root_ends" if name == "root" else "child_ends"
        runs = [tree.runs[name] for tree in self.trees if getattr(tree, ends) == how]
        outcomes: list[Outcome] = []
        for run in runs:
            if how == "is cancelled":
                await self.stage.store.cancel(run.key, "no more")
                self.oracle.cancel(run.key)
            else:
                state = RunState.FAILED if how == "fails" else RunState.COMPLETED
                outcomes.append((failed if how == "fails" else completed)(run, closes=True))
                assert self.oracle.end(run.key, run.attempt, state)
        await self.stage.commit(outcomes=outcomes)

    async def begin_again(self) -> None:
        """Of some the root has another attempt, which asks for none of its children."""
        runs = [tree.runs["root"] for tree in self.trees if tree.root_ends == ROOT_ENDS[-1]]
        await self.stage.report(*map(retried, runs))
        for again in await self.stage.claim(len(runs), tasks=["a"]):
            self.names[again.key][1].runs["root"] = again
            self.oracle.requeue(again.key, 1, retry=True)
            self.oracle.runs[again.key].state = RunState.RUNNING
            self.oracle.runs[again.key].attempt = again.attempt

    async def compare(self) -> None:
        await self.stage.sweep()
        records = await self.stage.records()
        for id_, (name, tree) in self.names.items():
            expected = self.oracle.runs[id_].state
            assert records[id_].state is expected, f"the {name} is {records[id_].state.name}, where {tree}"


async def test_what_becomes_of_what_is_below(stage: Stage) -> None:
    stage.sweeps = False
    wood = Wood(stage)
    await wood.grow("root", "a", None, lambda _: OnParentEnd.DEFAULT)
    await wood.claim("a")
    await wood.grow("child", "b", "root", lambda tree: tree.policies[0])
    await wood.claim("b")
    await wood.grow("grandchild", "c", "child", lambda tree: tree.policies[1])
    await wood.claim("c")
    await wood.begin_again()
    await wood.grow("grandchild in the queue", "b", "child", lambda tree: tree.policies[1])
    await wood.grow("great-grandchild", "b", "grandchild", lambda _: OnParentEnd.DEFAULT)
    for how in CHILD_ENDS[1:]:
        await wood.end("child", how)
    await wood.compare()
    for how in ROOT_ENDS:
        await wood.end("root", how)
    await wood.compare()
