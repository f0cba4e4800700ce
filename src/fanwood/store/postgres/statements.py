"""The common SQL on PostgreSQL: named placeholders become numbered ones, each with its type.

A statement such as `:task is null or task = :task` says nothing about the type of `:task` where it stands first, and
PostgreSQL would refuse it. So every placeholder has one type for all statements; the few exceptions stand below.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

_PLACEHOLDER = re.compile(r"(?<![:\w]):([a-z_]\w*)")

_TYPES = {
    "bytea": "id parent root after until low lowest high run_id parent_id root_id since_id tail parents mark mark_end "
    "way after_id",
    "bytea[]": "ids afters",
    "text[]": "tasks events",
    "text": "task prefix prefix_end name host kind description metadata schema namespace key secret told seen event "
    "scope unit",
    "bigint": "now me worker worker_id limit most near few long servers lease since before created_at schedule_timeout "
    "far at tops rows walk upto after_at",
    "integer": "state pid slots priority seq start length number version count shift links",
    "integer[]": "programs",
}
_TYPE_OF = {name: type_ for type_, names in _TYPES.items() for name in names.split()}
_EXCEPTIONS = {
    ("logs", "after"): "integer",
    ("logs", "until"): "integer",
    ("log_end", "until"): "integer",
    ("number_on", "number"): "bigint",
    ("ids_before", "before"): "bytea",
    ("ids_counted", "before"): "bytea",
    ("copy_out_event", "id"): "text",
    ("copy_out_message", "name"): "text",
    ("copy_out_message", "number"): "bigint",
    ("copy_out_shared", "digest"): "bytea",
}


class Statement(msgspec.Struct, frozen=True):
    """SQL with numbered placeholders, and the names of those in order."""

    text: str
    names: tuple[str, ...]

    def values(self, bindings: dict[str, Any]) -> list[Any]:
        """The bindings in the placeholders' order."""
        return [bindings[name] for name in self.names]


@cache
def numbered(name: str, sql: str) -> Statement:
    """Statement `name` with `$1::type` for `:task`.

    Raises:
        KeyError: a placeholder has no type yet: enter it above.
    """
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        placeholder = match[1]
        if placeholder not in names:
            names.append(placeholder)
        type_ = _EXCEPTIONS.get((name, placeholder)) or _TYPE_OF[placeholder]
        return f"${names.index(placeholder) + 1}::{type_}"

    text = _PLACEHOLDER.sub(number, sql)
    return Statement(text, tuple(names))
