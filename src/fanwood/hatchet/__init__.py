"""For programs that were written with Hatchet's Python SDK: its names, where it calls the same thing otherwise.

`from fanwood.hatchet import Hatchet, Context, ...` instead of the SDK's import is all that most of them need; what
differs on purpose is in docs/coming-from-hatchet.md. Nothing here talks to a Hatchet engine. Objects for one database
work together, so each module may have a `Hatchet()` of its own.
"""

from __future__ import annotations

from fanwood.codec.empty import EmptyModel
from fanwood.errors import (
    FailedTaskRunExceptionGroup,
    NonDeterminismError,
    NonRetryableException,
    RetryAfterException,
    TaskRunError,
)
from fanwood.hatchet import exceptions
from fanwood.hatchet.app import Hatchet, Priority, TaskDefaults
from fanwood.hatchet.context import Context, DurableContext
from fanwood.hatchet.runnables import Standalone, TaskRunRef, Workflow
from fanwood.hatchet.runs import (
    BulkCancelReplayOpts,
    RunDetails,
    RunFilter,
    RunFound,
    RunList,
    RunRow,
    RunStatus,
    TaskRunDetail,
    V1TaskStatus,
)
from fanwood.sdk.children.refs import WorkflowRunRef
from fanwood.sdk.declaring.options import TriggerWorkflowOptions
from fanwood.sdk.declaring.step import Step as Task
from fanwood.sdk.waits.conditions import Condition, OrGroup, ParentCondition, SleepCondition, UserEventCondition, or_
from fanwood.worker.worker import Worker

RunWorkflowOptions = TriggerWorkflowOptions
"""What newer versions of the SDK call it."""

__all__ = [
    "BulkCancelReplayOpts",
    "Condition",
    "Context",
    "DurableContext",
    "EmptyModel",
    "FailedTaskRunExceptionGroup",
    "Hatchet",
    "NonDeterminismError",
    "NonRetryableException",
    "OrGroup",
    "ParentCondition",
    "Priority",
    "RetryAfterException",
    "RunDetails",
    "RunFilter",
    "RunFound",
    "RunList",
    "RunRow",
    "RunStatus",
    "RunWorkflowOptions",
    "SleepCondition",
    "Standalone",
    "Task",
    "TaskDefaults",
    "TaskRunDetail",
    "TaskRunError",
    "TaskRunRef",
    "TriggerWorkflowOptions",
    "UserEventCondition",
    "V1TaskStatus",
    "Worker",
    "Workflow",
    "WorkflowRunRef",
    "exceptions",
    "or_",
]
