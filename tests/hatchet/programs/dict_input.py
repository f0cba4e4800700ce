"""A plain dict in."""

from typing import Any

from pydantic import BaseModel

from fanwood.hatchet import Context, Hatchet

hatchet = Hatchet()


class Greeting(BaseModel):
    message: str


@hatchet.task(input_validator=dict)
def say_hello(input: dict[str, Any], ctx: Context) -> Greeting:
    return Greeting(message=f"Hello, {input['name']}!")


def main() -> object:
    return say_hello.run({"name": "Ada"}).message
