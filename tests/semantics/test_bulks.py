"""A bulk is registered as it is sent: what was not sent leaves no trace, and each request gets its own answer."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from fanwood import AttemptFencedError, ChildKeyConflictError, Context, Fanwood, PayloadError, TaskRunError
from fanwood.engine.commits import Commits
from fanwood.errors import StoreValueError
from fanwood.ids import id_bytes
from fanwood.model.commands import Batch


def test_a_bulk_with_one_bad_item_registers_none(app: Fanwood) -> None:
    done: list[int] = []

    @app.task
    async def child(input: dict) -> int:
        done.append(input["n"])
        return input["n"]

    @app.task(retries=1)
    async def parent(input: dict, ctx: Context) -> list[int]:
        good = child.create_bulk_run_item({"n": 1}, key="a" if input["keyed"] else None)
        bad = child.create_bulk_run_item({"n": float("nan")}, key="b" if input["keyed"] else None)
        if ctx.attempt_number == 1:
            with pytest.raises(PayloadError):
                await child.aio_run_many([good, bad])
        result = await child.aio_run_many([good])
        if ctx.attempt_number == 1:
            raise ValueError("once more, without the bad one")
        assert len(await ctx.aio_children()) == 1
        return result

    for keyed in (False, True):
        assert parent.run({"keyed": keyed}) == [1]
    assert done == [1, 1]


def test_one_key_from_many_threads_is_one_child(app: Fanwood) -> None:
    @app.task
    def child(input: dict) -> int:
        return 1

    @app.task
    def parent(input: dict, ctx: Context) -> int:
        for number in range(20):
            barrier = threading.Barrier(4)

            def ask(number: int = number, barrier: threading.Barrier = barrier) -> None:
                barrier.wait(60)
                child.run_no_wait({"n": number}, child_key=f"k{number}")

            threads = [threading.Thread(target=contextvars.copy_context().run, args=(ask,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return len(ctx.children())

    assert parent.run({}) == 20


@pytest.mark.parametrize("inputs", [[1, 2], [1, 2, 1], [1, 1, 2]], ids=str)
def test_one_key_for_several_inputs_of_one_bulk_is_an_error(app: Fanwood, inputs: list[int]) -> None:
    @app.task
    async def child(input: dict) -> int:
        return input["n"]

    @app.task
    async def parent(input: dict) -> list[int]:
        items = [child.create_bulk_run_item({"n": n}, key="k") for n in input["inputs"]]
        with pytest.raises(ChildKeyConflictError):
            await child.aio_run_many(items)
        return await child.aio_run_many([child.create_bulk_run_item({"n": 1}, key="k")] * 3)

    assert parent.run({"inputs": inputs}) == [1, 1, 1]


def test_a_child_that_is_asked_for_again_keeps_the_deadline_of_who_waits(app: Fanwood) -> None:
    deadlines: list[Any] = []

    @app.task
    async def child(input: dict, ctx: Context) -> int:
        await asyncio.Event().wait()
        return 1

    @app.task(execution_timeout=600)
    async def parent(input: dict, ctx: Context) -> None:
        waits = asyncio.create_task(child.aio_run({}, child_key="k"))
        while not await ctx.aio_children():
            await asyncio.sleep(0.01)
        ref = await child.aio_run_no_wait({}, child_key="k")
        record = await asyncio.wrap_future(app.engine().call(lambda store: store.get(id_bytes(ref.id))))
        deadlines.append(record.deadline)
        waits.cancel()

    parent.run({})
    assert deadlines[0] is not None


def test_what_was_refused_may_be_asked_for_again(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is forgotten: the same words mean the same child, and a key doesn't lead to one that was never born."""
    refused: list[str] = []
    store = app.engine().store
    commit = store.commit

    async def refusing(worker: int, batch: Batch) -> Any:
        if any(spawn.kind.task == "child" for spawn in batch.spawns) and len(refused) < 2:
            if len(batch.spawns) == 1 and not batch.outcomes and not batch.logs:
                refused.append(batch.spawns[0].input)
            raise StoreValueError("no")
        return await commit(worker, batch)

    monkeypatch.setattr(store, "commit", refusing)

    @app.task
    async def child(input: dict) -> int:
        return 7

    @app.task
    async def parent(input: dict, ctx: Context) -> int:
        for _ in range(10):
            try:
                result = await child.aio_run({"b": 1, "a": 2}, child_key=input["key"])
            except StoreValueError:
                continue
            assert len(await ctx.aio_children()) == 1
            attempt: Any = ctx._attempt
            assert input["key"] or attempt.ordinals.next(next(iter(attempt.ordinals._counts))) == 1  # it is the first
            return result
        return 0

    assert parent.run({"key": "k"}) == 7
    refused.clear()
    assert parent.run({"key": None}) == 7
    assert refused


