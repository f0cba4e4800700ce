"""The raw floor: what the database itself takes for as many rows, with nothing around it. Each store has its own, in
`floor_sqlite.py` and `floor_postgres.py`.

One thread, no engine, no JSON, no validation; Python only makes the values that are bound. Rows go in batches of 1,000:
insert a batch, claim a batch, complete a batch, each in a transaction of its own, as durable as the store's. Each batch
is claimed and completed right after it was inserted, while it is in the cache: that is the cheapest order.

There are two shapes of rows: `floor` has the columns and indexes that a durable child needs in any design, `bare floor`
the least that could be called a queue.
"""

from collections.abc import Iterator

BATCH = 1000
WORKER = 1


def batches(rows: int) -> Iterator[int]:
    """The sizes of the batches that make `rows` rows."""
    for done in range(0, rows, BATCH):
        yield min(BATCH, rows - done)
