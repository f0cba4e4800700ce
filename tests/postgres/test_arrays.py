"""What we write as an array the server reads as what the driver would have written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from fanwood import RunState
from fanwood.store.postgres.arrays import write_arrays
from tests.postgres.cluster import Cluster

ARRAYS: dict[str, list[list[Any]]] = {
    "bool[]": [[True], [True, True], [False, None, True], [None, None]],
    "bytea[]": [
        [b""],
        [b"\0\xff" * 8] * 3,
        [bytes([n]) * n for n in range(40)],
        [None],
        [b"a", None],
        [b"x" * 2_000_000],
    ],
    "smallint[]": [[-(2**15), 2**15 - 1], [RunState.FAILED, RunState.COMPLETED], [RunState.FAILED] * 9, [0, None]],
    "integer[]": [[-(2**31), 0, 2**31 - 1], [7] * 1000, list(range(1000)), [None] * 5, [None, 1]],
    "text[]": [["", "a", '"{},\\'], ["é☃🂡\n\t"] * 2, ["x" * 1_000_000], [None], ["NULL", None, "null"]],
    "bigint[]": [[-(2**63), 0, 2**63 - 1], [2**53 + 1] * 4, [None, None], [1, None, 1]],
}
REFUSED: dict[str, list[list[Any]]] = {
    "smallint[]": [[2**15], ["1"], [1, 2**15]],
    "integer[]": [[2**31], [-(2**31) - 1, 0], [1.5], [b"1"], [None, 2**40]],
    "bigint[]": [[2**63], [[1]], ["x", "x"]],
    "text[]": [["\ud800"], [1], [b"bytes"], ["a\0b"]],
    "bytea[]": [["text"], [1]],
}


def _asked(cluster: Cluster, question: Callable[[Any], Awaitable[Any]], *, ours: bool) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(cluster.url("postgres"))
        try:
            if ours:
                await write_arrays(connection)
            return await question(connection)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("type_", ARRAYS)
def test_the_server_reads_what_the_driver_would_have_written(postgres_cluster: Cluster, type_: str) -> None:
    async def question(connection: Any) -> list[Any]:
        query = f"select array_send($1::{type_})"
        return [await connection.fetchval(query, values) for values in [[], *ARRAYS[type_]]]

    assert _asked(postgres_cluster, question, ours=True) == _asked(postgres_cluster, question, ours=False)


@pytest.mark.parametrize("type_", REFUSED)
def test_what_does_not_fit_is_refused_and_the_connection_stays(postgres_cluster: Cluster, type_: str) -> None:
    async def question(connection: Any) -> None:
        for values in REFUSED[type_]:
            with pytest.raises(asyncpg.DataError):
                await connection.fetchval(f"select array_send($1::{type_})", values)
            assert await connection.fetchval("select 1") == 1

    _asked(postgres_cluster, question, ours=True)


def test_it_is_we_who_write_them(postgres_cluster: Cluster) -> None:
    """Else the driver would have ceased to let us, in silence, and commits would take longer."""
    found = _asked(postgres_cluster, lambda connection: connection.fetchval("select array[1]::integer[]"), ours=True)
    assert isinstance(found, bytes)  # what is ours isn't read


def test_a_driver_that_does_not_let_us_writes_them_itself() -> None:
    class Other:
        """A connection of another version."""

    asyncio.run(write_arrays(Other()))  # type: ignore[arg-type]