def test_a_refusal_at_once_is_told(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the thread that asks, while it registers: an engine that is over answers like that."""

    @app.task
    async def child(input: dict) -> int:
        return 1

    @app.task
    async def parent(input: dict) -> str:
        with monkeypatch.context() as patched:
            patched.setattr(app.engine(), "spawn", lambda request: request.answer(StoreValueError("no")))
            for key in (None, "k"):
                with pytest.raises(StoreValueError):
                    await child.aio_run({"b": 1, "a": 2}, child_key=key)
        return str(await child.aio_run({}))

    assert parent.run({}, timeout=60) == "1"


def test_who_may_spawn_no_more_and_is_asked_for_anew_is_executed_again(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed when it asked, and open again when it ends, since its parent was replayed between: nothing is charged."""

    @app.task
    async def child(input: dict) -> int:
        return input["n"]

    @app.task
    async def parent(input: dict, ctx: Context) -> list[int]:
        with monkeypatch.context() as patched:
            if ctx.attempt_number == 1:
                fenced = AttemptFencedError("its attempt is over")
                fenced.attempt = (id_bytes(ctx.task_run_id), 1)
                patched.setattr(app.engine(), "spawn", lambda request: request.answer(fenced))
            await child.aio_run({"n": 1})
        return [ctx.attempt_number, ctx.retry_count]

    @app.task
    async def stranger(input: dict, ctx: Context) -> None:
        raise AttemptFencedError("of somebody else")

    assert parent.run({}, timeout=60) == [2, 0]
    with pytest.raises(TaskRunError, match="of somebody else"):
        stranger.run({}, timeout=60)


def test_what_is_gone_is_born_again(app: Fanwood) -> None:
    """A child that a parent remembers, and that somebody deleted meanwhile."""

    @app.task
    async def child(input: dict) -> int:
        return input["n"]

    @app.task
    async def parent(input: dict, ctx: Context) -> list[int]:
        items = [child.create_bulk_run_item({"n": n}, key=str(n)) for n in range(3)]
        await child.aio_run_many(items[:2])
        attempt: Any = ctx._attempt
        known = dict(attempt.known)
        for identity in known:
            attempt.known[identity] = attempt.host.ids.new_id()  # as good as deleted
        return await child.aio_run_many(items)

    assert parent.run({}) == [0, 1, 2]


def test_a_large_bulk_with_keys_makes_one_kind(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[int] = []
    commit = Commits.commit

    async def counting(self: Commits, worker: int, batch: Batch, requests: Any, deliver: Any) -> bool:
        kinds.extend(len(request.kinds) for request in requests)
        return await commit(self, worker, batch, requests, deliver)

    monkeypatch.setattr(Commits, "commit", counting)

    @app.task
    async def child(input: dict) -> int:
        return 1

    @app.task
    async def parent(input: dict) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item({"n": n}, key=str(n)) for n in range(1200)]))

    assert parent.run({}) == 1200
    assert set(kinds) == {1}
