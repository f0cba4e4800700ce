"""Two thousand worlds, less those that `tests/simulation` looks at one by one; `make test` runs it beside the tests.

They never wait for anything, and nobody waits for them before the end. So they let all others go first: what tests
leave of the processors is theirs, and all of it once the tests have ended.
"""

from __future__ import annotations

import os
import signal
import sys

from tests.simulation import __main__ as simulation

MANY, REPEATED = 2000, 100
"""All of them, and how many of those are looked at elsewhere: the first."""
PROCESSES = 2
NICE = 10
COMMAND = ("--first", str(REPEATED), "--seeds", str(MANY - REPEATED), "--processes", str(PROCESSES))


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without what it has started
    if hasattr(os, "nice"):
        os.nice(NICE)
    sys.argv[1:] = COMMAND
    return simulation.main()


if __name__ == "__main__":
    sys.exit(main())
