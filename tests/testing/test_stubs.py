"""What runs in the place of a task's code."""

from __future__ import annotations

from types import TracebackType
from unittest import mock

import pytest

from fanwood import Context, Fanwood, TaskRunError, TaskRunRef, UnknownTaskError, UsageError
from fanwood.testing import TestApp, on_memory, tree
from tests.testing import shop


def test_a_stubbed_child_of_another_module(fanwood_app: TestApp):
    charge = fanwood_app.stub(shop.charge, returns=99)
    assert shop.handle.run(5) == [99, "box 5, sent"]
    assert (charge.calls, charge.count, charge.called) == ([5], 1, True)
    charge.assert_called()
    charge.assert_called(1)
    with pytest.raises(AssertionError, match=r"stub of charge was called 1 time\(s\), not 2: \[5\]"):
        charge.assert_called(2)
    with pytest.raises(AssertionError, match="was called"):
        charge.assert_not_called()


def test_that_a_stub_that_was_never_used_can_be_asserted_on(fanwood_app: TestApp):
    charge = fanwood_app.stub(shop.charge, returns=99)
    assert shop.ship.run(5) == "box 5, sent"
    charge.assert_not_called()
    with pytest.raises(AssertionError, match="the stub of charge was never called"):
        charge.assert_called()


def test_a_stub_that_raises_is_tried_again_as_the_task_would_be(fanwood_app: TestApp):
    raised = ValueError("no money")
    charge = fanwood_app.stub(shop.charge, raises=raised)
    with pytest.raises(TaskRunError, match="no money"):
        shop.handle.run(5)
    assert charge.count == 4
    assert tree().splitlines()[1] == "    charge(5) FAILED after 3 retries ValueError: no money"
    before, _ = raised.__traceback__, charge.calls.clear()
    with pytest.raises(TaskRunError):
        shop.handle.run(5)
    assert _length(raised.__traceback__) == _length(before)
    fanwood_app.stub(shop.pack, raises=KeyError)
    with pytest.raises(TaskRunError) as caught:
        shop.ship.run(5)
    assert caught.value.exc_type == "KeyError"


def _length(traceback: TracebackType | None) -> int:
    return 0 if traceback is None else 1 + _length(traceback.tb_next)


async def test_functions_of_both_colours_that_take_what_they_like(fanwood_app: TestApp):
    async def with_context(order: int, ctx: Context) -> int:
        assert ctx.retry_count == 0
        return order + 1

    for function, expected in ((with_context, 6), (lambda order: order + 2, 7), (lambda: 8, 8), (abs, 5)):
        fanwood_app.stub(shop.charge, function)
        assert (await shop.handle.aio_run(5))[0] == expected
    fanwood_app.stub(shop.charge, mock.Mock(return_value=9))
    fanwood_app.stub(shop.ship, mock.AsyncMock(return_value="by air"))
    assert await shop.handle.aio_run(5) == [9, "by air"]


def test_a_stub_that_runs_other_tasks(fanwood_app: TestApp):
    fanwood_app.stub(shop.charge, shop.double.run)
    assert shop.handle.run(5)[0] == 10
    assert "    charge(5) COMPLETED -> 10\n        double(5) COMPLETED -> 10\n" in tree()


@pytest.mark.parametrize("which", ["charge", shop.charge.fn, shop.charge])
def test_how_a_task_is_named(fanwood_app: TestApp, which):
    assert fanwood_app.stub(which, returns=1).task == "charge"
    assert shop.charge.run(5) == 1


def test_a_name_in_a_namespace(fanwood_app: TestApp):
    app = Fanwood("sqlite:////dev/null/x.db", namespace="shop")

    @app.task
    def only_here(n: int) -> int:
        raise AssertionError

    fanwood_app.stub("only_here", returns=1)
    assert only_here.run(1) == 1
    fanwood_app.stub("shop/only_here", returns=2)
    assert only_here.run(1) == 2


def test_what_can_be_no_stub(fanwood_app: TestApp):
    with pytest.raises(UnknownTaskError, match=r"'chrage'\. Did you mean charge\?"):
        fanwood_app.stub("chrage")
    with pytest.raises(UsageError, match="a stub of charge takes one of"):
        fanwood_app.stub(shop.charge, returns=1, raises=ValueError)
    with pytest.raises(UsageError, match="must be an exception, and is 'no'"):
        fanwood_app.stub(shop.charge, raises="no")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="5 is no function"):
        fanwood_app.stub(shop.charge, 5)  # pyright: ignore[reportArgumentType]


def test_that_a_stub_s_value_must_fit_the_task(fanwood_app: TestApp):
    fanwood_app.stub(shop.charge, returns=object())
    with pytest.raises(TaskRunError, match="object"):
        shop.handle.run(5)


def test_that_stubs_are_undone_each_by_itself_and_all_with_the_test():
    with on_memory() as app:
        with app.stub(shop.double, returns=7):
            with app.stub(shop.pack, returns="bag"):
                assert shop.ship.run(1) == "bag, sent"
            assert (shop.ship.run(1), shop.double.run(2)) == ("box 1, sent", 7)
        assert shop.double.run(2) == 4
        app.stub(shop.double, returns=7)
    with on_memory():
        assert shop.double.run(2) == 4


def test_that_the_newer_stub_counts_and_its_end_brings_back_the_code(fanwood_app: TestApp):
    old, new = fanwood_app.stub(shop.double, returns=1), fanwood_app.stub(shop.double, returns=2)
    assert shop.double.run(5) == 2
    old.undo()
    assert shop.double.run(5) == 2
    new.undo()
    assert shop.double.run(5) == 10


def test_a_workflow_and_a_step(fanwood_app: TestApp):
    flow = fanwood_app.workflow(name="flow", input_validator=dict[str, int])

    @flow.task
    def first(input: dict[str, int], ctx: Context) -> int:
        raise AssertionError

    @flow.task(parents=[first])
    def second(input: dict[str, int], ctx: Context) -> int:
        return ctx.task_output(first) + 1

    step = fanwood_app.stub(first, lambda input: input["n"])
    assert flow.run({"n": 1}) == {"first": 1, "second": 2}
    assert step.calls == [{"n": 1}]
    whole = fanwood_app.stub(flow, returns={"second": 5})
    assert flow.run({"n": 1}) == {"second": 5}
    assert whole.calls == [{"n": 1}]


def test_a_stubbed_child_whose_parent_waits_for_none(fanwood_app: TestApp):
    stub = fanwood_app.stub(shop.double, returns=1)

    @shop.app.task(name="starts")
    def starts(n: int) -> str:
        ref: TaskRunRef[int] = shop.double.run_no_wait(n)
        return str(ref.result())

    try:
        assert starts.run(3) == "1"
    finally:
        shop.app._runnables.pop("starts")
    assert stub.calls == [3]


def test_that_a_name_stands_for_whatever_is_called_so(fanwood_app: TestApp):
    """Also for what another module has, and what is declared later."""

    @fanwood_app.task(name="charge")
    def another(n: int) -> int:
        return n

    fanwood_app.stub("charge", returns=1)
    only = fanwood_app.stub(another, returns=2)
    assert (shop.charge.run(5), another.run(5)) == (1, 2)
    only.undo()
    assert another.run(5) == 1
