"""The application whose processes are killed, frozen and stopped.

    python app.py worker [task ...]      prints "started" when it takes runs
    python app.py open                   prints "ready", waits for a line, opens the database, prints "opened"
    python app.py run TASK JSON          prints the result
    python app.py keys COUNT SEED        prints "ready", waits for a line, starts a child for each of so many
                                         idempotency keys, in an order of its own, and prints their ids in the keys'

What tasks do they write into a journal: one line per event, appended, so that lines of several processes don't mix.
"""

import asyncio
import json
import logging
import os
import random
import sys
import threading
import time

from fanwood import Context, Fanwood

fanwood = Fanwood()
executing: list[int] = []


def journal(event: str, ctx: Context, about: object = None) -> None:
    line = [event, ctx.task_run_id, ctx.attempt_number, os.getpid(), about]
    descriptor = os.open(os.environ["FAULTS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


@fanwood.task
async def child(input: dict, ctx: Context) -> int:
    journal("begin", ctx)
    await asyncio.sleep(input.get("seconds", 0))
    return input["n"] ** 2


@fanwood.task
def sync_child(input: dict, ctx: Context) -> dict:
    journal("begin", ctx)
    time.sleep(input.get("seconds", 0))
    journal("end", ctx)
    return {"attempt": ctx.attempt_number, "pid": os.getpid()}


@fanwood.task
async def parent(input: dict, ctx: Context) -> int:
    journal("parent", ctx)
    seconds = input.get("seconds", 0)
    items = [child.create_bulk_run_item({"n": n, "seconds": seconds}) for n in range(input["n"])]
    return sum(await child.aio_run_many(items))


@fanwood.task
async def one_after_another(input: dict, ctx: Context) -> list[float]:
    """How long each child took, from call to result, in milliseconds."""
    took: list[float] = []
    for n in range(input["n"]):
        begin = time.perf_counter()
        assert await child.aio_run({"n": n}) == n * n
        took.append((time.perf_counter() - begin) * 1000)
    return took


@fanwood.task
async def patient(input: dict, ctx: Context) -> dict:
    """Sleeps long at its first attempt, and not at all later; says when it is cancelled."""
    journal("begin", ctx)
    try:
        await asyncio.sleep(input["seconds"] if ctx.attempt_number == 1 else 0)
    except asyncio.CancelledError:
        journal("cancelled", ctx)
        raise
    return {"attempt": ctx.attempt_number, "pid": os.getpid()}


@fanwood.task
async def whoami(input: dict, ctx: Context) -> int:
    return os.getpid()


@fanwood.task
async def blocks_its_loop(input: dict, ctx: Context) -> int:
    journal("begin", ctx)
    time.sleep(input["seconds"])
    return ctx.attempt_number


@fanwood.task
async def bystander(input: dict, ctx: Context) -> int:
    executing.append(input["n"])
    try:
        await asyncio.sleep(input["seconds"])
    finally:
        executing.remove(input["n"])
    return input["n"]


@fanwood.task
async def killer(input: dict, ctx: Context) -> None:
    await asyncio.sleep(0.1)
    journal("kill", ctx, len(executing))
    os.kill(os.getpid(), 9)


def work(names: list[str]) -> None:
    chosen = [task for task in fanwood.tasks if task.name in names]
    worker = fanwood.worker(workflows=chosen or None)

    def announce() -> None:
        worker.wait_started()
        print("started", flush=True)

    threading.Thread(target=announce, daemon=True).start()
    worker.start()


def open_database() -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    fanwood.engine()
    print("opened", flush=True)
    sys.stdin.readline()
    fanwood.close()


def start_keyed(count: int, seed: int) -> None:
    fanwood.local_worker = False
    fanwood.engine()
    print("ready", flush=True)
    sys.stdin.readline()
    order = random.Random(seed).sample(range(count), count)
    items = [child.create_bulk_run_item({"n": n}, idempotency_key=f"key {n}") for n in order]
    ids = {n: ref.id for n, ref in zip(order, child.run_many_no_wait(items), strict=True)}
    print(json.dumps([ids[n] for n in range(count)]), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    command, *rest = sys.argv[1:]
    if command == "worker":
        work(rest)
    elif command == "open":
        open_database()
    elif command == "keys":
        start_keyed(int(rest[0]), int(rest[1]))
    else:
        print("running", flush=True)
        print(json.dumps(fanwood.find(rest[0]).run(json.loads(rest[1]))), flush=True)
