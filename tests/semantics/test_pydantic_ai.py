"""Agents of Pydantic AI in tasks: what they asked models and tools is asked once."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanwood import Budget, Context, EvictionPolicy, Fanwood, RunState, TaskRunError, TextChunk

pytest.importorskip("pydantic_ai", reason="make setup installs it")

from pydantic_ai import Agent, ModelMessage, ModelResponse, RunContext, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from fanwood.pydantic_ai import FanwoodDurability, TaskToolset


class Model:
    """Answers by turns: calls of tools, or a text. Of what the tools said it makes the last one."""

    def __init__(self, *turns: list[tuple[str, dict[str, Any]]]) -> None:
        self.turns = turns
        self.asked: Counter[int] = Counter()

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = sum(message.kind == "response" for message in messages)
        self.asked[turn] += 1
        if turn < len(self.turns):
            return ModelResponse(parts=[ToolCallPart(*call) for call in self.turns[turn]])
        parts: list[Any] = [part for each in messages for part in each.parts]
        said = [part.content for part in parts if part.part_kind in ("tool-return", "retry-prompt")]
        return ModelResponse(parts=[TextPart(" ".join(map(str, said)) or "nothing")])


def agent_of(model: Model, *toolsets: Any, name: str = "helper", **options: Any) -> Agent[None, str]:
    return Agent(
        FunctionModel(model), name=name, toolsets=toolsets, capabilities=[FanwoodDurability(**options)], retries=3
    )


@pytest.mark.parametrize("durable", [False, True])
async def test_a_later_attempt_asks_for_nothing_again(app: Fanwood, durable: bool):
    did: Counter[str] = Counter()

    @app.task
    def shout(text: str) -> str:
        """Says it loudly."""
        did["shout"] += 1
        if text == "":
            raise ValueError("nothing to say")
        return text.upper()

    turns: list[list[tuple[str, dict[str, Any]]]] = [
        [("add", {"a": 1, "b": 2}), ("shout", {"text": "hi"}), ("shout", {"text": "hi"}), ("shout", {"text": ""})],
        [("shout", {"loud": 1}), ("add", {"a": 1, "b": 2})],
    ]
    model = Model(*turns)
    agent = agent_of(model, TaskToolset(shout))

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        did["add"] += 1
        return a + b

    async def ask(question: str, ctx: Context) -> tuple[str, int, str]:
        result = await agent.run(question)
        if ctx.retry_count == 0:
            raise OSError("after all")
        return result.output, result.usage.requests, result.run_id

    task: Any = app.durable_task(retries=1)(ask) if durable else app.task(retries=1)(ask)
    output, requests, _ = await task.aio_run("hello")
    assert "HI HI" in output
    assert "ValueError: nothing to say" in output
    assert "loud: there is no such argument" in output
    assert requests == 3
    assert model.asked == {0: 1, 1: 1, 2: 1}
    assert did == {"add": 2, "shout": 3 + 1}  # what failed is tried again by who tries again
    (root,) = await app.runs.aio_list(task_name=task.name)
    tree = await app.runs.aio_tree(root.id)
    assert Counter(child.run.task_name for child in tree.children) == {"~step": 5, "shout": 3}
    assert await app.runs.aio_list(task_name=task.name, status=RunState.COMPLETED)


async def test_several_at_the_same_time_keep_apart(app: Fanwood):
    models = [Model([("double", {"n": n})], [("double", {"n": n * 10})]) for n in (1, 2)]
    agents = [agent_of(model, name="twin") for model in models]
    for agent in agents:

        @agent.tool_plain
        async def double(n: int) -> int:
            await asyncio.sleep(0)
            return n * 2

    @app.task(retries=1)
    async def ask(question: str, ctx: Context) -> list[str]:
        results = await asyncio.gather(*(agents[n % 2].run(question) for n in range(4)))
        if ctx.retry_count == 0:
            raise OSError("after all")
        return [result.output for result in results]

    assert await ask.aio_run("x") == ["2 20", "4 40", "2 20", "4 40"]
    assert [model.asked for model in models] == [{0: 2, 1: 2, 2: 2}] * 2


def test_outside_and_in_sync_tasks(app: Fanwood):
    outer_tools = Model([("inner_", {})])
    inner = agent_of(Model(), name="inner")
    outer = agent_of(outer_tools, name="outer")

    @outer.tool
    async def inner_(ctx: RunContext[None]) -> str:
        return (await inner.run("deep")).output + "done"

    assert asyncio.run(outer.run("x")).output == "nothingdone"  # nothing of ours is there

    @app.task(retries=1)
    def ask(question: str, ctx: Context) -> str:
        output = asyncio.run(outer.run(question)).output
        if ctx.retry_count == 0:
            raise OSError("after all")
        return output

    assert ask.run("x") == "nothingdone"
    assert outer_tools.asked == {0: 2, 1: 2}  # once outside, once in the task
    (root,) = app.runs.list()
    assert len(app.runs.tree(root.id).children) == 3  # an agent in a tool is part of that


async def test_a_model_that_fails_is_tried_again(app: Fanwood):
    asked: list[int] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(1)
        if len(asked) < 3:
            raise ConnectionError("too many requests")
        return ModelResponse(parts=[TextPart("at last")])

    agent = Agent(FunctionModel(answer), name="a", capabilities=[FanwoodDurability(model_step={"retries": 1})])

    @app.task(retries=1)
    async def ask(question: str) -> str:
        return (await agent.run(question)).output

    assert await ask.aio_run("x") == "at last"
    assert len(asked) == 3

    @app.task
    async def fails(question: str) -> str:
        asked.clear()
        return (await agent.run(question)).output

    with pytest.raises(TaskRunError, match="too many requests"):
        await fails.aio_run("x")


async def test_a_person_is_asked_and_the_answer_streams(app: Fanwood):
    """A tool that is not recorded waits for a promise; the handler of events is called within recorded steps."""
    asked: Counter[int] = Counter()

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        turn = sum(message.kind == "response" for message in messages)
        asked[turn] += 1
        if turn == 0:
            yield {0: DeltaToolCall("approve", '{"what": "lunch"}')}
        else:
            for word in ("It ", "was ", "approved."):
                yield word

    async def tell(_: Any, events: Any) -> None:
        async for event in events:
            if event.event_kind == "part_delta":
                app.get_current_context().put_stream(event.delta.content_delta)
            elif event.event_kind == "part_start" and event.part.part_kind == "text":
                app.get_current_context().put_stream(event.part.content)

    durability: Any = FanwoodDurability(event_stream_handler=tell)
    agent = Agent(FunctionModel(stream_function=stream), name="streams", capabilities=[durability])

    @agent.tool_plain(metadata={"fanwood": False})
    async def approve(what: str) -> bool:
        promise = await app.get_current_context().aio_promise(bool, f"approve {what}")
        tokens.append(promise.token)
        return await promise.aio_result()

    tokens: list[str] = []

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def ask(question: str) -> str:
        return (await agent.run(question)).output

    ref = await ask.aio_run_no_wait("lunch?")
    while not tokens:
        await asyncio.sleep(0.01)
    await app.promises.aio_resolve(tokens[0], True)
    assert await ref.aio_result(60) == "It was approved."
    assert asked == {0: 1, 1: 1}
    assert "".join([c async for c in ref.stream() if isinstance(c, TextChunk)]) == "It was approved."


async def test_that_tokens_are_taken_from_a_budget(app: Fanwood):
    model = Model([("again", {})], [("again", {})], [("again", {})])
    agent = agent_of(model, name="spender", model_step={"retries": 3})  # which is for what may go better next time

    @agent.tool_plain
    def again() -> str:
        return "once more"

    @app.task
    async def ask(question: str) -> str:
        return (await agent.run(question)).output

    assert await ask.aio_run("x", budget=Budget(units={"tokens": 10_000})) == "once more once more once more"
    model.asked.clear()
    with pytest.raises(TaskRunError, match="BudgetExceeded"):
        await ask.aio_run("x", budget=Budget(units={"tokens": 60}))
    assert model.asked == {0: 1, 1: 1}


async def test_what_a_model_of_tests_does(app: Fanwood):
    @app.task
    def look_up(city: str) -> int:
        """How many people live there."""
        return len(city)

    agent = Agent(TestModel(), name="t", toolsets=[TaskToolset(look_up)], capabilities=[FanwoodDurability()])

    @app.task
    async def ask(question: str) -> str:
        return (await agent.run(question)).output

    assert await ask.aio_run("x") == '{"look_up":1}'
    assert await ask.aio_mock_run("x", children={look_up: 5}) == '{"look_up":5}'


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pydantic_ai.durable_exec", None)
    monkeypatch.delitem(sys.modules, "fanwood.pydantic_ai")
    with pytest.raises(ImportError, match=r"pip install 'fanwood\[pydantic-ai\]'"):
        importlib.import_module("fanwood.pydantic_ai")
