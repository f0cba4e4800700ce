"""An agent: a loop that asks a model, does what it wants done with tools, and tells it what came of that.

    python examples/agent_loop.py "your question"

Each call of the model and of a tool is a run of its own. So after a crash the loop goes on with the turn it was at,
what was paid for is not asked for again, and `fanwood tree` shows what it did. The model here is a stand-in, which
speaks as OpenAI's chat completions do.
"""

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

from fanwood import Context, Fanwood, RetryAfterException, Tools

fanwood = Fanwood()

MOST_TURNS = 8
Message = dict[str, Any]


# --- tools: any task --------------------------------------------------------------------------------------------------


@fanwood.task(execution_timeout="10s", retries=1)
async def look_up(city: str) -> int:
    """How many people live in a city."""
    await asyncio.sleep(0.01)  # a search, a database, somebody else's API
    return {"Oslo": 717_000, "Bergen": 291_000}[city]


@fanwood.task
def add(numbers: list[int]) -> int:
    """The sum of numbers."""
    return sum(numbers)


TOOLS = Tools(look_up, add)


# --- the model --------------------------------------------------------------------------------------------------------


@fanwood.task(retries=5, execution_timeout="2m")
async def ask_model(messages: list[Message], ctx: Context) -> Message:
    """Here a model's API would be called, with tools=TOOLS.openai(). What it answers is stored, and is not asked for
    twice."""
    if len(messages) == 1 and ctx.retry_count == 0:
        raise RetryAfterException("too many requests", after=timedelta(milliseconds=10))
    told = [message["content"] for message in messages if message["role"] == "tool"]
    if not told:
        return wanted(*(("look_up", {"city": city}) for city in ("Oslo", "Bergen", "Atlantis")))
    if len(told) == 3:
        return wanted(("add", {"numbers": [int(told[0]), int(told[1])]}))
    return {"role": "assistant", "content": f"Together {told[-1]} people live there. (Atlantis: {told[2]})"}


def wanted(*calls: tuple[str, Any]) -> Message:
    """As a model says what it wants done."""
    functions = [{"name": name, "arguments": json.dumps(arguments)} for name, arguments in calls]
    told = [{"id": f"call_{n}", "type": "function", "function": function} for n, function in enumerate(functions)]
    return {"role": "assistant", "content": None, "tool_calls": told}


# --- the loop ---------------------------------------------------------------------------------------------------------


@fanwood.task
async def agent(question: str, ctx: Context) -> str:
    messages: list[Message] = [{"role": "user", "content": question}]
    for turn in range(MOST_TURNS):
        reply = await ask_model.aio_run(messages)
        calls = reply.get("tool_calls")
        if not calls:
            return reply["content"]
        ctx.progress(turn + 1, MOST_TURNS, ", ".join(call["function"]["name"] for call in calls))
        results = await TOOLS.aio_run(calls)  # all at the same time
        messages += [reply, *(result.openai() for result in results)]
    return f"I gave up after {MOST_TURNS} turns."


if __name__ == "__main__":
    print(agent.run(" ".join(sys.argv[1:]) or "How many people live in Oslo, Bergen and Atlantis?"))
