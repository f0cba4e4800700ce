"""Exceptions of ours go where exceptions go: through pickle and copy, as in process pools."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest

import fanwood
from fanwood import (
    FailedTaskRunExceptionGroup,
    InputValidationError,
    PayloadEncodingError,
    PayloadTooLargeError,
    RetryAfterException,
    TaskRunError,
    TaskRunTimedOut,
)

SPECIAL: dict[str, Any] = {
    "InputValidationError": InputValidationError("it", [("n", "is required")]),
    "PayloadEncodingError": PayloadEncodingError("it", "input.n", "nan", verb="decoded"),
    "PayloadTooLargeError": PayloadTooLargeError("it", 5, 4),
    "RetryAfterException": RetryAfterException("later", after="5m"),
    "FailedTaskRunExceptionGroup": FailedTaskRunExceptionGroup(
        "why", [TaskRunError("id", "task", "ValueError", "boom")]
    ),
    "TaskRunTimedOut": TaskRunTimedOut("id", "task", limit="deadline", owner="other"),
}
ERRORS = sorted(
    name
    for name in fanwood.__all__
    if isinstance(getattr(fanwood, name), type) and issubclass(getattr(fanwood, name), BaseException)
)


def made(name: str) -> Any:
    if name in SPECIAL:
        return SPECIAL[name]
    cls = getattr(fanwood, name)
    return (
        cls("id", "task", "ValueError", "boom", "traceback") if issubclass(cls, TaskRunError) else cls("what", "more")
    )


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_errors_can_be_pickled_and_copied(name: str, again: Any) -> None:
    error = made(name)
    error.add_note("a note")
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    held, came = (
        {key: value for key, value in vars(each).items() if not isinstance(value, BaseException)}
        for each in (error, other)
    )
    assert held == came
    assert other.__notes__[-1] == "a note"


def test_retry_after_takes_durations() -> None:
    assert RetryAfterException(after=2).after == timedelta(seconds=2)
    assert RetryAfterException(after="1h30m").after == timedelta(minutes=90)
    assert RetryAfterException(after=timedelta(0)).after == timedelta(0)
