"""The plans by which a connection's statements are executed, also inside of functions, and what they touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

_WATCH = """
    load 'auto_explain';
    set auto_explain.log_min_duration = 0;
    set auto_explain.log_nested_statements = on;
    set auto_explain.log_analyze = on;
    set auto_explain.log_buffers = on;
    set auto_explain.log_timing = off;
    set auto_explain.log_format = json;
    set client_min_messages = log;
"""
_OF_THE_DRIVER = "typeinfo_tree"  # it asks for types that it doesn't know yet


@dataclass(frozen=True)
class Node:
    """One node of a plan that reads a table or an index."""

    kind: str
    relation: str
    index: str
    rows: int
    removed: int  # rows that were read in vain

    def __str__(self) -> str:
        via = f" by {self.index}" if self.index else ""
        return f"{self.kind} on {self.relation}{via}: {self.rows} rows, {self.removed} removed"


@dataclass(frozen=True)
class Executed:
    """One statement as it was executed."""

    text: str
    nodes: tuple[Node, ...]
    blocks: int

    @property
    def rows(self) -> int:
        """The most that one of its nodes read."""
        return max((node.rows + node.removed for node in self.nodes), default=0)

    def __str__(self) -> str:
        nodes = "".join(f"\n    {node}" for node in self.nodes)
        return f"{' '.join(self.text.split())[:200]} ({self.blocks} blocks){nodes}"


async def watch_plans(connection: asyncpg.Connection, tell: Callable[[Executed], None]) -> None:
    """Tell of every statement that this connection executes from now on. Its user is a superuser."""

    def hear(_: Any, message: Any) -> None:
        _, found, plan = str(message.message).partition("plan:\n")
        if found and _OF_THE_DRIVER not in (executed := _executed(json.loads(plan))).text:
            tell(executed)

    connection.add_log_listener(hear)
    await connection.execute(_WATCH)


def _executed(said: dict[str, Any]) -> Executed:
    plan = said["Plan"]
    read = [node for node in _below(plan) if node["Actual Loops"] and ("Relation Name" in node or "Index Name" in node)]
    nodes = tuple(_node(node) for node in read)
    return Executed(said["Query Text"], nodes, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _node(node: dict[str, Any]) -> Node:
    loops = node["Actual Loops"]
    removed = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return Node(
        node["Node Type"],
        node.get("Relation Name", ""),
        node.get("Index Name", ""),
        round(node["Actual Rows"] * loops),
        round(removed * loops),
    )


def _below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _below(child)
