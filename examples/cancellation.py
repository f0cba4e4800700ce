"""Cancelling a run cancels everything below it: async tasks get CancelledError, sync ones look at ctx.is_cancelled.

python examples/cancellation.py
"""

import asyncio
import threading

from fanwood import Context, Fanwood, TaskRunCancelled

fanwood = Fanwood()
working = threading.Semaphore(0)  # so that this program cancels what has really begun
cleaned_up = threading.Semaphore(0)


@fanwood.task
async def wait_for_ever(n: int) -> None:
    try:
        working.release()
        await asyncio.Event().wait()
    finally:
        cleaned_up.release()


@fanwood.task
def crunch_for_ever(n: int, ctx: Context) -> None:
    working.release()
    pause = threading.Event()
    while not ctx.is_cancelled:
        pause.wait(0.001)
    cleaned_up.release()


@fanwood.task
async def parent() -> None:
    await wait_for_ever.aio_run_many(
        [wait_for_ever.create_bulk_run_item(n) for n in range(3)] + [crunch_for_ever.create_bulk_run_item(3)]
    )


if __name__ == "__main__":
    run = parent.run_no_wait()
    for _ in range(4):
        working.acquire()
    run.cancel()
    try:
        run.result()
    except TaskRunCancelled as error:
        print(f"{error.task_name} was cancelled {error.message}")
    for _ in range(4):
        cleaned_up.acquire()
    print("children:", [child.status.name for child in fanwood.runs.children(run.id)])
