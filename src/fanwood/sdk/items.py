"""The items of a bulk."""

from __future__ import annotations

from typing import Any

import msgspec

from fanwood.sdk.options import DEFAULT_OPTIONS, TriggerWorkflowOptions
from fanwood.sdk.spec import TaskSpec


class BulkRunItem(msgspec.Struct, frozen=True, gc=False):
    """One run of a bulk; made by `create_bulk_run_item`. (A Struct, because there may be a hundred thousand.)"""

    spec: TaskSpec
    input: Any
    options: TriggerWorkflowOptions = DEFAULT_OPTIONS
