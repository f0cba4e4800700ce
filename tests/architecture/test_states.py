"""The table of states is law: every number of a state in SQL is one of its, and only the statements that may change
one."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from fanwood.model.states import (
    BORN,
    FIRST_TERMINAL,
    FIRST_WAIT,
    TERMINAL,
    TRANSITIONS,
    UNFINISHED,
    WAIT_NAMES,
    Awaited,
    Cause,
    EndedBy,
    GateKind,
    OnParentEnd,
    Open,
    RunKind,
    RunState,
    Waits,
)

STORE = Path(str(files("fanwood.store")))
SQL = sorted(STORE.rglob("*.sql"))
NUMBERS = {int(state) for state in RunState}

_COMPARED = re.compile(r"\bstate\s*(=|<>|<|>=)\s*(\d+)")
_LISTED = re.compile(r"\bstate\s+(?:not\s+)?in\s*\(([^)]*)\)")
_BETWEEN = re.compile(r"\bstate between (\d+) and (\d+)")

CHANGES = {
    "sqlite/leaving.sql": {
        "end_runs",
        "complete_runs",
        "close_runs",
        "close_children",
        "queue_runs",
        "promote_runs",
        "suspend_runs",
        "record_again",
    },
    "sqlite/claiming.sql": {"take_runs"},
    "sqlite/pausing.sql": {"hold_runs"},
    "sqlite/patching.sql": {"patch_ended"},
}
"""The statements of SQLite that write a state, beside births."""


def code_of(path: Path) -> str:
    return "\n".join(line.split("--")[0] for line in path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", SQL, ids=[str(path.relative_to(STORE)) for path in SQL])
def test_every_state_in_sql_is_one_of_the_table(path: Path) -> None:
    text = code_of(path)
    for operator, number in _COMPARED.findall(text):
        if operator in ("=", "<>"):
            assert int(number) in NUMBERS, f"state {operator} {number}"
        else:
            assert int(number) == FIRST_TERMINAL, f"state {operator} {number}: what has ended is told by one comparison"
    for listed in _LISTED.findall(text):
        numbers = {int(number) for number in re.findall(r"\b\d+\b", listed)}
        assert numbers <= NUMBERS, listed
    for low, high in _BETWEEN.findall(text):
        assert {int(low), int(high)} <= NUMBERS


def test_that_there_are_such_places() -> None:
    """Else the test above looks for something that isn't written so any more."""
    found = sum(len(_COMPARED.findall(code_of(path))) for path in SQL)
    assert found > 60


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_constraints_are_those_of_the_table(backend: str) -> None:
    (base,) = (STORE / backend / "migrations").glob("*_base.sql")
    text = " ".join(code_of(base).split())
    living, ended = [int(state) for state in UNFINISHED], [int(state) for state in TERMINAL]
    assert living == list(range(living[-1] + 1))
    assert ended == list(range(FIRST_TERMINAL, ended[-1] + 1))
    if backend == "sqlite":  # (there it costs nothing)
        assert f"state between 0 and {living[-1]} or state between {FIRST_TERMINAL} and {ended[-1]}" in text
        assert f"(state = {int(RunState.WAITING)}) = (waits is not null)" in text
    assert f"(state >= {FIRST_TERMINAL}) = (finished_at is not null)" in text


def test_there_is_room_before_the_ends() -> None:
    assert FIRST_TERMINAL - len(UNFINISHED) >= 4
    assert all(state.is_terminal == (state >= FIRST_TERMINAL) for state in RunState)


def test_only_these_statements_write_a_state() -> None:
    """One way out, one way in: a statement that is new here must be a part of leaving.py, or a claim."""
    found: dict[str, set[str]] = {}
    for path in SQL:
        if path.parent.name not in ("sqlite", "sql"):
            continue
        for name, body in re.findall(r"-- name: (\w+)\n(.*?)(?=\n-- name: |\Z)", path.read_text("utf-8"), re.DOTALL):
            code = "\n".join(line.split("--")[0] for line in body.splitlines())
            if re.search(r"update run\b.*?\bset\s+state =", code, re.DOTALL):
                found.setdefault(str(path.relative_to(STORE)), set()).add(name)
    assert found == CHANGES


def test_in_memory_only_these_modules_write_a_state() -> None:
    """The same two ways, beside births and copies."""
    writing = {path.name for path in (STORE / "memory").glob("*.py") if re.search(r"\bstate=", path.read_text("utf-8"))}
    assert writing == {
        "leaving.py", "claiming.py", "hot.py", "recording.py", "patching.py", "pauses.py", "hedging.py", "sharing.py",
        "upkeep.py", "forking.py",
    }  # fmt: skip
    hot = (STORE / "memory/hot.py").read_text("utf-8")
    assert len(re.findall(r"\bstate=", hot)) == 1


def test_the_causes_in_sql_are_those_of_the_table() -> None:
    """`queue_runs` is told causes by number."""
    text = (STORE / "sqlite/leaving.sql").read_text("utf-8")
    for number, cause in re.findall(r"\b(\d) (retry|lease lost|hand-back|replay|due)\b", text):
        assert Cause[cause.upper().replace(" ", "_").replace("-", "_")] == int(number)
    assert EndedBy.POISON == 5
    assert EndedBy.ANCESTOR == 3
    assert EndedBy.OUTCOME == 1
    assert (Waits.CHILDREN, Waits.TIME) == (1, 2)
    assert (Awaited.ONE_OF, Awaited.WAKES, Awaited.ONE_OF_UNLESS_FAILED) == (1, 2, 3)
    assert (GateKind.CLOSED, GateKind.PRUNED) == (1, 3)
    assert (OnParentEnd.CANCEL, OnParentEnd.CONTINUE, OnParentEnd.SHARED) == (1, 2, 3)
    assert (Open.OVER, Open.LIVING, Open.TELLING) == (0, 1, 2)
    assert RunKind.SHARE == 15


def test_nothing_leaves_an_end_but_by_a_replay_a_record_or_a_patch() -> None:
    for (state, cause), targets in TRANSITIONS.items():
        assert targets, (state, cause)
        if state.is_terminal:
            assert cause in (Cause.REPLAY, Cause.RECORD, Cause.PATCH)
        if cause is Cause.CANCEL:
            assert targets == {RunState.CANCELLED}
    assert {state for state, cause in TRANSITIONS if cause is Cause.CANCEL} == set(UNFINISHED)


def test_every_kind_has_its_births() -> None:
    """What has no code is never in the queue; what has some is begun by a claim."""
    assert set(BORN) == set(RunKind)
    for kind, states in BORN.items():
        assert (kind >= FIRST_WAIT) == states.isdisjoint({RunState.QUEUED, RunState.RUNNING})
    assert FIRST_WAIT == 10
    assert set(WAIT_NAMES) == {kind for kind in RunKind if kind >= FIRST_WAIT}
    assert all(name.startswith("~") for name in WAIT_NAMES.values())
    text = "\n".join(code_of(path) for path in SQL)
    assert {"10"} == set(re.findall(r"\bkind (?:>=|<) (\d+)", text))
    assert {"10"} == set(re.findall(r"first_wait constant smallint := (\d+)", text))
