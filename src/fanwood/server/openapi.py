"""The API's own description: OpenAPI 3.1, made of the one table and of the types that travel."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import msgspec
from starlette.responses import Response

from fanwood.server.calls import Call, Route
from fanwood.server.identity import Role
from fanwood.server.problems import MEDIA, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = "/openapi.json"
_REF = "#/components/schemas/{name}"
_STREAM = "text/event-stream"
_ERRORS = {
    "400": "The request can't be read",
    "401": "A token is needed, or that one isn't known",
    "403": "That isn't allowed",
    "404": "There is no such thing, or it isn't yours to see",
    "405": "That can't be done here",
    "408": "The request took too long",
    "409": "It is in the way of something else",
    "413": "It is too large",
    "415": "Bodies are JSON",
    "422": "It can't be done so",
    "429": "Too many at a time",
    "500": "Something went wrong here",
    "503": "The database can't be asked just now",
}


def described(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole description."""
    kinds = [kind for route in routes for kind in (route.answer, route.body, route.query) if kind is not None]
    schemas, components = msgspec.json.schema_components([*kinds, Problem], ref_template=_REF)
    found = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=False)}
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(routes, key=lambda route: (route.path, route.method)):
        path = route.path.replace(":path}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, found, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fanwood", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


_ABOUT = (
    "What the dashboard uses, for programs. Times are microseconds since the epoch. What is zero, null, false or empty "
    "is left out of answers. Requests that change something need `Sec-Fetch-Site: none`, or an `Origin` that is ours, "
    "and `Content-Type: application/json`."
)


def _operation(route: Route, found: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    about = " ".join((inspect.getdoc(route.handler) or "").partition("\n\n")[0].split())
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": about,
        "x-role": route.role.name.lower(),
        "parameters": [*_of_path(route), *_of_query(route, found, components)],
        "responses": {str(route.status): _success(route, found), **_failures()},
    }
    if route.role is Role.NOBODY:
        operation["security"] = []
    if not route.is_safe:
        proof = {"name": "Sec-Fetch-Site", "in": "header", "required": True, "schema": {"const": "none"}}
        operation["parameters"].append(proof)
        schema = {"type": "object"} if route.body is None else found[id(route.body)]
        operation["requestBody"] = {
            "required": route.body is not None,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _of_path(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1].removesuffix(":path") for part in route.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _PATH[name]} for name in names]


_PATH: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "format": "uuid"},
    "name": {"type": "string", "minLength": 1},
    "token": {"type": "string", "minLength": 1},
    "what": {"enum": ["input", "output", "error", "metadata"]},
}


def _of_query(route: Route, found: dict[int, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    whole = cast("dict[str, Any]", components[found[id(route.query)]["$ref"].rpartition("/")[2]])
    required = whole.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _given(schema)}
        for name, schema in whole["properties"].items()
    ]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Of what may be left out: that it may be null is not for URLs."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def _success(route: Route, found: dict[int, Any]) -> dict[str, Any]:
    if route.answer is not None:
        return {"description": "Done", "content": {"application/json": {"schema": found[id(route.answer)]}}}
    if route.status == 204:
        return {"description": "Done"}
    return {"description": "Events", "content": {_STREAM: {"schema": {"type": "string"}}}}


def _failures() -> dict[str, Any]:
    problem = {"schema": {"$ref": _REF.format(name="Problem")}}
    return {status: {"description": about, "content": {MEDIA: problem}} for status, about in _ERRORS.items()}


# --- served ----------------------------------------------------------------------------------------------------------


async def openapi(call: Call) -> Response:
    """The description of the API: OpenAPI 3.1."""
    return Response(call.site.description(), media_type="application/json", headers={"cache-control": "no-cache"})


ROUTES = (Route("GET", PLACE, Role.VIEWER, openapi, dict[str, Any]),)
