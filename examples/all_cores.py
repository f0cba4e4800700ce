from fanwood import Fanwood

fanwood = Fanwood(processes=2, slots=1)


@fanwood.task
def primes_below(n: int) -> int:
    return sum(all(k % d for d in range(2, int(k**0.5) + 1)) for k in range(2, n))


@fanwood.task
async def count(numbers: list[int]) -> list[int]:
    return await primes_below.aio_run_many([primes_below.create_bulk_run_item(n) for n in numbers])


if __name__ == "__main__":
    print(count.run([10, 100, 1_000, 10_000]))
