"""Children in a loop: one after another, each fed with the result of the one before.

python examples/loop.py
"""

from fanwood import Fanwood

fanwood = Fanwood()


@fanwood.task
async def collatz_step(n: int) -> int:
    return n // 2 if n % 2 == 0 else 3 * n + 1


@fanwood.task
async def collatz(n: int) -> list[int]:
    path = [n]
    while path[-1] != 1:
        path.append(await collatz_step.aio_run(path[-1]))
    return path


if __name__ == "__main__":
    print(collatz.run(6))
