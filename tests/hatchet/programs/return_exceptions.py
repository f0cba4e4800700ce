"""A bulk, half of which fails."""

from typing import Any

from pydantic import BaseModel

from fanwood.hatchet import Context, Hatchet, TaskRunError

hatchet = Hatchet()


class Number(BaseModel):
    index: int


@hatchet.task(input_validator=Number)
async def picky(input: Number, ctx: Context) -> dict[str, int]:
    if input.index % 2 == 0:
        raise ValueError(f"no even numbers: {input.index}")
    return {"index": input.index}


def main() -> object:
    items = [picky.create_bulk_run_item(input=Number(index=i)) for i in range(4)]
    results: list[Any] = picky.run_many(items, return_exceptions=True)
    assert all(isinstance(result, TaskRunError) for result in results[::2])
    assert "no even numbers: 2" in str(results[2])
    assert results[2].exc == "no even numbers: 2"
    assert results[2].exc_type == "ValueError"
    assert "picky" in results[2].trace
    assert results[2].serialize().startswith("ValueError: no even numbers: 2\nTraceback")
    assert hatchet.runs.get_status(results[2].task_run_external_id) == "FAILED"
    return results[1::2]
