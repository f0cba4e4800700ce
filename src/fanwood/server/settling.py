"""The routes that settle promises: for whoever has a promise's token, which is a secret in itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from fanwood.ids import id_bytes
from fanwood.lens.views import View
from fanwood.model.states import RunKind
from fanwood.sdk.running.waiting import called
from fanwood.sdk.waits import promises
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.problems import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.model.records import RunRecord
    from fanwood.server.deeds import Deeds
    from fanwood.store.store import Store

LARGEST = 16 * 1024 * 1024
"""Bytes of a value; how large it may be, the settings say."""


class PromiseView(View, frozen=True):
    """What is promised. `schema`: of its value, if there is one. `expires_at`: then it is given up. `ended`: how,
    in words."""

    name: str
    state: str
    created_at: int
    schema: Any = None
    token: str = ""  # for who needs none
    expires_at: int | None = None
    ended: str = ""


class SettledView(View, frozen=True):
    """What became of it. `settled`: now, and not in the same way before."""

    state: str
    settled: bool


class ResolveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value."""

    value: Any = None


class RejectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why there is none."""

    reason: Annotated[str, msgspec.Meta(max_length=10_000)] = ""


async def promise(call: Call) -> PromiseView:
    """See what is promised."""
    return _view(await call.site.primary.ask(lambda store: promises.find(store, _token(call))))


async def promise_of_run(call: Call) -> PromiseView:
    """See what is promised, with the token that settles it."""
    record = await call.ask(lambda store: store.get(id_bytes(call.path["id"])), primary=True)
    if record.kind is not RunKind.PROMISE:
        raise Refusal(404, "no_promise", "That is no promise")
    if call.site.options.read_only:
        return _view(record)
    secret = await call.site.primary.ask(lambda store: store.secret())
    return _view(record, promises.token_of(secret, record.id))


def _view(record: RunRecord, token: str = "") -> PromiseView:
    name, schema = promises.about(record)
    ended = promises.ended(record)
    return PromiseView(name, record.state.name.lower(), record.created_at, schema, token, record.until, ended)


async def resolve(call: Call) -> SettledView:
    """Say what the value of a promise is."""
    body: ResolveBody = call.body
    text = promises.encoded(body.value, call.site.settings.max_payload_bytes)
    return SettledView("completed", await _settled(call, lambda store: promises.resolve(store, _token(call), text)))


async def reject(call: Call) -> SettledView:
    """Say that there will be no value."""
    body: RejectBody = call.body
    return SettledView("failed", await _settled(call, lambda store: promises.reject(store, _token(call), body.reason)))


def _token(call: Call) -> str:
    return call.path["token"]


async def _settled(call: Call, verb: Callable[[Store], Awaitable[bool]]) -> bool:
    if call.site.options.read_only:
        raise Refusal(403, "read_only", "This server only shows")
    secret = await call.site.primary.ask(lambda store: store.secret())
    promises.promise_of(secret, _token(call))  # before an engine is opened

    async def settle(deeds: Deeds) -> bool:
        return await called(deeds.app.engine().call(verb, changes=True))

    return await call.site.hands.do(settle)


_PROMISE = f"{API}/promises/{{token}}"
ROUTES = (
    Route("GET", f"{API}/runs/{{id}}/promise", Role.OPERATOR, promise_of_run, PromiseView),
    Route("GET", _PROMISE, Role.NOBODY, promise, PromiseView),
    Route("POST", f"{_PROMISE}/resolve", Role.NOBODY, resolve, SettledView, body=ResolveBody, largest=LARGEST),
    Route("POST", f"{_PROMISE}/reject", Role.NOBODY, reject, SettledView, body=RejectBody),
)
