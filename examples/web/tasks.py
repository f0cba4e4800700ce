"""The work that the web application starts. Worker processes need this file, and no web framework:

fanwood worker examples.web.tasks:fanwood
"""

import time

from pydantic import BaseModel, PositiveInt

from fanwood import Context, Fanwood

fanwood = Fanwood()


class Order(BaseModel):
    customer: str
    pages: PositiveInt = 10


class Report(BaseModel):
    customer: str
    words: int


@fanwood.task(input_validator=Order)
async def make_report(order: Order, ctx: Context) -> Report:
    items = [write_page.create_bulk_run_item(number) for number in range(order.pages)]
    return Report(customer=order.customer, words=sum(await write_page.aio_run_many(items)))


@fanwood.task(retries=3, backoff_factor=2)
def write_page(number: int) -> int:
    time.sleep(0.01)  # hard work, in a thread
    if number > 500:
        raise ValueError("nobody reads so much")
    return 100
