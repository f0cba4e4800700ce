"""SQLite holds anything anywhere, if somebody writes it by hand: such a run fails, and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import apsw
import pytest

from fanwood import Fanwood, TaskRunError
from fanwood.ids import id_bytes
from tests.conftest import MakeApp


@pytest.mark.parametrize(
    "spoilt",
    ["priority = 'high'", "input = x'00ff'", "child_key = x'ff'", "deadline = 'soon'"],
)
def test_a_row_that_cannot_be_read_fails_alone(tmp_path: Path, make_app: MakeApp, spoilt: str) -> None:
    url = f"sqlite:///{tmp_path}/spoilt.db"
    client = make_app(url=url, local_worker=False)

    def declare(app: Fanwood) -> Any:
        @app.task
        async def one(input: dict) -> int:
            return 1

        @app.task
        async def another(input: dict) -> int:
            return 2

        return one, another

    one, another = declare(client)
    refs = [one.run_no_wait({}), one.run_no_wait({}), another.run_no_wait({})]
    with contextlib.closing(apsw.Connection(f"{tmp_path}/spoilt.db")) as connection:
        connection.execute(f"update run set {spoilt} where id = ?", (id_bytes(refs[0].id),))
    worker = make_app(url=url, local_worker=True)
    late, _ = declare(worker)
    assert late.run({}, timeout=30) == 1
    assert [refs[1].result(timeout=30), refs[2].result(timeout=30)] == [1, 2]
    with pytest.raises(TaskRunError, match="could not be read"):
        refs[0].result(timeout=30)
