"""As fanout.py, with blocking calls, in threads."""

from pydantic import BaseModel

from fanwood.hatchet import Context, Hatchet

hatchet = Hatchet()


class ParentInput(BaseModel):
    n: int = 5


class ChildInput(BaseModel):
    a: str


parent = hatchet.workflow(name="SyncFanoutParent", input_validator=ParentInput)
child = hatchet.workflow(name="SyncFanoutChild", input_validator=ChildInput)


@parent.task()
def spawn(input: ParentInput, ctx: Context) -> dict[str, list[dict[str, dict[str, str]]]]:
    return {"results": child.run_many([child.create_bulk_run_item(ChildInput(a=str(i))) for i in range(input.n)])}


@child.task()
def process(input: ChildInput, ctx: Context) -> dict[str, str]:
    return {"status": f"success {input.a}"}


def main() -> object:
    return parent.run(ParentInput(n=2))["spawn"]["results"]
