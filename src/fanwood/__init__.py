"""Durable task trees: a running task spawns children - one, a thousand, a loop of them, itself again - and collects
their results, with crashes, retries, cancellation and scale handled underneath."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanwood.app import Fanwood
    from fanwood.clock import Clock, ManualClock, SystemClock
    from fanwood.codec.empty import EmptyModel
    from fanwood.errors import (
        AttemptFencedError,
        BlockingCallError,
        BudgetExceeded,
        ChildKeyConflictError,
        DeclarationError,
        DuplicateTaskError,
        EngineClosedError,
        EventConflictError,
        FailedTaskRunExceptionGroup,
        FanwoodError,
        IdempotencyConflictError,
        InputValidationError,
        NonDeterminismError,
        NonRetryableException,
        NotInTaskError,
        PayloadEncodingError,
        PayloadError,
        PayloadTooLargeError,
        PromiseSettledError,
        PromiseTokenError,
        RetryAfterException,
        RunEndedError,
        RunInterrupted,
        RunNotFoundError,
        RunStartsOver,
        SettingsError,
        SpawnError,
        StoreBusyError,
        StoreError,
        StoreForeignError,
        StoreFullError,
        StoreReadOnlyError,
        StoreSchemaError,
        StoreUnavailableError,
        StoreValueError,
        TaskRunCancelled,
        TaskRunError,
        TaskRunPoisoned,
        TaskRunTimedOut,
        TooManyWaitingThreadsError,
        UnknownTaskError,
        UsageError,
        WaitTimeoutError,
        WorkflowDeclarationError,
    )
    from fanwood.ids import IdSource, SeededIds, SystemIds
    from fanwood.model.states import RunState
    from fanwood.sdk.budget import Budget
    from fanwood.sdk.chunks import BytesChunk, ChunkStream, TextChunk
    from fanwood.sdk.completing import (
        ALL_COMPLETED,
        FIRST_COMPLETED,
        FIRST_EXCEPTION,
        AsCompleted,
        Waited,
        aio_wait,
        as_completed,
        wait,
    )
    from fanwood.sdk.conditions import OrGroup, ParentCondition, SleepCondition, UserEventCondition, WaitResult, or_
    from fanwood.sdk.context import Context
    from fanwood.sdk.current import current_run_id
    from fanwood.sdk.ended import Cancelled, Completed, Failed, Outcome, Poisoned, TimedOut
    from fanwood.sdk.events import Event, PushEvent
    from fanwood.sdk.groups import Group
    from fanwood.sdk.hooks import RunEvent
    from fanwood.sdk.infos import AttemptInfo, LimitInfo, LogInfo, RunCounts, RunInfo
    from fanwood.sdk.items import BulkRunItem
    from fanwood.sdk.lateness import after
    from fanwood.sdk.log_context import RunContextFilter
    from fanwood.sdk.messages import Message
    from fanwood.sdk.options import TaskPolicy, TriggerWorkflowOptions
    from fanwood.sdk.promises import Promise
    from fanwood.sdk.refs import TaskRunRef, WorkflowRunRef
    from fanwood.sdk.step import Step
    from fanwood.sdk.strays import with_context
    from fanwood.sdk.task import Standalone
    from fanwood.sdk.tools import Tool, ToolResult, Tools
    from fanwood.sdk.unloading import EvictionPolicy
    from fanwood.sdk.watching import RunTree
    from fanwood.sdk.workflow import Workflow
    from fanwood.settings import Settings
    from fanwood.store.progress import Progress
    from fanwood.store.why import Why, WhyCause
    from fanwood.worker.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "ALL_COMPLETED",
    "AsCompleted",
    "AttemptFencedError",
    "AttemptInfo",
    "BlockingCallError",
    "Budget",
    "BudgetExceeded",
    "BulkRunItem",
    "BytesChunk",
    "Cancelled",
    "ChildKeyConflictError",
    "ChunkStream",
    "Clock",
    "Completed",
    "Context",
    "DeclarationError",
    "DuplicateTaskError",
    "EmptyModel",
    "EngineClosedError",
    "Event",
    "EventConflictError",
    "EvictionPolicy",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Failed",
    "FailedTaskRunExceptionGroup",
    "Fanwood",
    "FanwoodError",
    "Group",
    "IdSource",
    "IdempotencyConflictError",
    "InputValidationError",
    "LimitInfo",
    "LogInfo",
    "ManualClock",
    "Message",
    "NonDeterminismError",
    "NonRetryableException",
    "NotInTaskError",
    "OrGroup",
    "Outcome",
    "ParentCondition",
    "PayloadEncodingError",
    "PayloadError",
    "PayloadTooLargeError",
    "Poisoned",
    "Progress",
    "Promise",
    "PromiseSettledError",
    "PromiseTokenError",
    "PushEvent",
    "RetryAfterException",
    "RunContextFilter",
    "RunCounts",
    "RunEndedError",
    "RunEvent",
    "RunInfo",
    "RunInterrupted",
    "RunNotFoundError",
    "RunStartsOver",
    "RunState",
    "RunTree",
    "SeededIds",
    "Settings",
    "SettingsError",
    "SleepCondition",
    "SpawnError",
    "Standalone",
    "Step",
    "StoreBusyError",
    "StoreError",
    "StoreForeignError",
    "StoreFullError",
    "StoreReadOnlyError",
    "StoreSchemaError",
    "StoreUnavailableError",
    "StoreValueError",
    "SystemClock",
    "SystemIds",
    "TaskPolicy",
    "TaskRunCancelled",
    "TaskRunError",
    "TaskRunPoisoned",
    "TaskRunRef",
    "TaskRunTimedOut",
    "TextChunk",
    "TimedOut",
    "TooManyWaitingThreadsError",
    "Tool",
    "ToolResult",
    "Tools",
    "TriggerWorkflowOptions",
    "UnknownTaskError",
    "UsageError",
    "UserEventCondition",
    "WaitResult",
    "WaitTimeoutError",
    "Waited",
    "Why",
    "WhyCause",
    "Worker",
    "Workflow",
    "WorkflowDeclarationError",
    "WorkflowRunRef",
    "__version__",
    "after",
    "aio_wait",
    "as_completed",
    "current_run_id",
    "or_",
    "wait",
    "with_context",
]

_HOMES = {
    "aio_wait": "fanwood.sdk.completing",
    "ALL_COMPLETED": "fanwood.sdk.completing",
    "after": "fanwood.sdk.lateness",
    "as_completed": "fanwood.sdk.completing",
    "AsCompleted": "fanwood.sdk.completing",
    "AttemptInfo": "fanwood.sdk.infos",
    "Budget": "fanwood.sdk.budget",
    "BulkRunItem": "fanwood.sdk.items",
    "BytesChunk": "fanwood.sdk.chunks",
    "Cancelled": "fanwood.sdk.ended",
    "ChunkStream": "fanwood.sdk.chunks",
    "Clock": "fanwood.clock",
    "Completed": "fanwood.sdk.ended",
    "Context": "fanwood.sdk.context",
    "current_run_id": "fanwood.sdk.current",
    "EmptyModel": "fanwood.codec.empty",
    "Event": "fanwood.sdk.events",
    "EvictionPolicy": "fanwood.sdk.unloading",
    "Failed": "fanwood.sdk.ended",
    "Fanwood": "fanwood.app",
    "FIRST_COMPLETED": "fanwood.sdk.completing",
    "FIRST_EXCEPTION": "fanwood.sdk.completing",
    "Group": "fanwood.sdk.groups",
    "IdSource": "fanwood.ids",
    "LimitInfo": "fanwood.sdk.infos",
    "LogInfo": "fanwood.sdk.infos",
    "ManualClock": "fanwood.clock",
    "Message": "fanwood.sdk.messages",
    "or_": "fanwood.sdk.conditions",
    "OrGroup": "fanwood.sdk.conditions",
    "Outcome": "fanwood.sdk.ended",
    "ParentCondition": "fanwood.sdk.conditions",
    "Poisoned": "fanwood.sdk.ended",
    "Progress": "fanwood.store.progress",
    "Promise": "fanwood.sdk.promises",
    "PushEvent": "fanwood.sdk.events",
    "RunContextFilter": "fanwood.sdk.log_context",
    "RunCounts": "fanwood.sdk.infos",
    "RunEvent": "fanwood.sdk.hooks",
    "RunInfo": "fanwood.sdk.infos",
    "RunState": "fanwood.model.states",
    "RunTree": "fanwood.sdk.watching",
    "SeededIds": "fanwood.ids",
    "Settings": "fanwood.settings",
    "SleepCondition": "fanwood.sdk.conditions",
    "Standalone": "fanwood.sdk.task",
    "Step": "fanwood.sdk.step",
    "SystemClock": "fanwood.clock",
    "SystemIds": "fanwood.ids",
    "TaskPolicy": "fanwood.sdk.options",
    "TaskRunRef": "fanwood.sdk.refs",
    "TextChunk": "fanwood.sdk.chunks",
    "TimedOut": "fanwood.sdk.ended",
    "Tool": "fanwood.sdk.tools",
    "ToolResult": "fanwood.sdk.tools",
    "Tools": "fanwood.sdk.tools",
    "TriggerWorkflowOptions": "fanwood.sdk.options",
    "UserEventCondition": "fanwood.sdk.conditions",
    "wait": "fanwood.sdk.completing",
    "Waited": "fanwood.sdk.completing",
    "WaitResult": "fanwood.sdk.conditions",
    "with_context": "fanwood.sdk.strays",
    "Why": "fanwood.store.why",
    "WhyCause": "fanwood.store.why",
    "Worker": "fanwood.worker.worker",
    "Workflow": "fanwood.sdk.workflow",
    "WorkflowRunRef": "fanwood.sdk.refs",
}
"""Where a name is defined that isn't an error."""


def __getattr__(name: str) -> Any:
    """Names are imported when they are first asked for: the command line, and many a process, need few of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "fanwood.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
