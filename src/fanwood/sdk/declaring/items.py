"""The items of a bulk."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from fanwood.sdk.declaring.options import DEFAULT_OPTIONS, TriggerWorkflowOptions
from fanwood.sdk.declaring.spec import TaskSpec

In = TypeVar("In")
Out = TypeVar("Out")


class BulkRunItem(msgspec.Struct, Generic[In, Out], frozen=True, gc=False):
    """One run of a bulk; made by `create_bulk_run_item`. (A Struct, because there may be a hundred thousand.)"""

    spec: TaskSpec
    input: In | Any  # as it was given
    options: TriggerWorkflowOptions = DEFAULT_OPTIONS
