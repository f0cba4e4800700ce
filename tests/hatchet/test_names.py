"""What `fanwood.hatchet` maps: their names, and what of ours each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import fanwood
from fanwood import hatchet as theirs
from fanwood.sdk.declaring.step import Step
from fanwood.sdk.waits.conditions import Condition

THE_SAME: dict[str, object] = {
    "Condition": Condition,
    "EmptyModel": fanwood.EmptyModel,
    "FailedTaskRunExceptionGroup": fanwood.FailedTaskRunExceptionGroup,
    "NonDeterminismError": fanwood.NonDeterminismError,
    "NonRetryableException": fanwood.NonRetryableException,
    "OrGroup": fanwood.OrGroup,
    "ParentCondition": fanwood.ParentCondition,
    "RetryAfterException": fanwood.RetryAfterException,
    "RunWorkflowOptions": fanwood.TriggerWorkflowOptions,
    "SleepCondition": fanwood.SleepCondition,
    "Task": Step,
    "TaskDefaults": fanwood.TaskPolicy,
    "TaskRunError": fanwood.TaskRunError,
    "TriggerWorkflowOptions": fanwood.TriggerWorkflowOptions,
    "UserEventCondition": fanwood.UserEventCondition,
    "Worker": fanwood.Worker,
    "WorkflowRunRef": fanwood.WorkflowRunRef,
    "or_": fanwood.or_,
}
BASED_ON = {
    "Context": fanwood.Context,
    "DurableContext": fanwood.Context,
    "Hatchet": fanwood.Fanwood,
    "Standalone": fanwood.Standalone,
    "Workflow": fanwood.Workflow,
}
ITS_OWN = {
    "BulkCancelReplayOpts", "Priority", "RunDetails", "RunFilter", "RunFound", "RunList", "RunRow", "RunStatus",
    "TaskRunDetail", "TaskRunRef", "V1TaskStatus", "exceptions",
}  # fmt: skip

ADDED = {
    "Hatchet": {"durable_task", "get_current_context", "runs", "worker"},
    "Context": {
        "aio_log", "aio_refresh_timeout", "aio_release_slot", "exit_flag", "get_task_run_error", "refresh_timeout",
        "retry_count", "workflow_id",
    },
    "Standalone": {"aio_get_result", "aio_list_runs", "get_result", "id", "list_runs"},
    "Workflow": {"aio_list_runs", "durable_task", "id", "list_runs"},
    "TaskRunError": {"exc", "serialize", "task_run_external_id", "trace"},
}  # fmt: skip


@pytest.fixture
def hatchet(url: str) -> Iterator[theirs.Hatchet]:
    with theirs.Hatchet(url=url) as made:
        yield made


def test_that_every_name_is_listed_here():
    assert sorted([*THE_SAME, *BASED_ON, *ITS_OWN]) == sorted(theirs.__all__)
    assert all(getattr(theirs, name) is ours for name, ours in THE_SAME.items())
    assert all(issubclass(getattr(theirs, name), ours) for name, ours in BASED_ON.items())
    assert all(getattr(theirs.exceptions, name) is getattr(fanwood, name) for name in theirs.exceptions.__all__)


@pytest.mark.parametrize("name", ADDED)
def test_their_members(name: str):
    kind = theirs.Hatchet(url="sqlite:///never-opened.db") if name == "Hatchet" else getattr(theirs, name)
    assert [member for member in sorted(ADDED[name]) if not hasattr(kind, member)] == []


def test_references_with_two_types(hatchet: theirs.Hatchet):
    @hatchet.task()
    def one(input: theirs.EmptyModel, ctx: theirs.Context) -> dict[str, int]:
        return {"n": 1}

    ref: theirs.TaskRunRef[theirs.EmptyModel, dict[str, int]] = one.run_no_wait()
    assert isinstance(ref, theirs.TaskRunRef)  # pyright: ignore[reportArgumentType]  # an alias, for type checkers
    assert ref.result() == {"n": 1}


def test_more_time_for_what_has_no_limit(hatchet: theirs.Hatchet):
    @hatchet.task()
    async def endless(input: dict[str, Any], ctx: theirs.Context) -> dict[str, int]:
        ctx.refresh_timeout(increment_by="10s")
        await ctx.aio_refresh_timeout(timedelta(seconds=1))
        return {"n": 1}

    assert endless.run({}) == {"n": 1}


def test_an_error_as_text(hatchet: theirs.Hatchet):
    @hatchet.task()
    def fails(input: dict[str, Any], ctx: theirs.Context) -> None:
        raise ValueError("boom")

    with pytest.raises(theirs.TaskRunError) as caught:
        fails.run({})
    text = caught.value.serialize(include_metadata=True)
    assert text.startswith("ValueError: boom\nTraceback")
    assert text.endswith(f'{{"task_run_external_id": "{caught.value.run_id}"}}')
    assert caught.value.serialize() == text.rpartition("\n")[0]


def test_several_objects_work_together(hatchet: theirs.Hatchet, url: str):
    other = theirs.Hatchet(url=url)

    @other.task()
    async def child(input: dict[str, Any], ctx: theirs.Context) -> dict[str, Any]:
        return input

    @hatchet.task()
    async def parent(input: dict[str, Any], ctx: theirs.Context) -> dict[str, Any]:
        assert hatchet.get_current_context() is not None
        return await child.aio_run(input)

    assert parent.run({"n": 1}) == {"n": 1}
    assert hatchet.get_current_context() is None
    other.close()


def test_all_that_a_filter_lets_through(hatchet: theirs.Hatchet):
    @hatchet.task()
    async def one(input: dict[str, Any], ctx: theirs.Context) -> dict[str, Any]:
        return {"id": ctx.workflow_id, "retry": ctx.retry_count}

    refs = one.run_many_no_wait([one.create_bulk_run_item({"n": n}) for n in range(60)])
    assert [ref.result() for ref in refs] == [{"id": "one", "retry": 0}] * 60
    rows = hatchet.runs.list_with_pagination(workflow_ids=[one.id], include_payloads=False)
    assert {row.task_external_id for row in rows} == {ref.id for ref in refs}  # and not the first 50 of them
    assert one.get_result(refs[0].id) == {"id": "one", "retry": 0}
    assert hatchet.runs.get_task_run(refs[0].id).status is theirs.RunStatus.COMPLETED
    hatchet.runs.bulk_cancel_by_filters_with_pagination(workflow_ids=["one"], sleep_time=1, chunk_size=10)
    hatchet.runs.bulk_replay_by_filters_with_pagination(workflow_ids=["one"])
    assert [ref.result() for ref in refs] == [{"id": "one", "retry": 1}] * 60


def test_namespaces_and_pages(url: str):
    with theirs.Hatchet(url=url, namespace="shop") as hatchet:

        @hatchet.task()
        def one(input: dict[str, Any], ctx: theirs.Context) -> dict[str, Any]:
            return input

        @hatchet.task(default_priority=theirs.Priority.HIGH)
        def two(input: dict[str, Any], ctx: theirs.Context) -> dict[str, int]:
            return {"priority": ctx.priority}

        items = [one.create_bulk_run_item({"n": n}) for n in range(5)]
        one.run_many(workflows=items)
        assert two.run({}) == {"priority": 3}
        assert [row.output for row in hatchet.runs.list(workflow_ids=["one"], limit=2, offset=1).rows] == [
            {"n": 3},
            {"n": 2},
        ]
        assert [row.workflow_id for row in hatchet.runs.list(workflow_ids=[two.id, one.id], limit=2).rows] == [
            two.id,
            one.id,
        ]
        assert len(one.list_runs(statuses=[theirs.V1TaskStatus.FAILED])) == 0
        assert one.list_runs(statuses=[fanwood.RunState.WAITING, "queued"], limit=0) == []
        for wrong in ({"statuses": ["asleep"]}, {"limit": -1}, {"offset": -3}, {"limit": 1.5}):
            with pytest.raises(fanwood.UsageError):
                one.list_runs(**wrong)


async def test_what_is_deleted_meanwhile_stops_no_bulk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with theirs.Hatchet(url=f"sqlite:///{tmp_path}/x.db", local_worker=True) as hatchet:

        @hatchet.task()
        def one(input: dict[str, Any], ctx: theirs.Context) -> dict[str, Any]:
            return input

        await one.aio_run_many([one.create_bulk_run_item({"n": n}) for n in range(3)])
        replay, asked = hatchet.runs.aio_replay, list[str]()

        async def act(run_id: str) -> Any:
            asked.append(run_id)
            return await replay("0" * 32 if len(asked) == 1 else run_id)

        monkeypatch.setattr(hatchet.runs, "aio_replay", act)
        since = datetime.now(UTC) - timedelta(hours=1)
        await hatchet.runs.aio_bulk_replay(theirs.BulkCancelReplayOpts(filters=theirs.RunFilter(since=since)))
        assert len(asked) == 3


def test_that_a_selection_is_one_of_two():
    with pytest.raises(fanwood.UsageError, match="either ids or filters"):
        theirs.BulkCancelReplayOpts()
