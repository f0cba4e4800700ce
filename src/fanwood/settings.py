"""Settings: one frozen object, from arguments, then the environment, then defaults."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from fanwood import checks
from fanwood.durations import LONGEST
from fanwood.errors import SettingsError

DEFAULT_URL = "sqlite:///.fanwood/fanwood.db"
_PREFIX = "FANWOOD_"

MAX_SLOTS = 1_000_000
MAX_PROCESSES = 1024
_ABOVE_ZERO = {"lease", "heartbeat", "sweep", "poll"}
_RANGES = {
    "slots": (1, MAX_SLOTS),
    "waiting_threads": (0, MAX_SLOTS),
    "waiting_runs": (0, checks.INT32),
    "max_payload_bytes": (1, 500_000_000),  # a row of PostgreSQL holds a gigabyte, and so does a row of SQLite
    "deaths_limit": (0, checks.INT32),
    "max_depth": (1, checks.INT32),
    "max_tree_runs": (1, 10**15),
    "processes": (0, MAX_PROCESSES),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Durations are seconds. Each has an environment variable, `FANWOOD_` and its name in
    capitals; `database_url` is the one most used.
    """

    database_url: str = field(default=DEFAULT_URL, repr=False)  # it may hold a password
    """Where the runs are: `sqlite:///relative/path`, `sqlite:////absolute/path`, `postgresql://user:password@host/name`;
    `memory:`, which keeps nothing."""
    namespace: str = ""
    """Separates applications that share a database: a prefix of all task names."""
    slots: int = 100
    """How many runs a worker executes at a time; those that wait for children don't count."""
    processes: int = 1
    """How many processes execute what a script starts. 1: the script itself. More: so many worker processes, which it
    starts and which end with it, each with so many slots; the script itself executes nothing. 0: one for each core."""
    waiting_threads: int = 1000
    """How many sync runs of one worker may wait for children at a time; each holds a thread. Where there would be more,
    those of durable tasks are unloaded."""
    waiting_runs: int = 10_000
    """How many runs of durable tasks that wait one worker keeps in memory; of more those that have waited longest are
    unloaded."""
    max_payload_bytes: int = 4 * 1024 * 1024
    """The largest input or output, as JSON."""
    lease: float = 10.0
    """After how long without a sign of life a worker's runs go elsewhere."""
    heartbeat: float = 2.0
    """How often a worker renews its lease."""
    sweep: float = 0.5
    """How often to look for workers of this host that died, and for leases that lapsed."""
    poll: float = 0.01
    """How often to look whether another process has changed the (embedded) store."""
    postgres_schema: str = "fanwood"
    """PostgreSQL: the schema that holds the tables."""
    notify: bool = True
    """PostgreSQL: whether to tell others of changes at once (NOTIFY), and listen; without it everybody polls."""
    pgbouncer: bool = False
    """PostgreSQL: the URL leads to a pooler in transaction mode, where a connection is ours for one transaction."""
    listen_url: str = field(default="", repr=False)  # as above
    """PostgreSQL behind a pooler: the server itself, to listen there. Without it everybody polls."""
    outage_patience: float = 60.0
    """PostgreSQL: how long who starts a run, or asks for something, waits for a server that is away. (What runs already
    waits on.)"""
    grace: float = 10.0
    """How long a stopping worker lets its runs finish before it hands them back."""
    retention_days: float = 0.0
    """For how many days a tree that has ended is kept, and then deleted by a worker; 0: for ever."""
    event_retention: float = 604_800.0
    """For how many seconds events are kept; those that runs wait for are looked for so far back, at most."""
    deaths_limit: int = 3
    """How many workers in a row may die while executing one run before it fails as poison."""
    max_depth: int = 1000
    """How deep a tree may be: a run so many levels below its root spawns no children."""
    max_tree_runs: int = 10_000_000
    """How many runs (and waits and steps) one tree may have, about; what would be more is refused."""
    switch_interval: float = 0.00005
    """Python's thread switch interval while a worker runs, in seconds; 0 leaves it as it is."""
    no_worker_warning: float = 3.0
    """After how long a waiting client warns that no worker serves the task."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            _check(each.name, value, type(cast("object", each.default)))
            if isinstance(value, str):
                object.__setattr__(self, each.name, str.__str__(value))  # (of an enum, say, the text that it is)
        if self.heartbeat * 2 > self.lease:
            raise SettingsError(
                f"heartbeat ({self.heartbeat:g} s) must be at most half of lease ({self.lease:g} s), "
                f"or one late heartbeat loses the lease"
            )

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """Given values (None: not given), else the environment's, else the defaults.

        Raises:
            SettingsError: an unknown name, or a value of the wrong kind.
        """
        known: dict[str, type] = {each.name: type(each.default) for each in fields(cls)}
        for name in given:
            if name not in known:
                raise SettingsError(f"Unknown setting {name!r}. There are: {', '.join(sorted(known))}")
        present = {name: value for name, value in given.items() if value is not None}
        found = {name: _from_environment(name, kind) for name, kind in known.items() if name not in present}
        return replace(cls(), **{name: value for name, value in found.items() if value is not None}, **present)


def _check(name: str, value: Any, kind: type) -> None:
    """One value by itself.

    Raises:
        SettingsError: it can't be.
    """
    if kind is bool:
        checks.flag(value, name, error=SettingsError)
    elif kind is int:
        low, high = _RANGES[name]
        checks.whole(value, name, low, high, error=SettingsError)
    elif kind is float:
        if checks.real(value, name, LONGEST, error=SettingsError) == 0 and name in _ABOVE_ZERO:
            raise checks.refused(name, "must be above zero", value, SettingsError)
    elif name.endswith("url"):  # never shown: it may hold a password
        if not isinstance(value, str) or len(value) > checks.MAX_TEXT_LENGTH or not value.isprintable():
            raise SettingsError(
                f"{name} must be a URL: printable text of at most {checks.MAX_TEXT_LENGTH:,} characters"
            )
    else:
        checks.storable(value, name, checks.MAX_TEXT_LENGTH, error=SettingsError)
    if name == "postgres_schema" and not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", value):
        raise SettingsError(
            f"postgres_schema must be a plain name (a-z, 0-9 and _, at most 41 characters), and is "
            f"{checks.shown(value)}"
        )
    if name == "namespace" and value:
        checks.task_name(value, "namespace", error=SettingsError, longest=checks.MAX_NAMESPACE_LENGTH)


def _from_environment(name: str, kind: type) -> Any:
    place = _PREFIX + name.upper()
    text = os.environ.get(place)
    if text is None or text == "":
        return None
    try:
        value = _boolean(text) if kind is bool else kind(text)
    except ValueError:
        raise SettingsError(f"{place} must be a {kind.__name__}, and is {checks.shown(text)}") from None
    try:
        _check(name, value, kind)
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from None
    return value


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError(word)
