"""Worlds, one after another, on all cores: `make simulate`. With `--seed` one of them, and its story.

It ends with 1 at the first world in which something was that must not be, makes that smaller, and says how to see it
again.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path

from tests.places import in_memory
from tests.simulation import grounds
from tests.simulation.looking import Seen, Total, look_at
from tests.simulation.shapes import BRIEF, DAY, ODD, OTHERS, SMALL, STORES, Less, Shape, named, on
from tests.simulation.shrinking import shrunk
from tests.simulation.world import FAULTS

MANY = 500
"""Worlds in which everything that may happen should happen once."""
SEEDS = Path(__file__).with_name("seeds.txt")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one world, and its story if something is wrong")
    parser.add_argument("--without", default="", metavar="FAULTS", help="of that world: faults that there are not")
    parser.add_argument("--drop", default="", metavar="RUNS", help="of that world: numbers of runs that there are not")
    parser.add_argument("--day", action="store_true", help="that world is a day of twenty workers")
    parser.add_argument("--brief", action="store_true", help="in all worlds there is one tree, and few workers")
    parser.add_argument(
        "--shape", default="", metavar="NAMES",
        help=f"all worlds are of this one, or of several, with +: {', '.join(OTHERS)}; or each has some ({ODD})",
    )  # fmt: skip
    parser.add_argument("--store", choices=STORES, default="", help="all worlds stand on this one")
    parser.add_argument("--pages", type=int, help="of all worlds: what a page is; 0: as much as usual")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="where to begin")
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many worlds")
    parser.add_argument("--minutes", type=float, default=0, help="as long as this, instead of a number of worlds")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--remember", action="store_true", help="a seed that shows something goes into seeds.txt")
    options = parser.parse_args(arguments)
    if options.seed is None:
        return _many(options)
    faults = tuple(filter(None, options.without.split(",")))
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"there are no faults {unknown}; there are: {', '.join(FAULTS)}")
    less = Less(faults, tuple(map(int, filter(None, options.drop.split(",")))))
    seen = look_at(options.seed, less, on(options.store, DAY if options.day else _usual(options), options.pages))
    print(seen.wrong or f"seed {seen.seed}: {seen.runs} runs, {seen.seconds:.0f} s, trace {seen.trace}")
    return 1 if seen.wrong else 0


def _usual(options: argparse.Namespace) -> Shape:
    return named(options.shape) if options.shape else BRIEF if options.brief else SMALL


def _many(options: argparse.Namespace) -> int:
    last = sys.maxsize if options.minutes else options.first + options.seeds
    shape = on(options.store, _usual(options), options.pages)
    look = partial(look_at, shape=shape)
    total, begin, wrong = Total(shape), time.monotonic(), None
    with (
        tempfile.TemporaryDirectory(
            prefix="worlds", dir=in_memory()
        ) as folder,  # whoever of them is ended leaves a file
        _made(options.processes, folder) as pool,
    ):
        _listen()
        # (Nobody waits for the others before the end: who has the processor only when nobody else wants it may be long
        # at the last of a few.)
        for seen in pool.imap_unordered(look, range(options.first, last), chunksize=2):
            total.add(seen)
            if sys.stdout.isatty():
                line = total.line(time.monotonic() - begin)
                print(f"\r{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
            wrong = seen if seen.wrong else None
            if wrong or (options.minutes and time.monotonic() - begin > options.minutes * 60):
                break
    print(f"\r{total.line(time.monotonic() - begin)}\n{total.coverage()}")
    if wrong is not None:
        _tell(wrong, shape, remember=options.remember)
        return 1
    if total.worlds >= MANY and total.never:
        print(f"In so many worlds there was never: {', '.join(total.never)}")
        return 1
    return 0


def _made(processes: int, folder: str) -> Pool:
    """Nobody ends this process while it makes others, that would be left behind; until it listens again."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return multiprocessing.Pool(processes, _begin, (folder,), maxtasksperchild=200)


def _listen() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _begin(folder: str) -> None:
    """In each process."""
    grounds.where = folder
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever our parent does then
    _listen()
    gc.freeze()


def _tell(wrong: Seen, shape: Shape, *, remember: bool) -> None:
    """What is wrong in a world, of which as much as can be is left out."""
    name = f"{wrong.seed}{shape}"
    if remember and not any(line.startswith(f"{name} ") for line in SEEDS.read_text("utf-8").split("\n")):
        with SEEDS.open("a", encoding="utf-8") as file:
            file.write(f"{name} {wrong.wrong.splitlines()[-2][:200]}\n")
    _, seen = shrunk(wrong.seed, partial(look_at, shape=shape))
    found = seen if seen.wrong else wrong
    print(f"\n{found.wrong}\nAll of it: python -m tests.simulation --seed {name}")


if __name__ == "__main__":
    sys.exit(main())
