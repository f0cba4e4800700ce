"""The trees of a soak: a root with children, which have next to nothing to do."""

import msgspec

from fanwood import Context, Fanwood

LEAF, TREE = "soak-leaf", "soak-tree"


class Tree(msgspec.Struct):
    n: int
    children: int


def declare(app: Fanwood) -> Fanwood:
    @app.task(name=LEAF)
    async def leaf(input: int, ctx: Context) -> int:
        return input + 1

    @app.task(name=TREE)
    async def tree(input: Tree, ctx: Context) -> int:
        numbers = range(input.n, input.n + input.children)
        return sum(await leaf.aio_run_many([leaf.create_bulk_run_item(n) for n in numbers]))

    return app


def answer(input: Tree) -> int:
    """What such a tree must return."""
    return sum(range(input.n + 1, input.n + 1 + input.children))


fanwood = declare(Fanwood(local_worker=False))  # for `fanwood worker`; the environment says where
