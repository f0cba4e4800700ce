"""Commits whose request or answer is lost, in all the ways in which that happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from fanwood import StoreUnavailableError
from fanwood.store.postgres.connection import Address
from fanwood.store.postgres.store import PostgresStore
from tests.postgres.stores import connected, until_blocked

Ask = Callable[[tuple[Any, ...]], Awaitable[str]]
Harm = Callable[["HarmedStore", tuple[Any, ...], Ask], Awaitable[str]]
NOTHING_TO_DO = "[false]"
ME, SEQ, AGAIN = 0, 1, 3  # among the arguments of fw_commit


class HarmedStore(PostgresStore):
    """Its next commit comes to harm."""

    harm: Harm | None = None
    raw: asyncpg.Connection  # a connection that isn't the store's
    sent: tuple[Any, ...] = ()  # what was to be asked when the harm was done
    later: asyncio.Task[None] | None = None

    async def _ask(self, arguments: tuple[Any, ...]) -> str:
        harm, self.harm = self.harm, None
        if harm is None:
            return await super()._ask(arguments)
        if not arguments[AGAIN]:
            self.sent = arguments
        return await harm(self, arguments, super()._ask)

    async def ghost(self, arguments: tuple[Any, ...]) -> str:
        """A statement that arrives by a connection that was given up."""
        return await self.raw.fetchval(self._commit_sql, *arguments)

    def hot_pid(self) -> int:
        return self._hot.pid

    @property
    def address(self) -> Address:
        return self._address


async def the_request_is_lost(store: HarmedStore, arguments: tuple[Any, ...], ask: Ask) -> str:
    raise StoreUnavailableError("for a test")


async def the_answer_is_lost(store: HarmedStore, arguments: tuple[Any, ...], ask: Ask) -> str:
    await ask(arguments)
    raise StoreUnavailableError("for a test")


async def the_answer_is_lost_twice(store: HarmedStore, arguments: tuple[Any, ...], ask: Ask) -> str:
    store.harm = the_answer_is_lost
    return await the_answer_is_lost(store, arguments, ask)


async def the_server_process_is_killed(store: HarmedStore, arguments: tuple[Any, ...], ask: Ask) -> str:
    """In the middle of it: it waits for its worker's row."""
    async with connected(store.address.url) as killer, store.raw.transaction():
        await store.raw.execute("select from worker where id = $1 for update", arguments[ME])
        asking = asyncio.ensure_future(ask(arguments))
        blocked = asyncio.ensure_future(until_blocked(killer, store.hot_pid()))
        await asyncio.wait((asking, blocked), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():  # what finds nothing to do locks nothing
            await killer.execute("select pg_terminate_backend($1)", store.hot_pid())
        blocked.cancel()
        return await asking


async def it_is_still_under_way(store: HarmedStore, arguments: tuple[Any, ...], ask: Ask) -> str:
    return await _under_way(store, arguments, "commit")


async def it_is_under_way_and_fails(store: HarmedStore, arguments: tuple[Any, ...], ask: Ask) -> str:
    return await _under_way(store, arguments, "rollback")


async def _under_way(store: HarmedStore, arguments: tuple[Any, ...], end: str) -> str:
    await store.raw.execute("begin")
    if await store.ghost(arguments) == NOTHING_TO_DO:  # and locks nothing
        await store.raw.execute("commit")
        raise StoreUnavailableError("for a test")

    async def end_it() -> None:
        async with connected(store.address.url) as watching:
            await until_blocked(watching, store.hot_pid())
        await store.raw.execute(end)

    store.later = asyncio.ensure_future(end_it())
    raise StoreUnavailableError("for a test")


HARMS: list[Harm] = [
    the_request_is_lost,
    the_answer_is_lost,
    the_answer_is_lost_twice,
    the_server_process_is_killed,
    it_is_still_under_way,
    it_is_under_way_and_fails,
]
