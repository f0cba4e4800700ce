"""Each pair of PostgreSQL's routines, interleaved at every statement of both: what comes out must be what one of the
two orders gives. (How that is done: docs/explanation/testing.md.)

In short: those that are most about each other. `make interleave`: all pairs, and also within statements.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import combinations_with_replacement

import pytest
import pytest_asyncio

from tests.interleaving.arena import Arena, arena
from tests.interleaving.routines import BY_NAME, ROUTINES
from tests.postgres.cluster import Cluster
from tests.postgres.databases import Databases

pytestmark = pytest.mark.asyncio(loop_scope="module")

FULL = os.environ.get("FANWOOD_INTERLEAVING") == "full"
SHORT = """
    claim/claim  spawn first/cancel childless  reap/renew  watch/end  suspend/end  wait for event/push
    pause/claim below  spend/end budget
"""
WAITS = """
    step first/cancel childless  spawn/end root  end/replay child  tick/claim late  share shared/end shared
    patch child/end  cancel many/end
    prune/replay  prune/cancel over  root with key/prune  share/share  suspend for event/push to one
    end hedge/cancel root  log/patch child
    sleep below root/cancel root  cancel link/cancel link  release/claim below  tell urgency/spawn claimed
    root starts over/cancel root
    suspend for both/end  suspend unless failed/end and close  suspend/cancel root  suspend/cancel child
    suspend for both/reap  suspend for failed/replay failed  suspend for sleep/wake  suspend for sleep/fire
    suspend for promise/settle  suspend/sweep  suspend/unregister  suspend/suspend for both
    end awaited/end awaited  end awaited/fail awaited  end awaited/cancel awaited  end awaited/cancel suspended
    end awaited/claim suspended  end awaited/end root  cancel suspended/claim suspended  cancel suspended/cancel awaited
    push/push  push to one/push  push to one/cancel root  wait for event/push to one  push to one/end root
    receive/send  send/send  send to one/send  send to one/cancel root  send/cancel root  send/end root  receive/receive
    settle/expire promise  settle/reject  settle/cancel root  reject/expire promise  settle/end root
    pause/spawn claimed  pause/cancel root  resume/retry  release/pause
    release/end and close
    reprioritize/spawn claimed  reprioritize/reprioritize  reprioritize/cancel root  reprioritize/prune
    tell urgency/claim below  sweep/tell urgency  sweep/reprioritize child
    tell urgency/reprioritize  tell urgency/reprioritize child  tell urgency/retry  tell urgency/end root
    share shared/cancel link  end shared/cancel link  share shared/cancel root  end shared/cancel root
    root starts over/spawn below root  root starts over/tick
    patch child/cancel root  patch child/spawn below root  patch failed/ask again  patch over/end root  patch over/prune
    hedge/end  hedge/cancel child  end first/end hedge  fail first/end hedge  cancel first/end hedge
    patch first/end hedge  end first/cancel root  end hedge/sweep
    spend/spend  spend/end spender  spend reserved/end spender  spend above/end budget  spend above/cancel budget
    spawn in budget/spawn in budget  end spender/end budget  spend reserved/cancel budget
    replay budget/spend what is left  end budget/replay budget
    log/reprioritize child  log/patch first
    prune/fork  delete/fork  prune/fork again  delete/fork again
    cancel many/cancel many  cancel many/cancel root  cancel many/prune  cancel many/ask again  cancel many/end first
    sweep/patch first  tell urgency/end hedge  tell urgency/patch first  root starts over/fail first
"""
"""As well in full: among others runs that are suspended, and what comes from outside."""
PLANTED = {
    "a parent that spawns isn't locked": (
        "p.attempt and r.state = running for share", "p.attempt and r.state = running",
        "spawn first/cancel childless",
    ),
    "a run whose step comes by itself isn't locked": (
        "not exists (select from urgency)\n        for share", "not exists (select from urgency)",
        "step first/cancel childless",
    ),
    "who begins to wait doesn't lock": ("r.state < terminal for share", "r.state < terminal", "watch/end"),
    "a claim doesn't look at what others have claimed": (
        "r.id limit t.rows\n            for update skip locked", "r.id limit t.rows", "claim/claim",
    ),
    "a claim passes by what nobody holds": (
        "r.id limit t.rows\n",
        "r.id limit (select case when count(*) > 1 then 0 else t.rows end from pg_locks where locktype ~ 'transact')\n",
        "claim/push",
    ),
    "a replay doesn't lock the root": (
        "perform from run r where r.id = root and r.id <> p_id for share;", "", "prune/replay",
    ),
    "a call doesn't lock the root": (
        "perform from run r where r.id = root and r.id <> p_id for key share;", "", "prune/cancel over",
    ),
    "a key's holder is looked for once": ("exit when held = wanted;", "exit;", "root with key/prune"),
    "who wakes a sleep doesn't lock it": (
        "r.id = p_id and r.state = waiting for update", "r.id = p_id and r.state = waiting", "wake/fire",
    ),
    "who is looked at for what he holds isn't locked": (
        "x.budget is not null offset 0 for share skip locked", "x.budget is not null offset 0",
        "end budget/replay budget",
    ),
    "a lapsed lease isn't locked": (
        "l.expires_at <= p_now) for update", "l.expires_at <= p_now)", "reap/renew",
    ),
}  # fmt: skip


def _pairs(text: str) -> list[str]:
    return [pair.strip() for line in text.splitlines() for pair in line.split("  ") if pair.strip()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ours(postgres_cluster: Cluster, postgres_databases: Databases) -> AsyncIterator[Arena]:
    name = postgres_databases.take(schema=True)
    async with arena(postgres_cluster.url(name)) as made:
        yield made
    postgres_databases.give_back(name)


@pytest.mark.timeout(3600 if FULL else 600)
@pytest.mark.parametrize("pair", _pairs(SHORT + WAITS * FULL))
async def test_what_comes_out_is_what_one_order_gives(ours: Arena, pair: str) -> None:
    first, second = (BY_NAME[name] for name in pair.split("/"))
    found = await ours.interleave(first, second, within=FULL, twice=FULL)
    assert not found.wrong, found.told()
    assert found.schedules > 8


@pytest.mark.skipif(not FULL, reason="make interleave")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", ROUTINES, ids=lambda routine: routine.name)
async def test_all_pairs(ours: Arena, first: object) -> None:
    wrong: list[str] = []
    for one, other in combinations_with_replacement(ROUTINES, 2):
        if one is first:
            found = await ours.interleave(one, other, within=True)
            print(f"{one.name} / {other.name}: {found.summary()}")
            wrong += [found.told()] if found.wrong else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", PLANTED if FULL else list(PLANTED)[::4])
async def test_a_planted_race_is_seen(ours: Arena, name: str) -> None:
    old, new, pair = PLANTED[name]
    first, second = (BY_NAME[name] for name in pair.split("/"))
    async with ours.planted(old, new):
        found = await ours.interleave(first, second, within=False, until_wrong=True)
    assert found.wrong
