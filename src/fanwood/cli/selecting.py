"""Which runs a command is about, by what they have in common: the options, and from them to a filter of the store."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fanwood.cli.arguments import task_names
from fanwood.cli.base import Sentence
from fanwood.clock import MICROSECONDS
from fanwood.durations import in_microseconds, parse
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.model.records import RunFilter

_STATES = [state.name.lower() for state in RunState]


class Wanted(NamedTuple):
    """The options, as they were given."""

    status: str | None
    failed: bool
    every: bool
    task: str | None
    since: str | None
    until: str | None
    meta: tuple[str, ...]

    @property
    def is_narrowed(self) -> bool:
        """Whether not all runs are looked for."""
        return bool(self.state or self.task or self.since or self.until or self.meta)

    @property
    def state(self) -> str | None:
        """The only state that is looked for."""
        return "failed" if self.failed else self.status

    def metadata(self) -> dict[str, Any]:
        """What theirs must have.

        Raises:
            Sentence: it is none.
        """
        return _metadata(self.meta)

    def filter(self, namespace: str, now: int, limit: int) -> RunFilter:
        """For `Store.listing`.

        Raises:
            Sentence: something that can't be asked for.
        """
        from fanwood.sdk.listing import filter_of

        if self.failed and self.status not in (None, "failed"):
            raise Sentence(f"--failed and --status {self.status} exclude each other")
        if self.task == "":
            raise Sentence("--task is empty: name a task")
        task = f"{namespace}/{self.task}" if namespace and self.task and "/" not in self.task else self.task
        return filter_of(
            namespace,
            task=task,
            status=self.state,
            since=0 if self.since is None else _moment("--since", self.since, now),
            until=None if self.until is None else _moment("--until", self.until, now),
            limit=limit,
            every=self.every,
            metadata=self.metadata(),
        )


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it gets them as `wanted`."""

    @click.option("--status", type=click.Choice(_STATES, case_sensitive=False), help="Only those in this state.")
    @click.option("--failed", is_flag=True, help="The same as --status failed.")
    @click.option("--all", "every", is_flag=True, help="Children as well, and not roots only.")
    @click.option("--task", metavar="NAME", help="Only runs of this task.", shell_complete=task_names)
    @click.option("--since", metavar="WHEN", help="Only newer ones: 90s, 1h, 2d, or an ISO time.")
    @click.option("--until", "--older-than", "until", metavar="WHEN", help="Only older ones: as for --since.")
    @click.option(
        "--meta",
        metavar="KEY=VALUE",
        multiple=True,
        help="Only those with this in their metadata. VALUE is JSON, or else a text. May be repeated.",
    )
    @functools.wraps(function)
    def with_filters(*args: Any, **options: Any) -> Any:
        wanted = Wanted(**{name: options.pop(name) for name in Wanted._fields})
        return function(*args, wanted=wanted, **options)

    return with_filters


def _moment(option: str, given: str, now: int) -> int:
    try:
        return now - in_microseconds(parse(given, 1e30))  # however long ago
    except ValueError:
        pass
    try:
        return round(datetime.fromisoformat(given).astimezone().timestamp() * MICROSECONDS)
    except (ValueError, OverflowError):
        raise Sentence(f"{option} {given!r} is neither a duration (90s, 1h, 2d) nor an ISO time") from None


def _metadata(given: tuple[str, ...]) -> dict[str, Any]:
    """From names to values."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise Sentence(f"--meta {pair!r} is not KEY=VALUE, such as --meta customer=7")
        if name in found:
            raise Sentence(f"--meta {name}=... is given twice: a run has one value of a name")
        found[name] = _value(pair, value)
    return found


def _value(pair: str, value: str) -> Any:
    import msgspec

    try:
        value.encode()
        return msgspec.json.decode(value)
    except UnicodeEncodeError:
        raise Sentence(f"--meta {pair!r} is not UTF-8 text") from None
    except RecursionError:
        raise Sentence(f"--meta {pair.partition('=')[0]}=... is nested too deeply") from None
    except msgspec.MsgspecError:
        return value  # no JSON: a text without its quotes
