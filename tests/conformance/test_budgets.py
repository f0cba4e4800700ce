"""What trees may use: exactly, whoever asks, and however it ends."""

from __future__ import annotations

from tests.conformance.stage import Stage


async def test_room_for_more_runs_of_a_tree_is_taken_by_all_engines_in_one_row(stage: Stage) -> None:
    root, other = await stage.running(), await stage.running()
    assert (await stage.commit(blocks=[(root.key, 10_000)])).sizes == {root.key: 10_000}
    done = await stage.commit(blocks=[(other.key, 20_000), (root.key, 10_000)])
    assert done.sizes == {root.key: 20_000, other.key: 20_000}
    assert await stage.store.count("tree") == 2
    assert (await stage.commit(blocks=[(b"x" * 16, 10_000)])).sizes == {}  # it was deleted
    await stage.complete(root)
    await stage.complete(other)
    stage.clock.advance(1000)
    await stage.store.prune(stage.store.now() - 1, 100)
    assert await stage.store.count("tree") == 0
