"""Pages of a large family, or tree, are read in the order of an index: a sort would read all of it first."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from fanwood import Settings, SystemClock
from fanwood.store.opening import store_for
from fanwood.store.sqlite import reading

PAGES = (
    "picked", "picked_before", "below", "failed", "failed_at", "running", "segment_end", "next_parent",
    "list_children", "list_failed_children",
)  # fmt: skip
INDEX = {"list_failed_children": "run_failed "}
"""Where another one would do as well for who does not know that there may be a million others."""


@pytest.mark.parametrize("name", PAGES)
async def test_no_page_is_sorted(tmp_path: Path, name: str):
    store = store_for(Settings.load(database_url=f"sqlite:///{tmp_path}/x.db"), SystemClock())
    await store.open(lambda: None)
    await store.close()
    sql = reading._SQL[name]
    connection = apsw.Connection(str(tmp_path / "x.db"))
    plan = [
        row[3] for row in connection.execute(f"explain query plan {sql}", dict.fromkeys(re.findall(r":(\w+)", sql)))
    ]
    connection.close()
    assert plan
    assert all(INDEX.get(name, "") in step for step in plan if step.startswith("SEARCH run USING INDEX")), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan
    assert all("USING" in step for step in plan if step.startswith(("SEARCH run", "SEARCH r", "SCAN run", "SCAN r"))), (
        plan
    )
