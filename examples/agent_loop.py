"""An agent: a loop that asks a model, does what it wants done with tools, and tells it what came of that.

    python examples/agent_loop.py "your question"

Each call of the model and of a tool is a run of its own. So after a crash the loop goes on with the turn it was at,
what was paid for is not asked for again, and `fanwood tree` shows what it did. The model here is a stand-in.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from datetime import timedelta

from fanwood import Context, Fanwood, RetryAfterException, TaskRunError

fanwood = Fanwood()

MOST_TURNS = 8


@dataclass
class Call:
    tool: str
    argument: str


@dataclass
class Reply:
    text: str = ""
    calls: list[Call] = field(default_factory=list[Call])


@dataclass
class Message:
    role: str  # user, model, tool
    text: str


# --- tools: any task --------------------------------------------------------------------------------------------------


@fanwood.task(execution_timeout="10s", retries=1)
async def look_up(city: str) -> str:
    await asyncio.sleep(0.01)  # a search, a database, somebody else's API
    return {"Oslo": "717000", "Bergen": "291000"}[city]


@fanwood.task
def add(numbers: str) -> str:
    return str(sum(int(number) for number in numbers.split("+")))


TOOLS = {"look_up": look_up, "add": add}


# --- the model --------------------------------------------------------------------------------------------------------


@fanwood.task(retries=5, execution_timeout="2m")
async def ask_model(messages: list[Message], ctx: Context) -> Reply:
    """Here a model's API would be called. What it answers is stored, and is not asked for twice."""
    if len(messages) == 1 and ctx.retry_count == 0:
        raise RetryAfterException("too many requests", after=timedelta(milliseconds=10))
    told = [message.text for message in messages if message.role == "tool"]
    if not told:
        return Reply(calls=[Call("look_up", "Oslo"), Call("look_up", "Bergen"), Call("look_up", "Atlantis")])
    if len(told) == 3:
        return Reply(calls=[Call("add", f"{told[0]}+{told[1]}")])
    return Reply(text=f"Together {told[-1]} people live there. (Atlantis: {told[2]})")


# --- the loop ---------------------------------------------------------------------------------------------------------


@fanwood.task
async def agent(question: str, ctx: Context) -> str:
    messages = [Message("user", question)]
    for turn in range(MOST_TURNS):
        reply = await ask_model.aio_run(messages)
        if not reply.calls:
            return reply.text
        ctx.progress(turn + 1, MOST_TURNS, ", ".join(f"{call.tool}({call.argument})" for call in reply.calls))
        messages.append(Message("model", str(reply.calls)))
        items = [TOOLS[call.tool].create_bulk_run_item(call.argument) for call in reply.calls]
        for answer in await look_up.aio_run_many(items, return_exceptions=True):  # all at the same time
            failed = isinstance(answer, TaskRunError)
            messages.append(Message("tool", f"{answer.exc_type}: {answer.message}" if failed else str(answer)))
    return f"I gave up after {MOST_TURNS} turns."


if __name__ == "__main__":
    print(agent.run(" ".join(sys.argv[1:]) or "How many people live in Oslo, Bergen and Atlantis?"))
