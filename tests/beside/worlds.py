"""Two thousand worlds, less those that `tests/simulation` looks at one by one; `make test` runs it beside the tests.

They never wait for anything, and nobody waits for them before the end. So they have what tests leave of the processors,
and nothing else, until the tests have ended: had they more, they would be done before, and nobody filled what is left
then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from tests.chaos.scale import scaled
from tests.simulation import __main__ as simulation

MANY, REPEATED = 2000, scaled(100, 10)
"""All of them, and how many of those are looked at elsewhere: the first."""
PROCESSES = 2
WHEN_PARENT_ENDS = 1
OF_SESSION = Path("/proc/self/autogroup")
COMMANDS = (
    ("--first", str(REPEATED), "--seeds", str(MANY // 4 - REPEATED), "--processes", str(PROCESSES)),
    ("--first", "0", "--seeds", str(MANY - MANY // 4), "--processes", str(PROCESSES), "--brief"),
)
"""Of brief ones there are more in the same time, and they show more."""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without what it has started
    let_all_others_go_first()
    failed = [simulation.main(command) for command in COMMANDS]
    return max(failed)


def let_all_others_go_first() -> None:
    """Also what this process starts does so. Even a nice process takes a share of what others want; and Linux divides
    processors among sessions, of which each PostgreSQL server has one, before it asks who is nice."""
    with contextlib.suppress(OSError, AttributeError):  # it leads one already
        os.setsid()
    if sys.platform == "linux":  # what would have reached the session it was in
        ctypes.CDLL(None).prctl(WHEN_PARENT_ENDS, signal.SIGTERM, 0, 0, 0)
    with contextlib.suppress(OSError):  # no such division
        OF_SESSION.write_text("19")
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    elif hasattr(os, "nice"):
        os.nice(19)


if __name__ == "__main__":
    sys.exit(main())
