"""`python -m benchmarks.growth`: whether any verb takes longer because there is more history.

Two databases of one store, one with little history and one with much. Each verb is measured many times, on the one and
on the other by turns, so that the machine's drift meets both; medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arguments import names
from benchmarks.databases import Database
from benchmarks.growth_ground import Ground, ground
from benchmarks.growth_verbs import VERBS, Verb
from benchmarks.history import STEP
from benchmarks.machine import examine
from benchmarks.places import here, places, stores_for
from benchmarks.report import NAMES
from benchmarks.runner import CHECKOUT
from fanwood.engine.signals import new_loop
from fanwood.errors import StoreError

OUTPUT = CHECKOUT / ".bench"
LIMIT = 1.3
WARM_UP = 5
NOISE = 50e-6
"""Seconds: what is not worth mentioning, whatever the ratio."""
LEAST = 60 * STEP
"""Below that there is too little of something for a page."""

EPILOG = """\
examples:
  python -m benchmarks.growth                                        both stores, some ten minutes
  python -m benchmarks.growth --store sqlite --large 1000000
  python -m benchmarks.growth --only listing,tree --rounds 100       what begins with these names

exit code: 0; 1 if a verb failed; with --check also if one takes more than 1.3 times as long
"""


@dataclass(frozen=True)
class Grown:
    """What one figure was, in the small and in the large database: seconds, round by round."""

    store: str
    name: str
    small: list[float]
    large: list[float]
    problem: str = ""  # why it could not be measured

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.small), statistics.median(self.large)

    @property
    def ratio(self) -> float:
        small, large = self.medians
        return large / small

    @property
    def exceeds(self) -> bool:
        if self.problem:
            return False
        small, large = self.medians
        return self.ratio > LIMIT and large - small > NOISE


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    grown: list[Grown] = []
    with ExitStack() as stack:
        try:
            stores, left_out = stores_for(options.store, options.url)
            verbs = _chosen(options.only)
            found = stack.enter_context(places(stores, options.url, OUTPUT))
            machine = examine(*here(found))
        except ValueError as error:
            parser.error(str(error))
        print(left_out or machine)
        for store in stores:
            with found[store].new() as database, asyncio.Runner(loop_factory=new_loop) as runner:
                figures = runner.run(measure(database, verbs, (options.small, options.large), options.rounds))
            grown += figures
            print(f"\n{table(figures, options.small, options.large)}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(grown, options.small, options.large), indent=2) + "\n", encoding="utf-8")
    print(f"\nAs JSON: {options.json}")
    return 1 if any(each.problem or (options.check and each.exceeds) for each in grown) else 0


async def measure(database: Database, verbs: Sequence[Verb], sizes: tuple[int, int], rounds: int) -> list[Grown]:
    """All verbs, on two new databases of those sizes."""
    small, large = [await _filled(database, name, runs) for name, runs in zip(("small", "large"), sizes, strict=True)]
    figures: list[Grown] = []
    try:
        for verb in verbs:
            figures += await _measure(database.store, verb, small, large, min(rounds, verb.rounds or rounds))
    finally:
        for made in (small, large):
            await made.store.close()
    return figures


async def _filled(database: Database, name: str, runs: int) -> Ground:
    start = time.perf_counter()
    made = await ground(database, name, runs)
    print(f"{runs:,} runs were written to {database.store} in {time.perf_counter() - start:.0f} s", flush=True)
    return made


async def _measure(store: str, verb: Verb, small: Ground, large: Ground, rounds: int) -> list[Grown]:
    """By turns, and the first ones of both for nothing."""
    grown = {name: Grown(store, name, [], []) for name in verb.names}
    warm_up = min(WARM_UP, rounds)
    try:
        for number in range(warm_up + rounds):
            for made in (small, large) if number % 2 else (large, small):
                for name, seconds in (await verb.measure(made)).items():
                    if number >= warm_up:
                        (grown[name].small if made is small else grown[name].large).append(seconds)
    except (StoreError, AssertionError) as error:  # the others are measured all the same
        return [Grown(store, name, [0.0], [0.0], f"{type(error).__name__}: {error}") for name in verb.names]
    return list(grown.values())


def _chosen(only: Sequence[str]) -> list[Verb]:
    """Those of which a figure's name begins so.

    Raises:
        ValueError: there is none.
    """
    chosen = [v for v in VERBS if not only or any(name.startswith(o) for name in v.names for o in only)]
    if not chosen:
        raise ValueError(f"no verb begins with {', '.join(only)}")
    return chosen


# --- showing it ------------------------------------------------------------------------------------------------------


def table(figures: Sequence[Grown], small: int, large: int) -> str:
    store = NAMES[figures[0].store]
    lines = [store, "=" * len(store), f"{'':40}{small:>12,}{large:>14,}{'ratio':>8}"]
    for each in figures:
        if each.problem:
            lines.append(f"{each.name:40}FAILED: {each.problem}")
            continue
        one, other = (f"{seconds * 1e3:,.3f} ms" for seconds in each.medians)
        mark = f"  MORE THAN {LIMIT}" if each.exceeds else ""
        lines.append(f"{each.name:40}{one:>12}{other:>14}{each.ratio:>8.2f}{mark}")
    worst = sum(each.exceeds for each in figures)
    lines.append(f"{len(figures)} figures, {worst} of them above {LIMIT} times")
    return "\n".join(lines)


def as_json(grown: Sequence[Grown], small: int, large: int) -> dict[str, Any]:
    return {
        "small": small,
        "large": large,
        "limit": LIMIT,
        "figures": [
            {
                "store": each.store, "name": each.name, "small": each.medians[0], "large": each.medians[1],
                "ratio": None if each.problem else each.ratio, "exceeds": each.exceeds, "error": each.problem or None,
                "samples": {"small": each.small, "large": each.large},
            }
            for each in grown
        ],
    }  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Measure each verb with little and with much history.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--store", type=names, default=[], metavar="NAMES", help="of: sqlite, postgres (default: what is there)")
    add("--url", metavar="URL", help="this store only: new files beside that one, or new schemas in that database")
    add("--small", type=_runs, default=100_000, metavar="N", help="runs of history (default: 100,000)")
    add("--large", type=_runs, default=5_000_000, metavar="N", help="the same (default: 5,000,000)")
    add("--rounds", type=int, default=40, metavar="N", help="how often (default: 40)")
    add("--only", type=names, default=[], metavar="NAMES", help="verbs that begin so")
    add("--json", type=Path, default=OUTPUT / "growth.json", metavar="FILE", help="default: .bench/growth.json")
    add("--check", action="store_true", help="exit with 1 if a verb exceeds its limit")
    return parser


def _runs(text: str) -> int:
    number = int(text)
    if number < LEAST:
        raise argparse.ArgumentTypeError(f"must be at least {LEAST:,}, and is {number:,}")
    return number


if __name__ == "__main__":
    sys.exit(main())
