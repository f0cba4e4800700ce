"""SQL lives in `.sql` files, under names, valid as it stands: `-- name: claim` above a statement that can be pasted
into a shell. This module reads such files and knows nothing else about SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"(?<![:\w]):([a-z_]\w*)")


@cache
def load(*paths: str) -> dict[str, str]:
    """The named statements of files below `fanwood/store`, later files overriding earlier ones by name.

    Raises:
        ValueError: a file holds a name twice, or text outside any name.
    """
    statements: dict[str, str] = {}
    for path in paths:
        text = files("fanwood.store").joinpath(path).read_text(encoding="utf-8")
        statements.update(_parse(text, path))
    return statements


def _parse(text: str, path: str) -> dict[str, str]:
    parts = _NAME.split(text)
    found: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"{path}: statement {name!r} stands there twice")
        found[name] = _bare(body).rstrip(";")
    return found


def _bare(body: str) -> str:
    """A statement as it is executed: drivers find it again by its text, each time, so that is kept short."""
    lines = [line.strip() for line in body.splitlines()]
    return "\n".join([line for line in lines if line and not line.startswith("--")])


@dataclass(frozen=True, slots=True)
class RowsStatement:
    """An `insert ... values (:a, :b)` that can be repeated for many rows.

    `columns` are the placeholders' names in order: a row is a tuple in that order.
    """

    head: str
    tuple_: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, sql: str) -> RowsStatement:
        """Cut a one-row insert at its VALUES."""
        head, values = re.split(r"\bvalues\b", sql, maxsplit=1)
        columns = tuple(_PLACEHOLDER.findall(values))
        return cls(f"{head}values ", f"({', '.join('?' * len(columns))})", columns)

    def text(self, rows: int) -> str:
        """The statement for so many rows, with positional placeholders."""
        return self.head + ",".join([self.tuple_] * rows)
