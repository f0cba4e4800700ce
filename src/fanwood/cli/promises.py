"""`fanwood promises`: settle what runs wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.cli import looking, output
from fanwood.cli.base import Common
from fanwood.cli.inputs import read_json
from fanwood.ids import id_text
from fanwood.sdk.waits import promises

if TYPE_CHECKING:
    from fanwood.store.store import Store


def resolve(token: str, value: str, common: Common) -> None:
    text = promises.encoded(read_json(value, "VALUE"), common.settings().max_payload_bytes)

    async def act(store: Store) -> tuple[bool, bytes]:
        done = await promises.resolve(store, token, text)
        return done, promises.promise_of(await store.secret(), token)

    _say(common, "COMPLETED", "resolved", *looking.look(common, act))


def reject(token: str, reason: str, common: Common) -> None:

    async def act(store: Store) -> tuple[bool, bytes]:
        done = await promises.reject(store, token, reason)
        return done, promises.promise_of(await store.secret(), token)

    _say(common, "FAILED", "rejected", *looking.look(common, act))


def _say(common: Common, status: str, past: str, done: bool, id_: bytes) -> None:
    if common.as_json:
        output.print_json({"id": id_text(id_), "status": status, "settled": done})
    else:
        output.print_line(f"{id_text(id_)} is {past}" + ("" if done else ", as it was before"))
