"""Tests hope for no time: what they wait for has a limit that is for what hangs only, and they sleep for nothing.

What must come is given a minute or more, since the machine may serve others, or stand still; what must *not* come is
waited for in less than a second, and nobody waits in vain for long. A test that sleeps hopes that it was enough.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LEAST = 60.0
"""Seconds for what must come."""
LIMIT_FIRST = {"acquire", "aio_result", "flush", "join", "result", "timeout", "wait", "wait_started"}
LIMIT_SECOND = {"aio_get_result", "get_result", "wait_for"}
MAY_BE = re.compile(
    r"timeout=\s*[1-9]|\bsleep\(|\.(?:" + "|".join(LIMIT_FIRST) + r")\(\s*[1-9]|\.(?:" + "|".join(LIMIT_SECOND) + r")\("
)
"""Whether it is worth while to parse a file."""
SHORT = {
    "semantics/test_patience.py": "the limit is the code's own, and just below one that is patched",
    "crashes/__main__.py": "it looks round once a second",
    "simulation/test_machine.py": "on virtual time",
    "typing/test_types.py": "nothing of it is executed",
    "unit/test_small_parts.py": "it was fired before",
}
SLEEPS = {
    "chaos/test_detection.py": "at a moment by chance",
    "chaos/test_freezes.py": "at a moment by chance, and longer than a lease",
    "chaos/test_partition.py": "at a moment by chance, and longer than a lease",
    "chaos/test_server.py": "at a moment by chance, for as long as by chance",
    "chaos/test_wakeups.py": "out of step with what has a rhythm",
    "faults/app.py": "the code of tasks",
    "postgres/test_wakeups.py": "what is counted is counted in a time that is measured",
    "semantics/test_durable.py": "nothing must come of it",
    "testing/shop.py": "on virtual time",
    "testing/test_time.py": "on virtual time",
}
"""Sleeps that wait for nothing, by file and reason. (In a loop that looks whether something has come they are fine.)"""


def short_limits(tree: ast.AST) -> Iterator[str]:
    """Waits for what must come that may end within a minute."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        limits = [keyword.value for keyword in call.keywords if keyword.arg == "timeout"]
        limits += call.args[:1] if call.func.attr in LIMIT_FIRST else []
        limits += call.args[1:2] if call.func.attr in LIMIT_SECOND else []
        if any(1 <= each < LEAST for each in map(_number, limits)):
            yield f"{call.lineno}: {ast.unparse(call)[:80]}"


def _number(value: ast.expr) -> float:
    known = isinstance(value, ast.Constant) and isinstance(value.value, int | float)
    return float(value.value) if known else 0.0  # type: ignore[attr-defined]


def sleeps(tree: ast.AST) -> Iterator[str]:
    """Threads that sleep, and not in a loop that looks."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_sleep(node.func)]
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.While)] if found else []
    looking = {id(node) for loop in loops for node in ast.walk(loop)}
    for node in found:
        if id(node) not in looking:
            yield f"{node.lineno}: {ast.unparse(node)}"


def _is_sleep(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "sleep" and ast.unparse(function) == "time.sleep"


def test_no_test_hopes_for_a_time() -> None:
    texts = ((path, path.read_text()) for path in TESTS.rglob("*.py"))
    trees = ((str(path.relative_to(TESTS)), ast.parse(text)) for path, text in texts if MAY_BE.search(text))
    found = {name: (list(short_limits(tree)), list(sleeps(tree))) for name, tree in trees}
    for number, allowed in enumerate((SHORT, SLEEPS)):
        these = {name: each[number] for name, each in found.items() if each[number]}
        assert {name: lines for name, lines in these.items() if name not in allowed} == {}
        assert [name for name in allowed if name not in these] == [], "nothing there needs it any more"


@pytest.mark.parametrize(
    ("find", "text", "seen"),
    [
        (short_limits, "assert gate.wait(10)", True),
        (short_limits, "ref.result(timeout=30)", True),
        (short_limits, "await asyncio.wait_for(task, 5.0)", True),
        (short_limits, "async def f():\n  async with asyncio.timeout(20): pass", True),
        (short_limits, "gate.wait(60)", False),
        (short_limits, "gate.wait(0.1)", False),
        (short_limits, "task.run(30)", False),
        (sleeps, "time.sleep(0.5)", True),
        (sleeps, "while not there(): time.sleep(0.01)", False),
    ],
)
def test_it_would_be_seen(find, text: str, seen: bool) -> None:
    assert bool(list(find(ast.parse(text)))) == seen
    assert MAY_BE.search(text) or not seen
