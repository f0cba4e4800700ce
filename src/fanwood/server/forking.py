"""The route that makes a new run of one that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.codec.schemas import faults
from fanwood.errors import UsageError
from fanwood.ids import id_bytes, id_text
from fanwood.server.acting import LARGEST, Body, run_at
from fanwood.server.answers import Started
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.problems import Refusal
from fanwood.server.queries import Text  # noqa: TC001  (looked at when a body is read)
from fanwood.server.starting import BudgetBody  # noqa: TC001  (as that)
from fanwood.store.forked import forked, task_of_input

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.server.deeds import Deeds
    from fanwood.store.store import Store


class ForkBody(Body, frozen=True):
    """`at`: a run (or step) below, that is done again with what was asked for after it. `input`: another one for that,
    or else for the new run. `budget`: what that, and all below it, may use."""

    at: Text | None = None
    input: Any = msgspec.UNSET
    budget: BudgetBody | None = None


async def fork(call: Call) -> Started:
    """Make a new run of one that has ended: it takes what that had finished, and runs the rest."""
    body: ForkBody = call.body
    run = await run_at(call, id_bytes(call.path["id"]))
    place = None if body.at is None else await run_at(call, id_bytes(body.at))
    given = None if body.input is msgspec.UNSET else await _input(call, place or run, body.input)

    part = None if body.budget is None else body.budget.budget().part

    async def act(deeds: Deeds) -> bytes:
        new = deeds.app.ids.new_id()
        await deeds.ask(lambda store: forked(store, run, new, place, given, call.identity.name, part), changes=True)
        return new

    try:
        return Started(id_text(await call.site.hands.do(act)))
    except UsageError as error:
        raise Refusal(409, "wrong_state", str(error)) from None


async def _input(call: Call, run: RunRecord, given: Any) -> str:
    """As JSON; checked as far as its task is known."""
    text, most = msgspec.json.encode(given).decode(), call.site.settings.max_payload_bytes
    if len(text.encode()) > most:
        raise Refusal(413, "payload_too_large", f"The input is larger than {most:,} bytes")

    name = task_of_input(run, given)

    async def schema(store: Store) -> str | None:
        return next((task.schema for task in await store.tasks() if task.name == name), None)

    known = await call.site.primary.ask(schema)
    if known is not None and (wrong := faults(given, msgspec.json.decode(known))):
        raise Refusal(
            422, "input_does_not_fit", f"The input does not fit what {name} takes", "; ".join(wrong), errors=wrong
        )
    return text


ROUTES = (
    Route(
        "POST", f"{API}/runs/{{id}}/fork", Role.OPERATOR, fork, Started, body=ForkBody, largest=LARGEST, status=201,
    ),
)  # fmt: skip
