"""Which failures are tried again."""

from fanwood.hatchet import Context, EmptyModel, FailedTaskRunExceptionGroup, Hatchet
from fanwood.hatchet.exceptions import NonRetryableException

hatchet = Hatchet()
flow = hatchet.workflow(name="NonRetryable")


@flow.task(retries=1)
def is_not(input: EmptyModel, ctx: Context) -> None:
    raise NonRetryableException("never again")


@flow.task(retries=1)
def is_tried_again(input: EmptyModel, ctx: Context) -> None:
    raise ValueError("perhaps")


@flow.task(retries=1)
def is_tried_again_too(input: EmptyModel, ctx: Context) -> None:
    try:
        raise NonRetryableException("within")
    except NonRetryableException as error:
        raise ValueError("perhaps") from error


def main() -> object:
    ref = flow.run_no_wait()
    try:
        ref.result()
    except FailedTaskRunExceptionGroup as group:
        assert len(group.exceptions) == 3
    rows = hatchet.runs.list(parent_task_external_id=ref.workflow_run_id, only_tasks=True).rows
    return {row.workflow_name: row.attempt for row in reversed(rows)}
