"""Runs by the ends of their ids: what is read, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood.ids import SeededIds, shifted
from fanwood.store import finding

MINUTE = 60_000


class Table:
    """Ids, as a store has them, and how many looks were taken at them."""

    def __init__(self, ids: list[bytes]) -> None:
        self.ids = ids
        self.looks = list[str]()
        self.ends = finding.Ends()

    async def rows(self, name: str, /, **about: Any) -> list[Any]:
        self.looks.append(name)
        if name == "runs_from":
            return [(id_,) for id_ in sorted(self.ids) if about["low"] <= id_ <= about["high"]][: about["limit"]]
        between = sorted((id_ for id_ in self.ids if about["lowest"] <= id_ < about["before"]), reverse=True)
        return [(len(between) if name == "ids_counted" else b"".join(between[: about["far"]]),)]

    async def find(self, digits: str) -> list[bytes]:
        self.looks.clear()
        return await finding.find(self.rows, digits, 2, self.ends)

    @property
    def reads(self) -> int:
        return self.looks.count("ids_before")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """Ten old ones, three new ones."""
    monkeypatch.setattr(finding, "FAR", 4)
    ids = SeededIds(1)
    old = [ids.new_id() for _ in range(10)]
    return Table(old + [shifted(ids.new_id(), MINUTE) for _ in range(3)])


async def test_all_that_is_not_new_is_read_once(table: Table) -> None:
    assert await table.find("0123456789") == []
    assert table.reads == 4
    for each in table.ids[10:]:
        assert await table.find(each.hex()[-8:]) == [each]
        assert table.reads == 1
    for each in table.ids[:10]:
        for digits in (4, 5, 8, 9, 20):
            assert await table.find(each.hex()[-digits:]) == [each]
            assert table.reads == 2  # what is new, and those beside it
    assert await table.find("0123456789") == []
    assert table.reads == 1
    assert table.looks.count("ids_counted") == len(table.ends.blocks)


async def test_what_came_later_than_its_id_says_is_found(table: Table) -> None:
    late = table.ids.pop(3)
    assert await table.find(late.hex()[-8:]) == []
    table.ids.append(late)
    assert await table.find(late.hex()[-8:]) == [late]
    for each in table.ids:
        assert await table.find(each.hex()[-8:]) == [each]
        assert table.reads <= 3


async def test_a_search_in_vain_counts_a_few_blocks_and_the_next_one_others(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "NEWEST", 1)
    monkeypatch.setattr(finding, "OTHERS", 2)
    ids = SeededIds(3)
    table.ids[:0] = [ids.new_id() for _ in range(40)]
    late = table.ids.pop(0)  # in the oldest block
    await table.find("0123456789")
    counts, searches = list[int](), 0
    table.ids.append(late)
    while not await table.find(late.hex()[-8:]):
        counts.append(table.looks.count("ids_counted"))
        searches += 1
    assert 1 < searches <= len(table.ends.blocks) // 2 + 1
    assert set(counts) <= {2, 3}
    await table.find("0123456789")
    assert await table.find(late.hex()[-8:]) == [late]  # and stays found


async def test_what_is_gone_is_not_found_and_is_forgotten(table: Table) -> None:
    gone = table.ids[2:9]
    await table.find("0123456789")
    del table.ids[2:9]
    for each in gone:
        assert await table.find(each.hex()[-8:]) == []
    assert sum(len(block.ends) for block in table.ends.blocks) == 3 * finding.END
    for each in table.ids:
        assert await table.find(each.hex()[-8:]) == [each]


async def test_a_store_that_grows_is_read_on_and_no_more_is_kept_than_may_be(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = SeededIds(2)
    for round_ in range(2, 30):
        await table.find("0123456789")
        table.ids += [shifted(ids.new_id(), round_ * MINUTE) for _ in range(2)]
        assert await table.find(table.ids[0].hex()[-8:]) == [table.ids[0]]
        assert table.reads <= 3
    assert len(table.ends.blocks) <= len(table.ids) // 2
    assert all(one.low == next_.high for one, next_ in zip(table.ends.blocks, table.ends.blocks[1:], strict=False))
    monkeypatch.setattr(finding, "BLOCKS", 3)
    for each in table.ids:
        assert await table.find(each.hex()[-8:]) == [each]
        assert len(table.ends.blocks) <= 3


async def test_two_that_end_alike_in_the_middle_of_their_bytes(table: Table) -> None:
    """The same digits, where no id ends, are none of them."""
    one, two = table.ids[0], table.ids[1]
    across = (one[-2:] + two[-4:-2]).hex()
    await table.find("0123456789")
    assert await table.find(across) == []
