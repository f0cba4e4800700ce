"""Dataclasses in and out."""

from dataclasses import dataclass

from fanwood.hatchet import Context, Hatchet

hatchet = Hatchet()


@dataclass
class Person:
    name: str


@dataclass
class Greeting:
    message: str


@hatchet.task(input_validator=Person)
async def say_hello(input: Person, ctx: Context) -> Greeting:
    return Greeting(message=f"Hello, {input.name}!")


def main() -> object:
    return say_hello.run(input=Person(name="Ada"))
