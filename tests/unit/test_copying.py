"""Copying leaves no column out."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from fanwood.store.copying import TABLES
from fanwood.store.sqlite.connection import connect, migrate
from fanwood.store.statements import RowsStatement, load

SQL = load("sql/copying.sql")
BEGINS_ANEW = {"gate": ["pass", "phase", "place"]}
"""How far a sweep has come in one database means nothing in another."""


@pytest.fixture
def db(tmp_path: Path) -> apsw.Connection:
    connection = connect(tmp_path / "fanwood.db")
    migrate(connection, tmp_path / "fanwood.db")
    return connection  # pyright: ignore[reportReturnType]  # which is what it is


@pytest.mark.parametrize("table", TABLES)
def test_that_every_column_is_copied(db: apsw.Connection, table: str) -> None:
    anew = BEGINS_ANEW.get(table, [])
    columns = [name for _, name, *_ in db.execute(f"pragma table_info({table})") if name not in anew]
    out = re.sub(r"case [^,]* end as ", "", SQL[f"copy_out_{table}"].partition("from")[0].replace("null as ", ""))
    assert re.findall(r"\w+", out)[1:] == columns
    statement = RowsStatement.of(SQL[f"copy_in_{table}"])
    assert re.findall(r"\w+", statement.head)[3:-1] == columns
    assert statement.columns == tuple(columns)


@pytest.mark.parametrize("table", TABLES)
def test_that_keys_come_first(db: apsw.Connection, table: str) -> None:
    rows = list(db.execute(f"pragma table_info({table})"))
    assert [name for _, name, *_ in rows][: len(TABLES[table])] == list(TABLES[table])
    assert [name for _, name, *_, key in rows if key] == list(TABLES[table])
