"""A task as a tool of a model: what the model is told of it, and what it is told by it, whatever it writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from fanwood import Context, EmptyModel, Fanwood, RunState, Tool, Tools, UsageError


@dataclass
class Point:
    x: int
    y: int = 3


class Node(BaseModel):
    value: Annotated[int, Field(gt=0, description="how much")]
    kids: list[Node] = []


class Route(msgspec.Struct):
    name: str
    points: list[Point] = []


@pytest.fixture
def tools(app: Fanwood) -> Tools:
    @app.task(description="Adds the two.")
    def total(point: Point) -> int:
        return point.x + point.y

    @app.task
    async def node(node: Node) -> Node:
        return node

    @app.task
    def route(route: Route) -> dict[str, int]:
        return {route.name: len(route.points)}

    @app.task(name="the weather.now")
    def weather(city: str, ctx: Context) -> str:
        """What it is like outside.

        This is not for models.
        """
        if city == "Atlantis":
            raise KeyError(f"{city} is under water")
        return f"{ctx.depth}: rain in {city}"

    @app.task
    def dice(sides: int = 6) -> list[int]:
        return [sides]

    @app.task
    def nothing() -> None: ...

    @app.task
    def anything(value):
        return value

    flow = app.workflow(name="flow", input_validator=Node)

    @flow.task
    def double(input, ctx):
        if input.value == 13:
            raise ValueError("unlucky")
        return input.value * 2

    return Tools(total, node, route, weather, dice, nothing, anything.as_tool(max_characters=20), flow)


def call(name: str, arguments: Any, id: str = "c1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_what_a_model_is_told_of_it(tools: Tools):
    by_name = {tool.name: tool for tool in tools}
    assert list(by_name) == ["total", "node", "route", "the_weather_now", "dice", "nothing", "anything", "flow"]
    assert by_name["the_weather_now"].description == "What it is like outside."
    assert by_name["total"].openai() == {
        "type": "function",
        "function": {
            "name": "total",
            "description": "Adds the two.",
            "parameters": {
                "type": "object",
                "title": "Point",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 3}},
                "required": ["x"],
            },
        },
    }
    assert by_name["total"].anthropic()["input_schema"] == by_name["total"].schema
    assert set(tools.openai_responses()[0]) == {"type", "name", "description", "parameters", "strict"}
    only = {"type": "object", "properties": {"sides": {"type": "integer", "default": 6}}, "additionalProperties": False}
    assert by_name["dice"].schema == only
    assert by_name["nothing"].schema == {"type": "object", "properties": {}}
    assert by_name["anything"].schema["properties"] == {"value": {}}
    for tool in tools:  # what is referred to is there, and nothing else is
        text = json.dumps(tool.schema)
        assert tool.schema["type"] == "object"
        assert all(f"#/$defs/{name}" in text for name in tool.schema.get("$defs", {}))
    assert set(by_name["route"].schema["$defs"]) == {"Point"}
    assert by_name["node"].schema["properties"]["value"]["description"] == "how much"
    by_name["total"].schema.clear()
    assert by_name["total"].schema


SAID = [
    ("total", '{"x": 1}', "4"),
    ("total", {"x": 1, "y": 1}, "2"),
    ("total", '{"x": "a"}', "The arguments do not fit, and nothing was run. x: Expected `int`, got `str`"),
    (
        "the_weather_now",
        '{"city": 7}',
        "The arguments do not fit, and nothing was run. city: Expected `str`, got `int`",
    ),
    ("total", '{"x": 1', "The arguments do not fit, and nothing was run. arguments: this is no JSON: "),
    ("total", "[" * 100_000, "The arguments do not fit, and nothing was run. arguments: this is no JSON: "),
    ("node", '{"value": 0}', "The arguments do not fit, and nothing was run. value: Input should be greater than 0"),
    ("route", '{"name": "a", "points": [{"x": 1}]}', '{"a":1}'),
    ("the_weather_now", '{"city": "Oslo"}', "1: rain in Oslo"),
    ("the_weather_now", '{"city": "Atlantis"}', "KeyError: 'Atlantis is under water'"),
    ("the_weather_now", "{}", "The arguments do not fit, and nothing was run. city: is required"),
    (
        "the_weather_now",
        '{"town": 1}',
        "The arguments do not fit, and nothing was run. town: there is no such argument",
    ),
    ("the_weather_now", '["Oslo"]', "The arguments do not fit, and nothing was run. arguments: an object is expected"),
    ("the_weather_now", '{"city": "\\ud800"}', "The arguments do not fit, and nothing was run. arguments: this is no"),
    ("the_weather_now", '{"city": "\ud800"}', "The arguments do not fit, and nothing was run. arguments: this is no"),
    ("the_weather_now", {"city": "\ud800"}, "Nothing was run: the arguments of the_weather_now can't be encoded: "),
    ("dice", "", "[6]"),
    ("dice", None, "[6]"),
    ("dice", '{"sides": 20}', "[20]"),
    ("nothing", '{"what": "ever"}', "null"),
    ("anything", '{"value": [1, 2]}', "[1,2]"),
    ("anything", '{"value": NaN}', "The arguments do not\n... (cut:"),
    ("anything", '{"value": "' + 30 * "x" + '"}', 20 * "x" + "\n... (cut: 30 characters in all)"),
    ("anything", '{"value": "' + 5_000_000 * "x" + '"}', "Nothing was run: the"),
    ("flow", '{"value": 2}', '{"double":4}'),
    ("flow", '{"value": 13}', "1 of 1 steps of workflow flow failed: flow:double failed: ValueError: unlucky"),
    ("gone", "{}", "There is no tool 'gone'. There are: total, node,"),
]


def test_what_a_model_is_told_by_it(app: Fanwood, tools: Tools):
    @app.task
    def agent(_: EmptyModel, ctx: Context) -> list[tuple[str, bool]]:
        results = tools.run([call(name, arguments, f"c{n}") for n, (name, arguments, _) in enumerate(SAID)])
        assert [result.call_id for result in results] == [f"c{n}" for n in range(len(SAID))]
        return [(result.text, result.is_error) for result in results]

    for (name, arguments, expected), (text, is_error) in zip(SAID, agent.run(), strict=True):
        if expected.startswith(("The arg", "Nothing", "KeyError", "There", "1 of")):
            assert (text[: len(expected)], is_error) == (expected, True), (name, str(arguments)[:100])
        else:
            assert (text, is_error) == (expected, False) or text.startswith(expected), (name, str(arguments)[:100])
    (root,) = app.runs.list(task_name="agent")
    assert len(app.runs.tree(root.id).children) == 13  # nothing else was run


@pytest.mark.parametrize("shape", ["openai", "openai_responses", "anthropic"])
@pytest.mark.parametrize("of_objects", [False, True])
async def test_shapes_of_calls_and_answers(tools: Tools, shape: str, of_objects: bool):
    calls: dict[str, list[dict[str, Any]]] = {
        "openai": [call("total", '{"x": 4}', "a"), call("gone", "{}", "b")],
        "openai_responses": [
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "a", "id": "fc", "name": "total", "arguments": '{"x": 4}'},
            {"type": "function_call", "call_id": "b", "id": "fc", "name": "gone", "arguments": "{}"},
        ],
        "anthropic": [
            {"type": "text", "text": "I look it up."},
            {"type": "tool_use", "id": "a", "name": "total", "input": {"x": 4}},
            {"type": "tool_use", "id": "b", "name": "gone", "input": {}},
        ],
    }
    given: list[Any] = calls[shape]
    if of_objects:  # as those who make models have them, in their own libraries
        given = [
            SimpleNamespace(**{k: SimpleNamespace(**v) if k == "function" else v for k, v in each.items()})
            for each in given
        ]
    first, second = (getattr(result, shape)() for result in await tools.aio_run(given))
    refused = "There is no tool 'gone'. There are: total, node, route, the_weather_now, dice, nothing, anything, flow"
    if shape == "openai":
        assert first == {"role": "tool", "tool_call_id": "a", "content": "7"}
        assert second == {"role": "tool", "tool_call_id": "b", "content": refused}
    elif shape == "openai_responses":
        assert first == {"type": "function_call_output", "call_id": "a", "output": "7"}
        assert second == {"type": "function_call_output", "call_id": "b", "output": refused}
    else:
        assert first == {"type": "tool_result", "tool_use_id": "a", "content": "7"}
        assert second == {"type": "tool_result", "tool_use_id": "b", "content": refused, "is_error": True}


async def test_one_tool_and_nothing_to_do(tools: Tools):
    result = await tools["total"].aio_run('{"x": 1}', call_id="one")
    assert (result.name, result.call_id, result.value, result.error) == ("total", "one", 4, None)
    assert await tools.aio_run(None) == await tools.aio_run([]) == []


def test_a_retried_agent_finds_its_calls(app: Fanwood):
    did: list[str] = []

    @app.task
    def act(what: str) -> str:
        did.append(what)
        return what

    tool = act.as_tool(name="do", additional_metadata={"by": "a model"}, priority=7)

    @app.task(retries=1)
    def agent(_: EmptyModel, ctx: Context) -> list[str]:
        said = [tool.run('{"what": "a"}').text, *(r.text for r in Tools(tool).run([call("do", {"what": "a"})] * 2))]
        if ctx.retry_count == 0:
            raise OSError("again")
        return said

    assert agent.run() == ["a", "a", "a"]
    assert did == ["a", "a", "a"]  # the same three times, and not once more
    children = app.runs.list(task_name="act", all_runs=True)
    assert {(child.status, child.additional_metadata["by"]) for child in children} == {(RunState.COMPLETED, "a model")}


def test_in_a_mock_run(app: Fanwood, tools: Tools):
    @app.task
    def agent() -> list[str]:
        return [
            result.text for result in tools.run([call("total", {"x": 1}), call("the_weather_now", {"city": "Oslo"})])
        ]

    def weather(city: str) -> str:
        raise OSError(f"no sight of {city}")

    assert agent.mock_run(children={"total": 9, "the weather.now": weather}) == ["9", "OSError: no sight of Oslo"]


def test_what_can_not_be(app: Fanwood, tools: Tools):
    @app.task
    def act(what: str) -> str:
        return what

    options: dict[str, Any]
    for options in ({"name": "a b"}, {"name": ""}, {"name": 65 * "a"}, {"child_key": "k"}, {"idempotency_key": "k"}):
        with pytest.raises(UsageError):
            act.as_tool(**options)
    for options in ({"max_characters": 0}, {"description": 5}, {"prio": 1}, {"priority": "high"}):
        with pytest.raises(UsageError):
            act.as_tool(**options)
    with pytest.raises(UsageError, match="two tools are named act"):
        Tools(act, act.as_tool())
    no_tools: Any
    for no_tools in (5, len, "act"):
        with pytest.raises(UsageError, match="must be a task"):
            Tools(no_tools)
    no_calls: Any
    for no_calls in ("act", {"name": "act"}, 5, [5], [{"name": "act"}]):
        with pytest.raises(UsageError, match="must be"):
            tools.run(no_calls)
    assert act.as_tool(description="").description == ""
    assert isinstance(tools[0], Tool)
    assert len(tools[:2]) == 2
