"""What a call of many runs keeps of each."""

import gc
import tracemalloc
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fanwood.engine.waits import Outputs
from fanwood.ids import SystemIds
from fanwood.model.commands import Finished, Outcome
from fanwood.model.states import RunState
from fanwood.sdk.children.planned import Ids, Planned, PlannedRuns

FIRST, SECOND = cast("Any", SimpleNamespace(name="first")), cast("Any", SimpleNamespace(name="second"))


def test_planned_runs_are_kept_in_order_with_their_tasks() -> None:
    ids, runs = [SystemIds().new_id() for _ in range(6)], PlannedRuns()
    assert not runs
    assert list(runs) == []
    assert list(runs.parts()) == []
    for id_, spec in zip(ids, [FIRST, FIRST, SECOND, FIRST, SECOND, SECOND], strict=True):
        runs.add(id_, spec)
    runs.replace(1, other := SystemIds().new_id())
    ids[1] = other
    assert len(runs) == 6
    assert list(runs.parts()) == [(0, 2, FIRST), (2, 3, SECOND), (3, 4, FIRST), (4, 6, SECOND)]
    assert [runs.at(n) for n in range(6)] == list(runs)
    assert runs.at(4) == Planned(ids[4], SECOND)
    assert runs.id(3) == ids[3]
    assert list(Ids(runs)) == list(Ids(runs)) == ids
    for number in (-1, 6):
        with pytest.raises(IndexError):
            runs.at(number)
    runs.clear()
    assert not runs
    runs.add(ids[0], SECOND)
    assert list(runs) == [Planned(ids[0], SECOND)]


def test_of_what_completed_the_output_is_kept_and_of_others_how_they_ended() -> None:
    outputs = Outputs(fail_fast=False)
    outputs.grow(4)
    outputs.close()
    outputs.put(0, Outcome(b"run", 1, RunState.COMPLETED, "1"))
    outputs.put(0, Finished(RunState.FAILED, None, "told twice"))
    outputs.put(1, Finished(RunState.COMPLETED, None, None))
    outputs.put(3, Outcome(b"run", 1, RunState.CANCELLED, None, "why", task="its own"))
    assert not outputs.ready
    outputs.put(2, Finished(RunState.COMPLETED, "null", None))
    assert outputs.ready
    assert outputs.first_failure == 3
    assert outputs.values == ["1", "null", "null", Finished(RunState.CANCELLED, None, "why", "its own")]
    assert outputs.end(0, "task") == Finished(RunState.COMPLETED, "1", None, "task")
    assert outputs.end(3, "task").task == "its own"
    outputs.values[1] = None  # a result, in the place of what it was made from
    outputs.put(1, Finished(RunState.COMPLETED, "too late", None))
    outputs.values.clear()  # the list is its waiter's
    outputs.put(1, Finished(RunState.COMPLETED, "too late", None))
    assert outputs.values == []


@pytest.mark.long
def test_a_call_of_many_runs_keeps_little_of_each() -> None:
    count, ids = 20_000, SystemIds()
    gc.collect()
    tracemalloc.start()
    try:
        runs, outputs = PlannedRuns(), Outputs(fail_fast=True)
        outputs.grow(count)
        for number in range(count):
            runs.add(id_ := ids.new_id(), FIRST)
            outputs.put(number, Outcome(id_, 1, RunState.COMPLETED, str(number), parent="p" * 32 + str(number)))
        each = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert len(runs) == len(outputs.values)
    assert each < 100, f"{each:.0f} bytes of each run"
