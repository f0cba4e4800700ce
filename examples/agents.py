"""A planner with three agents below it: one finds something out, one runs away and is stopped by its budget, one must
ask a person. The planner's answer comes word by word.

    python examples/agents.py

Kill it (`kill -9`) at any moment and start it again: it goes on where it was, and asks the model for nothing that was
answered. The models and the person here are stand-ins, without a network.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

from fanwood import Budget, Context, Fanwood, Tools

fanwood = Fanwood(local_worker=True)

Message = dict[str, Any]


@dataclass
class Job:
    goal: str


# --- the model --------------------------------------------------------------------------------------------------------


def model(agent: str, messages: list[Message]) -> Message:
    """What a model would answer: what it wants done, or a text."""
    told = [message["content"] for message in messages if message["role"] == "tool"]
    if agent == "gambler":
        return wants(("toss", {"coin": len(told)}))  # once more, for ever
    if agent == "researcher":
        return wants(("look_up", {"what": "cake"})) if not told else says(f"a cake is {told[0]}")
    if agent == "buyer":
        return wants(("ask_person", {"question": "buy a cake?"})) if not told else says(f"the person said {told[0]}")
    if not told:
        return wants(*((name, {"goal": messages[0]["content"]}) for name in ("researcher", "gambler", "buyer")))
    research, gamble, buy = (text.splitlines()[0] for text in told)
    return says(f"I found out that {research}; the gambler ended with {gamble.partition(':')[0]}; and {buy}.")


def wants(*calls: tuple[str, Any]) -> Message:
    functions = [{"name": name, "arguments": json.dumps(arguments)} for name, arguments in calls]
    told = [{"id": f"call_{n}", "type": "function", "function": function} for n, function in enumerate(functions)]
    return {"role": "assistant", "content": None, "tool_calls": told}


def says(text: str) -> Message:
    return {"role": "assistant", "content": text}


# --- tools ------------------------------------------------------------------------------------------------------------


@fanwood.task(retries=1, execution_timeout="10s")
def look_up(what: str) -> str:
    """What something costs."""
    return {"cake": "30 euros"}[what]


@fanwood.task
def toss(coin: int) -> str:
    """Tosses a coin."""
    return "heads" if coin % 2 else "tails"


@fanwood.durable_task
async def ask_person(question: str, ctx: Context) -> str:
    """Asks a person who must agree."""
    agreed = await ctx.aio_promise(bool, "agreed")
    await tell_person.aio_run({"question": question, "token": agreed.token})
    return "yes" if await agreed.aio_result() else "no"


@fanwood.task
def tell_person(mail: dict[str, str]) -> None:
    """An e-mail with a link, say. This person answers at once."""
    print(f"A person is asked: {mail['question']}", flush=True)
    fanwood.promises.resolve(mail["token"], True)


# --- agents: tasks as well, and so tools of each other ----------------------------------------------------------------


async def work(agent: str, goal: str, tools: Tools, ctx: Context) -> str:
    """Ask the model, do what it wants, tell it what came of that."""

    async def ask(messages: list[Message]) -> Message:
        reply = model(agent, messages)
        await ctx.aio_spend(tokens=len(json.dumps(messages)) // 4)  # as the API's answer would say
        return reply

    messages: list[Message] = [{"role": "user", "content": goal}]
    for turn in range(1000):
        reply = await ctx.aio_step(ask, messages, key=f"turn {turn}")  # once in the life of this run
        calls = reply.get("tool_calls")
        if not calls:
            return reply["content"]
        messages += [reply, *(result.openai() for result in await tools.aio_run(calls))]
    return "I gave up."


@fanwood.durable_task
async def researcher(job: Job, ctx: Context) -> str:
    """Finds something out."""
    return await work("researcher", job.goal, Tools(look_up), ctx)


@fanwood.durable_task
async def gambler(job: Job, ctx: Context) -> str:
    """Tries its luck."""
    return await work("gambler", job.goal, Tools(toss), ctx)


@fanwood.durable_task
async def buyer(job: Job, ctx: Context) -> str:
    """Buys something, if a person agrees."""
    return await work("buyer", job.goal, Tools(ask_person), ctx)


TEAM = Tools(
    researcher,
    gambler.as_tool(budget=Budget(units={"tokens": 1000})),  # of each of its runs, and of all below it
    buyer,
)


@fanwood.durable_task
async def planner(goal: str, ctx: Context) -> str:
    answer = await work("planner", goal, TEAM, ctx)
    for word in answer.split():
        await ctx.aio_put_stream(f"{word} ")
    return answer


if __name__ == "__main__":
    goal = " ".join(sys.argv[1:]) or "a party"
    run = planner.run_no_wait(goal, idempotency_key=f"plan {goal}")  # started again, it is the same run
    for chunk in run.stream():
        print(chunk, end="", flush=True)
    print()
