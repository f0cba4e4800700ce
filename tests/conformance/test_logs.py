"""What runs log is numbered within each run; what they say of their progress replaces what they said before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fanwood
from fanwood.model.commands import (
    BYTES_CHUNK,
    BYTES_MORE,
    FIRST_CHUNK,
    PROGRESS,
    TEXT_CHUNK,
    TEXT_MORE,
    ClaimedRun,
    LogLine,
)
from tests.conformance.stage import Stage

BEFORE_ALL = -2
PLACES = ("sqlite/spawning.sql", "postgres/functions/04_reporting.sql")


def line(run: ClaimedRun, text: str, level: str = "info") -> LogLine:
    return LogLine(run.key, run.attempt, 5, level, text)


async def told(stage: Stage, run: ClaimedRun, after: int = -1) -> list[tuple[int, str]]:
    return [(found.seq, found.message) for found in await stage.store.logs(run.key, after)]


async def test_lines_are_numbered_within_their_run(stage: Stage) -> None:
    one, other = await stage.running(), await stage.running("b")
    await stage.commit(logs=[line(one, "a"), line(other, "x"), line(other, "y"), line(one, "b")])
    await stage.commit(logs=[line(other, "z"), line(one, "c")])
    assert await told(stage, one) == [(0, "a"), (1, "b"), (2, "c")]
    assert await told(stage, other) == [(0, "x"), (1, "y"), (2, "z")]
    assert await stage.store.log_end(one.key) == 2


async def test_of_progress_the_last_word_is_kept(stage: Stage) -> None:
    one, other = await stage.running(), await stage.running("b")
    await stage.commit(logs=[line(one, "1", PROGRESS), line(other, "1", PROGRESS), line(one, "a")])
    assert await stage.store.log_end(other.key) == -1
    await stage.commit(logs=[line(one, "b"), line(one, "2", PROGRESS)])
    assert await told(stage, one) == [(0, "a"), (1, "b")]
    assert await told(stage, one, BEFORE_ALL) == [(-1, "2"), (0, "a"), (1, "b")]
    assert await told(stage, other, BEFORE_ALL) == [(-1, "1")]


async def test_the_dead_say_nothing(stage: Stage) -> None:
    run = await stage.running()
    again = await stage.retry(run)
    assert again is not None
    await stage.commit(logs=[line(again, "new", PROGRESS)])
    await stage.commit(logs=[line(run, "old", PROGRESS), line(run, "old")])
    assert await told(stage, run, BEFORE_ALL) == [(-1, "new")]


async def test_failed_children_by_pages(stage: Stage) -> None:
    parent = await stage.running()
    children = [await stage.running("b" if n % 2 else "c", parent) for n in range(6)]
    grandchild = await stage.running("b", children[5])
    for child in (grandchild, *children[:4]):
        await stage.fail(child)
    state = (await stage.get(children[0])).state
    found = await stage.store.children(parent.key, state=state, limit=3)
    found += await stage.store.children(parent.key, state=state, after=found[-1].id)
    assert [record.id for record in found] == [child.key for child in children[:4]]
    only = await stage.store.children(parent.key, state=state, task="b")
    assert [record.id for record in only] == [children[1].key, children[3].key]


async def test_chunks_of_a_stream_are_numbered_apart(stage: Stage) -> None:
    one, other = await stage.running(), await stage.running("b")
    first = [line(one, "t0", TEXT_CHUNK), line(one, "a"), line(one, "YjE=", BYTES_MORE), line(other, "u0", TEXT_CHUNK)]
    await stage.commit(logs=[*first, line(one, "1", PROGRESS)])
    await stage.commit(
        logs=[line(one, "b"), line(one, "t2", TEXT_MORE), line(other, "u1", BYTES_CHUNK), line(one, "c")]
    )
    assert await told(stage, one) == [(0, "a"), (1, "b"), (2, "c")]
    assert await told(stage, other) == []
    assert await stage.store.log_end(one.key) == 2
    assert await stage.store.log_end(other.key) == -1
    for run, texts in ((one, ["t0", "YjE=", "t2"]), (other, ["u0", "u1"])):
        chunks = await stage.store.logs(run.key, FIRST_CHUNK - 1, stop=2**31 - 1)
        assert [(chunk.seq - FIRST_CHUNK, chunk.message) for chunk in chunks] == list(enumerate(texts))
    assert [chunk.message for chunk in await stage.store.logs(one.key, FIRST_CHUNK, 1, 2**31 - 1)] == ["YjE="]


async def test_the_numbers_in_the_statements_are_those_of_the_model() -> None:
    places = [Path(fanwood.__file__).parent / "store" / name for name in PLACES]
    for place in places:
        assert {int(number) for number in re.findall(r"\b\d{10}\b", place.read_text())} == {FIRST_CHUNK}


@pytest.mark.parametrize("call", ["patch", "reprioritize"])
async def test_what_a_call_notes_is_a_line_also_beside_a_stream(stage: Stage, call: str) -> None:
    run = await stage.running()
    await stage.commit(logs=[line(run, "a"), line(run, "x", TEXT_CHUNK)])
    await (stage.store.patch(run.key, "1", "ann") if call == "patch" else stage.store.reprioritize(run.key, 3, "ann"))
    assert [seq for seq, text in await told(stage, run) if "by ann" in text] == [1]
