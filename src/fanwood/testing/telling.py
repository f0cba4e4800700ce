"""What waits for what, and the tree of a run: as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from fanwood.model.states import TERMINAL, RunKind, RunState
from fanwood.store.failures import decode_failure
from fanwood.testing.standing import where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.store.memory.tables import Run, Tables
    from fanwood.testing.ground import Ground

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LONGEST = 60
"""Characters of a value."""
MOST = 12
"""Runs that are told of."""


def shown(text: str | None) -> str:
    """A stored value, in short."""
    text = ID.sub("<id>", text or "")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


# --- what is not over ----------------------------------------------------------------------------------------------


def unfinished_runs(world: Ground) -> list[Run]:
    """In the order in which they were born."""
    return [
        run for memory in world.memories.values() for run in memory.tables.runs.values() if run.state not in TERMINAL
    ]


def waits_for(world: Ground) -> str:
    """In a line."""
    runs = unfinished_runs(world)
    roots = [run.task for run in runs if run.parent_id is None]
    if not roots:
        return "a test waits for something that is no run"
    return f"a test waits for {', '.join(dict.fromkeys(roots))}"


def unfinished(world: Ground) -> str:
    """What has not ended, and where its code is."""
    runs = unfinished_runs(world)
    code: dict[bytes, str] = {}
    for host in world.hosts:
        for attempt in host.attempts():
            task = attempt.coroutine_task
            code[attempt.id] = where(task.get_coro()) if task is not None else ""
    lines: list[str] = []
    for run in runs[:MOST]:
        at = f", at {code[run.id]}" if code.get(run.id) else ""
        missing = "" if any(run.task in place.specs() for place in world.places.values()) else ", which nobody serves"
        lines.append(f"    {run.task}({shown(run.input)}) is {RunState(run.state).name}{missing}{at}")
    if len(runs) > MOST:
        lines.append(f"    and {len(runs) - MOST} more")
    return "\n".join(lines) or "    (no run is unfinished)"


# --- trees ---------------------------------------------------------------------------------------------------------


def tree_text(tables: Tables, root: Run) -> str:
    """A run and what is below it. Without ids and times: equal for equal behaviour."""
    below: dict[bytes, list[Run]] = {}
    for run in tables.runs.values():
        if run.parent_id is not None:
            below.setdefault(run.parent_id, []).append(run)
    return "\n".join(_lines(root, below, 0))


def _lines(run: Run, below: dict[bytes, list[Run]], depth: int) -> Iterator[str]:
    key = f" [{run.child_key}]" if run.child_key is not None else ""
    tries = f" after {run.retry_count} retries" if run.retry_count > 1 else " after a retry" if run.retry_count else ""
    yield f"{'    ' * depth}{run.task}({shown(_input(run))}){key} {RunState(run.state).name}{tries}{_result(run)}"
    for child in sorted(below.get(run.id, ()), key=lambda each: (each.child_index or 0, each.id)):
        yield from _lines(child, below, depth + 1)


def _input(run: Run) -> str:
    text = run.input
    if run.kind == RunKind.STEP:  # which has what its workflow gives it, and ours beside it
        text = msgspec.json.encode(msgspec.json.decode(text, type=dict[str, msgspec.Raw])["input"]).decode()
    return "" if text in {"null", "{}"} else text


def _result(run: Run) -> str:
    if run.output is not None:
        return f" -> {shown(run.output)}"
    if run.error is None:
        return ""
    failure = decode_failure(run.error)
    kind = f"{failure.type}: " if failure.type else ""
    return f" {shown(f'{kind}{failure.message}')}"


def asked(tables: Tables) -> dict[tuple[str, ...], int]:
    """How often which child was asked for: by the tasks above it and its input."""
    found: dict[tuple[str, ...], int] = {}
    for run in tables.runs.values():
        path, above = [run.task, msgspec.json.format(run.input, indent=0)], run.parent_id
        while above is not None and (parent := tables.runs.get(above)) is not None:
            path.insert(0, parent.task)
            above = parent.parent_id
        found[tuple(path)] = found.get(tuple(path), 0) + 1
    return found
