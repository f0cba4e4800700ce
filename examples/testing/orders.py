"""An application to be tested: an order is paid, waits for three days, and is sent."""

import asyncio

from fanwood import Context, Fanwood

app = Fanwood()
payments: dict[str, int] = {}  # what a payment service has, which knows keys


@app.task(retries=5, backoff_factor=3600, backoff_max_seconds=86_400)
async def charge(amount: int, ctx: Context) -> str:
    payments.setdefault(ctx.task_run_id, amount)  # the same attempt or a later one: paid once
    return f"paid {amount}"


@app.task
def pack(article: str) -> str:
    return f"{article} in a box"


@app.task
async def order(articles: list[str]) -> list[str]:
    paid = await charge.aio_run(10 * len(articles))
    await asyncio.sleep(3 * 86_400)
    return [paid, *await pack.aio_run_many([pack.create_bulk_run_item(article) for article in articles])]
