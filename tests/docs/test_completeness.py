"""The reference pages name everything there is, and nothing that there isn't."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

import pytest

import fanwood
from fanwood import Context, Fanwood, RunInfo, Settings, Standalone, Step, TaskRunRef, Worker, Workflow
from fanwood.model.states import TRANSITIONS, Cause, RunState
from fanwood.sdk.client.runs import Runs
from fanwood.sdk.declaring import options
from tests.docs.pages import page, section

FOR_THE_INSIDE = {"_host", "spec", "engine", "prepare", "declared", "forget_engine", "worker_name"} | {
    "host", "key", "task_name", "has_end", "has_failed", "with_end", "take_end", "asked_for",
    "comes_by", "comes_last", "is_held", "mark", "watch",
}  # fmt: skip
ERRORS = sorted(
    name
    for name in fanwood.__all__
    if isinstance(getattr(fanwood, name), type) and issubclass(getattr(fanwood, name), BaseException)
)


def code_spans(text: str) -> str:
    """All `code` of a page, fenced or not, each on a line of its own."""
    return "\n".join(
        [*re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
    )


def mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", code_spans(text)) is not None


def members(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_") and name not in FOR_THE_INSIDE]


@pytest.mark.parametrize("name", fanwood.__all__)
def test_that_every_public_name_is_in_the_reference(name: str):
    assert mentions(page("docs/reference/api.md"), name)


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        (Fanwood, "## `Fanwood`"),
        (Standalone, "### `Standalone`"),
        (Workflow, "## Workflows"),
        (Step, "### `Step`"),
        (TaskRunRef, "### `TaskRunRef`"),
        (Context, "## `Context`"),
        (Worker, "## `Worker`"),
    ],
)
def test_that_every_member_is_in_its_section(kind: type, heading: str):
    text = section(page("docs/reference/api.md"), heading)
    shared = set(members(Standalone)) if kind is Workflow else set[str]()
    missing = [name for name in members(kind) if name not in shared and not mentions(text, name)]
    assert missing == []


def test_that_every_method_of_runs_is_in_its_section():
    text = section(page("docs/reference/api.md"), "## Runs")
    missing = [name for name in members(Runs) if not mentions(text, name.removeprefix("aio_"))]
    assert missing == []
    assert [field.name for field in fields(RunInfo) if not mentions(text, field.name)] == []


@pytest.mark.parametrize(
    ("function", "heading"),
    [
        (Fanwood.__init__, "## `Fanwood`"),
        (Fanwood.task, "## Tasks"),
        (Fanwood.workflow, "## Workflows"),
        (Fanwood.worker, "## `Worker`"),
        (Standalone.run, "### `Standalone`"),
        (Standalone.run_many, "### `Standalone`"),
        (Standalone.mock_run, "### `Standalone`"),
        (Standalone.create_bulk_run_item, "### `BulkRunItem`"),
        (fanwood.TriggerWorkflowOptions, "### `TriggerWorkflowOptions`"),
        (fanwood.TaskPolicy, "### `TaskPolicy`"),
        (Workflow.task, "### `Workflow`"),
        (Runs.list, "## Runs"),
    ],
)
def test_that_every_argument_is_in_its_section(function: Any, heading: str):
    text = section(page("docs/reference/api.md"), heading)
    missing = [name for name in _arguments(function) if name not in ("self", "function") and not mentions(text, name)]
    assert missing == []


def _arguments(function: Any) -> list[str]:
    """With those that are passed on as a whole: `**options: Unpack[SomeOptions]`."""
    names: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        found = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
        names += getattr(options, found[1]).__annotations__ if found else [name]
    return names


def test_that_every_setting_is_described():
    rows = {row[0]: row for row in _rows(page("docs/reference/settings.md"), columns=4)}
    for field in fields(Settings):
        _, variable, default, _ = rows.pop(f"`{field.name}`")
        assert variable == f"`FANWOOD_{field.name.upper()}`"
        assert default == ("(empty)" if field.default == "" else f"`{field.default}`")
    assert set(rows) == {"setting"}


@pytest.mark.parametrize("name", ERRORS)
def test_that_every_error_is_described(name: str):
    text = page("docs/reference/errors.md")
    assert f"`{name}`" in text
    base = getattr(fanwood, name).__mro__[1].__name__
    if base in ERRORS:
        tree = text.partition("```console\n")[2].partition("```")[0].splitlines()
        depth = {found[1]: found.start(1) for line in tree if (found := re.search(r"(\w+)", line))}
        assert depth[base] < depth[name] or name == "FailedTaskRunExceptionGroup"


def test_that_the_table_of_states_is_the_one_of_the_code():
    rows = _rows(section(page("docs/explanation/engine.md"), "## The states"), columns=3)[1:]
    shown = {
        (RunState[start], Cause[cause]): frozenset(RunState[end.strip()] for end in ends.split(","))
        for start, cause, ends in rows
    }
    assert shown == TRANSITIONS


def _rows(text: str, *, columns: int) -> list[list[str]]:
    """The rows of the tables with so many columns, the head first, without the rule below it."""
    split = [
        [cell.strip() for cell in line.strip("| \n").split(" | ")] for line in text.splitlines() if line[:1] == "|"
    ]
    return [row for row in split if len(row) == columns and not set("".join(row)) <= set("-|: ")]
