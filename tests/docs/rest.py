"""docs/reference/rest.md, from the API's own description: `python -m tests.docs.rest` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rest.md"
HEAD = """# The REST API

What the dashboard uses, for programs: `fanwood ui` serves it under `/api/v1`, and its own description (OpenAPI 3.1) as
`/openapi.json`. This page is made from that.

```sh
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8765/api/v1/trees
```

The token is the one in the link that `fanwood ui` prints, or one of [`fanwood token`](cli.md#fanwood-token). Times are
microseconds since the epoch. What is zero, null, false or empty is left out of answers. Requests that change something
need the header `Sec-Fetch-Site: none` (or an `Origin` that is the server's), and `Content-Type: application/json`. In
Python the SDK is the better client: [watching runs](../howto/watching.md).

Errors are problem details (`application/problem+json`) with a `code` for programs. What isn't there, and what isn't
yours to see, have the same answer: 404 `run_not_found` (of an event `event_not_found`).

"""


def written(description: dict[str, Any]) -> str:
    """The page."""
    parts = [HEAD, "## Requests\n\n"]
    for path, methods in description["paths"].items():
        parts += [_operation(method.upper(), path, operation) for method, operation in methods.items()]
    parts.append("## Types\n\n")
    kinds = sorted(description["components"]["schemas"].items())
    parts += [_type(name, schema) for name, schema in kinds if not name.endswith("Query") and name != "Nothing"]
    return "".join(parts).rstrip() + "\n"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"### `{method} {path}`\n", f"\n{_end(operation['summary'])} Role: {operation['x-role']}.\n"]
    parameters = [one for one in operation["parameters"] if one["in"] == "query"]
    if parameters:
        lines.append("\n| parameter | type |\n|---|---|\n")
        lines += [
            f"| `{one['name']}`{' (needed)' if one['required'] else ''} | {_kind(one['schema'])} |\n"
            for one in parameters
        ]
    if "requestBody" in operation and operation["requestBody"]["required"]:
        lines.append(f"\nBody: {_kind(operation['requestBody']['content']['application/json']['schema'])}.\n")
    status, success = next((status, one) for status, one in operation["responses"].items() if status < "300")
    content = success.get("content", {})
    answer = "events" if content else "nothing"
    if "application/json" in content:
        answer = _kind(content["application/json"]["schema"])
    lines.append(f"\nAnswer: {status}, {answer}.\n\n")
    return "".join(lines)


def _type(name: str, schema: dict[str, Any]) -> str:
    about = " ".join(schema.get("description", "").split())
    rows = [f"| `{field}` | {_kind(kind)} |\n" for field, kind in schema.get("properties", {}).items()]
    table = f"| field | type |\n|---|---|\n{''.join(rows)}\n" if rows else ""
    return f"### {name}\n\n{_end(about)}\n\n{table}"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "prefixItems" in schema:
        return f"[{', '.join(_kind(one) for one in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if schema.get("items") else "list"
    if isinstance(inner := schema.get("additionalProperties"), dict) and inner:
        return f"object of {_kind(inner)} by name"
    low, high = schema.get("minimum"), schema.get("maximum")
    within = "" if low is None else f" from {low}" + ("" if high is None or high > 1 << 40 else f" to {high}")
    kind = str(schema.get("type", "anything"))
    return {"string": "text", "boolean": "true or false"}.get(kind, kind) + within


def _end(text: str) -> str:
    return text if text.endswith(".") or not text else f"{text}."


def main() -> None:
    import fanwood
    from fanwood.server.openapi import described
    from fanwood.server.routes import ROUTES

    PAGE.write_text(written(described(ROUTES, fanwood.__version__)), encoding="utf-8")


if __name__ == "__main__":
    main()
