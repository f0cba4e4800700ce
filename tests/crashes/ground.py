"""Where it happens, what a scenario is, and what many of them do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from fanwood import Budget, Fanwood, RunState, TaskRunError
from fanwood.cli.main import cli
from tests.crashes.tasks import PATIENCE, began, declare, ended_soon


@dataclass(frozen=True)
class Ground:
    """Where it happens."""

    folder: Path
    url: str
    other: str = ""  # another database, to copy to

    def note(self, event: str, *about: object) -> None:
        """Into the journal, whole lines of several processes."""
        number = os.open(self.folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(number, json.dumps([event, *about]).encode() + b"\n")
        os.close(number)

    def app(self, url: str = "", **settings: Any) -> Fanwood:
        return declare(
            self, Fanwood(url or self.url, **{"local_worker": True, "shared": False, "slots": 20, **settings})
        )

    def say(self, *arguments: str) -> str:
        """What `fanwood ...` prints."""
        result = CliRunner().invoke(cli, [*arguments], prog_name="fanwood")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output


@dataclass(frozen=True)
class Scenario:
    """`before` is done by a process that lives, `act` by one that is killed and again by another one."""

    name: str
    act: Callable[[Ground], None]
    before: Callable[[Ground], None] | None = None
    again: frozenset[str] = frozenset()  # tasks whose completed runs may be executed anew
    empty: bool = False  # whether there is no schema before it
    changes_schema: bool = False
    spoilt: bool = False  # whether rows are written by hand, which the doctor rightly minds
    copies: bool = False  # what is to be looked at afterwards is the other database
    prepared: Callable[[], None] = field(default=lambda: None)  # in each process
    beside: bool = False  # whether another process does the same meanwhile, and lives


SCENARIOS: dict[str, Scenario] = {}


def scenario(**about: Any) -> Callable[[Callable[[Ground], None]], Callable[[Ground], None]]:
    def add(act: Callable[[Ground], None]) -> Callable[[Ground], None]:
        name = act.__name__
        SCENARIOS[name] = Scenario(name, act, **about)
        return act

    return add


def asked(
    app: Fanwood, ground: Ground, task: str, key: str = "", *, budget: Budget | None = None, **input_: Any
) -> Any:
    """A root, by its key; that it was acknowledged is noted."""
    ref = app.find(task).run_no_wait(input_, idempotency_key=f"{task} {key}", budget=budget)
    ground.note("told", ref.id)
    return ref


def answers(ground: Ground, task: str, expected: Any, **input_: Any) -> None:
    with ground.app() as app:
        ref = asked(app, ground, task, **input_)
        found = ref.result(PATIENCE)
        assert found == expected, f"{task} answered {found!r}"
        ground.note("told", ref.id, found)


def waiting(app: Fanwood, ref: Any) -> None:
    """Until it waits, perhaps, or has ended."""
    for _ in range(10):
        if ref.status() in (RunState.QUEUED, RunState.RUNNING):
            ended_soon.wait(0.01)


def until_begun(ref: Any) -> None:
    while not began.wait(0.01) and not ref.status().is_terminal:
        pass


def swept(app: Fanwood) -> None:
    while app.engine().call(lambda store: store.look_around(0, "")).result(PATIENCE).closed:
        ended_soon.wait(0.005)


@contextmanager
def failing() -> Iterator[None]:
    """As `pytest.raises` of what a run fails with: without pytest, which takes longer to import than all of us."""
    try:
        yield
    except TaskRunError:
        return
    raise AssertionError("it did not fail")
