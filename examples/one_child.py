"""One child, from an async parent and from a sync one.

python examples/one_child.py
"""

from pydantic import BaseModel

from fanwood import Context, Fanwood

fanwood = Fanwood()


class Name(BaseModel):
    name: str


class Greeting(BaseModel):
    text: str


@fanwood.task(input_validator=Name)
async def greet(input: Name, ctx: Context) -> Greeting:
    return Greeting(text=f"Hello, {input.name}!")


@fanwood.task(input_validator=Name)
async def async_parent(input: Name, ctx: Context) -> str:
    greeting = await greet.aio_run(Name(name=input.name))
    return greeting.text


@fanwood.task(input_validator=Name)
def sync_parent(input: Name, ctx: Context) -> str:
    greeting = greet.run(Name(name=input.name))  # blocks this task's thread, and holds no slot meanwhile
    return greeting.text


if __name__ == "__main__":
    print("async:", async_parent.run(Name(name="Ada")))
    print("sync: ", sync_parent.run(Name(name="Grace")))
