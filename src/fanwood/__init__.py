"""Durable task trees: a running task spawns children - one, a thousand, a loop of them, itself again - and collects
their results, with crashes, retries, cancellation and scale handled underneath."""

from fanwood import handed

TYPE_CHECKING = (
    False  # typing's own costs more than all of this: a command that is interrupted at once would hear of it here
)

if TYPE_CHECKING:
    from typing import Any

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
    from fanwood.sdk.children.chunks import BytesChunk, ChunkStream, TextChunk
    from fanwood.sdk.children.completing import (
        ALL_COMPLETED,
        FIRST_COMPLETED,
        FIRST_EXCEPTION,
        AsCompleted,
        Waited,
        aio_wait,
        as_completed,
        wait,
    )
    from fanwood.sdk.children.ended import Cancelled, Completed, Failed, Outcome, Poisoned, TimedOut
    from fanwood.sdk.children.groups import Group
    from fanwood.sdk.children.refs import TaskRunRef, WorkflowRunRef
    from fanwood.sdk.client.bulk import BulkAction, BulkFilter, BulkPreview, BulkResult
    from fanwood.sdk.client.watching import RunTree
    from fanwood.sdk.declaring.budget import Budget
    from fanwood.sdk.declaring.hooks import RunEvent
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.declaring.lateness import after
    from fanwood.sdk.declaring.options import TaskPolicy, TriggerWorkflowOptions
    from fanwood.sdk.declaring.step import Step
    from fanwood.sdk.running.current import current_run_id
    from fanwood.sdk.running.infos import AttemptInfo, LimitInfo, LogInfo, RunCounts, RunInfo
    from fanwood.sdk.running.lineage import ForkInfo, KinInfo
    from fanwood.sdk.running.log_context import RunContextFilter
    from fanwood.sdk.running.strays import with_context
    from fanwood.sdk.running.unloading import EvictionPolicy
    from fanwood.sdk.tasks.context import Context
    from fanwood.sdk.tasks.task import Standalone
    from fanwood.sdk.tasks.tools import Tool, ToolResult, Tools
    from fanwood.sdk.tasks.workflow import Workflow
    from fanwood.sdk.waits.conditions import (
        OrGroup,
        ParentCondition,
        SleepCondition,
        UserEventCondition,
        WaitResult,
        or_,
    )
    from fanwood.sdk.waits.events import Event, PushEvent
    from fanwood.sdk.waits.messages import Message
    from fanwood.sdk.waits.promises import Promise
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
    "BulkAction",
    "BulkFilter",
    "BulkPreview",
    "BulkResult",
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
    "ForkInfo",
    "Group",
    "IdSource",
    "IdempotencyConflictError",
    "InputValidationError",
    "KinInfo",
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
    "aio_wait": "fanwood.sdk.children.completing",
    "ALL_COMPLETED": "fanwood.sdk.children.completing",
    "after": "fanwood.sdk.declaring.lateness",
    "as_completed": "fanwood.sdk.children.completing",
    "AsCompleted": "fanwood.sdk.children.completing",
    "AttemptInfo": "fanwood.sdk.running.infos",
    "Budget": "fanwood.sdk.declaring.budget",
    "BulkAction": "fanwood.sdk.client.bulk",
    "BulkFilter": "fanwood.sdk.client.bulk",
    "BulkPreview": "fanwood.sdk.client.bulk",
    "BulkResult": "fanwood.sdk.client.bulk",
    "BulkRunItem": "fanwood.sdk.declaring.items",
    "BytesChunk": "fanwood.sdk.children.chunks",
    "Cancelled": "fanwood.sdk.children.ended",
    "ChunkStream": "fanwood.sdk.children.chunks",
    "Clock": "fanwood.clock",
    "Completed": "fanwood.sdk.children.ended",
    "Context": "fanwood.sdk.tasks.context",
    "current_run_id": "fanwood.sdk.running.current",
    "EmptyModel": "fanwood.codec.empty",
    "Event": "fanwood.sdk.waits.events",
    "EvictionPolicy": "fanwood.sdk.running.unloading",
    "Failed": "fanwood.sdk.children.ended",
    "Fanwood": "fanwood.app",
    "FIRST_COMPLETED": "fanwood.sdk.children.completing",
    "FIRST_EXCEPTION": "fanwood.sdk.children.completing",
    "ForkInfo": "fanwood.sdk.running.lineage",
    "KinInfo": "fanwood.sdk.running.lineage",
    "Group": "fanwood.sdk.children.groups",
    "IdSource": "fanwood.ids",
    "LimitInfo": "fanwood.sdk.running.infos",
    "LogInfo": "fanwood.sdk.running.infos",
    "ManualClock": "fanwood.clock",
    "Message": "fanwood.sdk.waits.messages",
    "or_": "fanwood.sdk.waits.conditions",
    "OrGroup": "fanwood.sdk.waits.conditions",
    "Outcome": "fanwood.sdk.children.ended",
    "ParentCondition": "fanwood.sdk.waits.conditions",
    "Poisoned": "fanwood.sdk.children.ended",
    "Progress": "fanwood.store.progress",
    "Promise": "fanwood.sdk.waits.promises",
    "PushEvent": "fanwood.sdk.waits.events",
    "RunContextFilter": "fanwood.sdk.running.log_context",
    "RunCounts": "fanwood.sdk.running.infos",
    "RunEvent": "fanwood.sdk.declaring.hooks",
    "RunInfo": "fanwood.sdk.running.infos",
    "RunState": "fanwood.model.states",
    "RunTree": "fanwood.sdk.client.watching",
    "SeededIds": "fanwood.ids",
    "Settings": "fanwood.settings",
    "SleepCondition": "fanwood.sdk.waits.conditions",
    "Standalone": "fanwood.sdk.tasks.task",
    "Step": "fanwood.sdk.declaring.step",
    "SystemClock": "fanwood.clock",
    "SystemIds": "fanwood.ids",
    "TaskPolicy": "fanwood.sdk.declaring.options",
    "TaskRunRef": "fanwood.sdk.children.refs",
    "TextChunk": "fanwood.sdk.children.chunks",
    "TimedOut": "fanwood.sdk.children.ended",
    "Tool": "fanwood.sdk.tasks.tools",
    "ToolResult": "fanwood.sdk.tasks.tools",
    "Tools": "fanwood.sdk.tasks.tools",
    "TriggerWorkflowOptions": "fanwood.sdk.declaring.options",
    "UserEventCondition": "fanwood.sdk.waits.conditions",
    "wait": "fanwood.sdk.children.completing",
    "Waited": "fanwood.sdk.children.completing",
    "WaitResult": "fanwood.sdk.waits.conditions",
    "with_context": "fanwood.sdk.running.strays",
    "Why": "fanwood.store.why",
    "WhyCause": "fanwood.store.why",
    "Worker": "fanwood.worker.worker",
    "Workflow": "fanwood.sdk.tasks.workflow",
    "WorkflowRunRef": "fanwood.sdk.children.refs",
}
"""Where a name is defined that isn't an error."""


def _load(module: str) -> "Any":
    import importlib  # noqa: PLC0415  (see above)

    return importlib.import_module(module)


handed.hand("actions", lambda: _load("fanwood.server.scripted"))


def __getattr__(name: str) -> "Any":
    """Names are imported when they are first asked for: the command line, and many a process, need few of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_load(_HOMES.get(name, "fanwood.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
