"""The application whose processes, server and connections are done violence to.

    python app.py worker [task ...]      prints "started" when it takes runs
    python app.py client JSON            prints "begun", starts roots until a line comes, prints what it did as JSON
    python app.py race JSON              prints "ready", waits for a line, races for root keys, prints their ids as JSON

Every output names the attempt and the process that made it, so that what was recorded can be held against it. Every
attempt writes a line into the journal when it begins.
"""

import asyncio
import json
import logging
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fanwood import Context, EvictionPolicy, Fanwood
from fanwood.engine import membership
from fanwood.worker.executor import Executor

HOST, NAME = os.environ.get("CHAOS_HOST"), os.environ.get("CHAOS_NAME")
WHO = f"{NAME}/{os.getpid()}" if NAME else str(os.getpid())

if HOST:  # a process of this machine that passes for one of another: nobody may judge it by its pid
    membership.host_identity = lambda: HOST

fanwood = Fanwood(local_worker=False)
_journal = os.open(os.environ["CHAOS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


_check_lease = Executor._check_lease
_let_begin: dict[Any, float] = {}


def _let(self: Executor, attempt: Any) -> None:
    """When an attempt is let begin. Whoever is frozen after that, and before its line, has begun all the same."""
    now = time.time()  # before: whoever is frozen here is not let begin
    _check_lease(self, attempt)
    _let_begin[attempt] = now


Executor._check_lease = _let


def journal(event: str, ctx: Context) -> None:
    at = _let_begin.pop(ctx._attempt, 0.0) or time.time()
    os.write(_journal, json.dumps([event, ctx.task_run_id, ctx.invocation_count, WHO, at]).encode() + b"\n")


def answer(ctx: Context, value: Any) -> dict:
    return {"value": value, "attempt": ctx.invocation_count, "by": WHO}


@fanwood.task
async def child(input: dict, ctx: Context) -> dict:
    journal("begin", ctx)
    await asyncio.sleep(input.get("seconds", 0))
    return answer(ctx, input["n"] ** 2)


@fanwood.task
async def parent(input: dict, ctx: Context) -> dict:
    journal("begin", ctx)
    seconds = input.get("seconds", 0)
    items = [child.create_bulk_run_item({"n": n, "seconds": seconds}) for n in range(input["n"])]
    return answer(ctx, sum(result["value"] for result in await child.aio_run_many(items)))


@fanwood.durable_task(eviction_policy=EvictionPolicy(ttl=0))
async def durable(input: dict, ctx: Context) -> dict:
    """Children, again and again, one after another and in groups: its code is unloaded whenever it waits for them."""
    journal("begin", ctx)
    total = 0
    for number in range(input["rounds"]):
        given = [{"n": n, "seconds": input["seconds"], "round": number} for n in range(input["n"])]
        if number % 2:
            results = await child.aio_run_many([child.create_bulk_run_item(each) for each in given])
        else:
            async with ctx.group() as group:
                for each in given:
                    group.spawn(child, each)
            results = [outcome.result() for outcome in group.outcomes]
        total += sum(result["value"] for result in results)
    return answer(ctx, total)


@fanwood.task
async def durables(input: dict, ctx: Context) -> dict:
    journal("begin", ctx)
    items = [durable.create_bulk_run_item({**input, "number": number}) for number in range(input["parents"])]
    return answer(ctx, sum(result["value"] for result in await durable.aio_run_many(items)))


@fanwood.task
async def patient(input: dict, ctx: Context) -> dict:
    """Takes its time at the first attempt, or waits until a file is there, and is quick later."""
    journal("begin", ctx)
    if ctx.attempt_number == 1:
        await asyncio.sleep(input.get("seconds", 0))
        while "until" in input and not Path(input["until"]).exists():
            await asyncio.sleep(0.01)
        journal("end", ctx)
    return answer(ctx, input["n"] ** 2)


@fanwood.task
async def stamp(input: dict, ctx: Context) -> dict:
    """When it began, by the wall clock."""
    journal("begin", ctx)
    return answer(ctx, time.time())


@fanwood.task
async def chain(input: dict, ctx: Context) -> dict:
    """Children one after another: for each, how long after its end its parent went on, in milliseconds."""
    journal("begin", ctx)
    dice = random.Random(input["seed"])
    took: list[float] = []
    for n in range(input["n"]):
        await asyncio.sleep(dice.uniform(0, 0.02))  # out of step with whatever has a rhythm
        result = await stamp.aio_run({"n": n})
        took.append((time.time() - result["value"]) * 1000)
    return answer(ctx, took)


# --- what the processes do -------------------------------------------------------------------------------------------


def work(names: list[str]) -> None:
    chosen = [task for task in fanwood.tasks if task.name in names]
    worker = fanwood.worker(workflows=chosen or None)

    def announce() -> None:
        worker.wait_started()
        print("started", flush=True)

    threading.Thread(target=announce, daemon=True).start()
    threading.Thread(target=end_with_stdin, daemon=True).start()
    worker.start()


def end_with_stdin() -> None:
    """Whoever started us holds the other end: when a test is ended by its time limit, nobody else would tell us."""
    while os.read(sys.stdin.fileno(), 64):
        pass
    os._exit(1)


class Client:
    """Starts roots, alone and with children, for as long as it may, with a `pause` after each; notes how long the
    slowest took."""

    def __init__(self, about: dict) -> None:
        self.about = about
        self.name = about["name"]
        self.stopped = threading.Event()
        self.roots = 0
        self.slowest = 0.0

    async def run(self) -> None:
        await asyncio.gather(
            *(self._keep(self._alone, lane) for lane in range(self.about.get("alone", 1))),
            *(self._keep(self._tree, lane) for lane in range(self.about.get("trees", 1))),
        )

    async def _keep(self, start: Any, lane: int) -> None:
        number = 0
        while not self.stopped.is_set():
            begin = time.monotonic()
            await start(number, f"{self.name}.{lane}")
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.roots += 1
            number += 1
            await asyncio.sleep(self.about["pause"])

    async def _alone(self, number: int, who: str) -> None:
        result = await child.aio_run({"n": number, "root": who})
        assert result["value"] == number**2, result

    async def _tree(self, number: int, who: str) -> None:
        n, seconds = self.about.get("children", 50), self.about.get("seconds", 0.005)
        result = await parent.aio_run({"n": n, "seconds": seconds, "root": who, "number": number})
        assert result["value"] == sum(n * n for n in range(n)), result


def run_client(about: dict) -> None:
    client = Client(about)

    def listen() -> None:
        sys.stdin.readline()
        client.stopped.set()

    threading.Thread(target=listen, daemon=True).start()
    print("begun", flush=True)
    asyncio.run(client.run())
    print(json.dumps({"roots": client.roots, "slowest": client.slowest}), flush=True)


def race(about: dict) -> None:
    """Ask for the same roots as all the others, in an order of its own."""
    keys = list(range(about["keys"]))
    random.Random(about["seed"]).shuffle(keys)
    fanwood.engine()
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(ask_for(keys))), flush=True)


async def ask_for(keys: list[int], at_a_time: int = 20) -> dict[str, str]:
    given: dict[str, str] = {}

    async def ask(waiting: list[int]) -> None:
        while waiting:
            key = waiting.pop()
            ref = await child.aio_run_no_wait({"n": key, "root": "race"}, idempotency_key=f"key {key}")
            given[str(key)] = ref.id

    await asyncio.gather(*(ask(keys) for _ in range(at_a_time)))
    return given


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    command, *rest = sys.argv[1:]
    if command == "worker":
        work(rest)
    elif command == "client":
        run_client(json.loads(rest[0]))
    else:
        race(json.loads(rest[0]))
    fanwood.close()
