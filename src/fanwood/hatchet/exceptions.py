"""What tasks raise, and what callers catch."""

from fanwood.errors import (
    FailedTaskRunExceptionGroup,
    NonRetryableException,
    RetryAfterException,
    TaskRunCancelled,
    TaskRunError,
    TaskRunTimedOut,
)

__all__ = [
    "FailedTaskRunExceptionGroup",
    "NonRetryableException",
    "RetryAfterException",
    "TaskRunCancelled",
    "TaskRunError",
    "TaskRunTimedOut",
]
