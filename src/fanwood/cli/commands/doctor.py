"""`fanwood doctor`: is the store sound, and does anybody work on it?"""

from __future__ import annotations

import click

from fanwood.cli.base import Command, Common, common


@click.command(
    name="doctor",
    cls=Command,
    epilog="Example:\n  fanwood doctor && echo all is well\n\n"
    "Exit code: 0 all is well, 1 there are problems (no database is one).\n\n"
    "JSON: {url, store: {kind, version, schema, durability, durable, bytes} | null, counted,\n"
    "  runs: {state: count; null if not counted}, closing, orphans: [id],\n"
    "  engines: [{id, name, host, pid, kind, live, verdict, slots, running, started_at, lease_seconds_left}],\n"
    "  problems: [text]}",
)
@click.option("--full", is_flag=True, help="Count and check all runs, and a SQLite file's every page. Takes its time.")
@common
def command(full: bool, common: Common) -> None:
    """Check the database: version, durability, what always holds of runs, live workers. Changes nothing."""
    from fanwood.cli import doctor

    doctor.doctor(full, common)
