"""What runs when a step has failed, and sees why."""

from typing import Any

from fanwood.hatchet import Context, EmptyModel, Hatchet

hatchet = Hatchet()
flow = hatchet.workflow(name="OnFailure")


@flow.task()
def step1(input: EmptyModel, ctx: Context) -> None:
    raise RuntimeError("step1 failed")


@flow.task()
def step2(input: EmptyModel, ctx: Context) -> None: ...


@flow.on_failure_task()
def on_failure(input: EmptyModel, ctx: Context) -> dict[str, Any]:
    error = ctx.get_task_run_error(step1)
    assert error is not None
    assert ctx.get_task_run_error(step2) is None
    assert "step1 failed" in ctx.task_run_errors["step1"]
    return {"exc": error.exc, "type": error.exc_type, "traced": "step1" in error.trace}


def main() -> object:
    ref = flow.run_no_wait()
    try:
        ref.result()
    except Exception as error:
        assert "step1 failed" in str(error)
    found = hatchet.runs.get(ref.workflow_run_id)
    assert found.run.status == "FAILED"
    states = [str(task.status) for task in found.tasks]
    assert states == ["FAILED", "COMPLETED", "COMPLETED"], states
    assert "on_failure" in next(task.display_name for task in reversed(found.tasks) if task.output is not None)
    details = hatchet.runs.get_details(ref.workflow_run_id)
    return str(details.status), details.task_runs["on_failure"].output
