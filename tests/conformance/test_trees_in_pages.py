"""A whole tree, page after page, whatever its shape."""

from __future__ import annotations

import pytest

from tests.conformance.stage import Stage


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_each_run_below_a_root_comes_once(stage: Stage, size: int) -> None:
    root, other = await stage.running("a"), await stage.running("a")
    parents = [await stage.running("b", root) for _ in range(2)]
    below = [run.key for run in parents] + [await stage.born("c", parent) for parent in parents for _ in range(3)]
    await stage.born("c", other)
    found: list[tuple[bytes, bytes]] = []
    while page := await stage.store.below(root.key, found[-1] if found else (b"", b""), size):
        assert len(page) <= size
        found += [(run.parent_id or b"", run.id) for run in page]
    assert found == sorted(found)
    assert sorted(id_ for _, id_ in found) == sorted(below)
