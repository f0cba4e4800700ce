"""The API against its own description."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

import fanwood
from fanwood import Settings
from fanwood.server.app import create
from fanwood.server.openapi import described
from fanwood.server.options import Options
from fanwood.server.routes import ROUTES
from tests.server.asgi import HOST, Client
from tests.server.conftest import OWNER, World

DESCRIPTION = described(ROUTES, fanwood.__version__)
LEFT_OUT = {"live", "stream", "openapi"}  # they have no end; it is what the others are made of
EXAMPLES = 4
SKIPPED = [
    ignored_auth,  # it sends what we give it all the same
    positive_data_acceptance,  # `after` and `metadata` are texts of a kind that no schema says
]
HEADERS = {"host": HOST, "authorization": f"Bearer {OWNER}", "sec-fetch-site": "none"}


async def test_that_it_is_served(client: Client):
    answer = await client.ask("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert msgspec.json.encode(answer.json(), order="deterministic") == msgspec.json.encode(
        DESCRIPTION, order="deterministic"
    )


def test_that_every_route_is_described():
    found = {(method.upper(), path) for path, methods in DESCRIPTION["paths"].items() for method in methods}
    assert found == {(route.method, route.path.replace(":path", "")) for route in ROUTES}
    names = [operation["operationId"] for methods in DESCRIPTION["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


NAMES = sorted(methods["get"]["operationId"] for methods in DESCRIPTION["paths"].values() if "get" in methods)


@pytest.fixture(scope="module")
def operations(world: World) -> Iterator[dict[str, Any]]:
    app = create(Settings.load(database_url=world.url), Options(token=OWNER))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)
    found: list[Any] = [operation.ok() for operation in schema.get_all_operations()]  # pyright: ignore[reportAttributeAccessIssue]  # or it is an error, and so are we
    yield {operation.definition.raw["operationId"]: operation for operation in found}
    asyncio.run(app.close())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEFT_OUT])
def test_what_is_asked_as_described_is_answered_as_described(operations: dict[str, Any], world: World, name: str):
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])  # fmt: skip
    @given(case=operations[name].as_strategy())
    def check(case: Any) -> None:
        for id_ in [case.path_parameters["id"], *world.shop[:2]] if "id" in case.path_parameters else [None]:
            if id_ is not None:
                case.path_parameters["id"] = id_
            case.call_and_validate(headers=HEADERS, excluded_checks=SKIPPED)

    check()
