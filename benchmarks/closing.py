"""`python -m benchmarks.closing`: what happens to everybody else while something very large ends.

Worker processes on a database whose state was made in bulk; a client whose small runs show whether a worker is
disturbed; and a connection that looks at what is recorded, and when leases are renewed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.arguments import names, positive
from benchmarks.closing_scenarios import SCENARIOS, Scenario, Sizes
from benchmarks.closing_stage import Figure
from benchmarks.databases import Place
from benchmarks.machine import examine
from benchmarks.places import here, places, stores_for
from benchmarks.report import NAMES
from benchmarks.runner import CHECKOUT
from fanwood.engine.signals import new_loop

OUTPUT = CHECKOUT / ".bench"
DIGITS = {"s": 3, "ms": 1, "x": 1, "/s": 0, "": 0}

EPILOG = f"""\
examples:
  python -m benchmarks.closing                                  everything, in some ten minutes
  python -m benchmarks.closing --store sqlite --only fails,tree --children 20000 --tree 10000
  python -m benchmarks.closing --only tree --cancels 20         "nothing starts after it returned", twenty times

scenarios: {", ".join(SCENARIOS)}
exit code: 0; 1 if a scenario failed; with --check also if a figure misses its limit
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    sizes = Sizes(**{name: getattr(options, name) for name in Sizes.__annotations__})
    told: list[dict[str, Any]] = []
    failed = missed = False
    with ExitStack() as stack:
        try:
            stores, left_out = stores_for(options.store, options.url)
            chosen = _chosen(options.only)
            found = stack.enter_context(places(stores, options.url, OUTPUT))
            machine = examine(*here(found))
        except ValueError as error:
            parser.error(str(error))
        print(left_out or machine)
        for store in stores:
            print(f"\n{NAMES[store]}\n{'=' * len(NAMES[store])}")
            for name in chosen:
                title, scenario = SCENARIOS[name]
                print(f"\n{title.format(**asdict(sizes))}", flush=True)
                figures, problem = _run(scenario, found[store], sizes)
                print("\n".join(_line(figure) for figure in figures) or f"  FAILED: {problem}", flush=True)
                failed = failed or problem is not None
                missed = missed or any(figure.met is False for figure in figures)
                told.append(_as_json(store, name, figures, problem))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"sizes": asdict(sizes), "scenarios": told}, indent=2) + "\n", encoding="utf-8")
    print(f"\nAs JSON: {options.json}")
    return 1 if failed or (options.check and missed) else 0


def _run(scenario: Scenario, place: Place, sizes: Sizes) -> tuple[list[Figure], str | None]:
    """Its figures, or why there are none: the others are measured all the same."""
    try:
        with place.new() as database, asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(scenario(database, sizes)), None
    except Exception as error:
        return [], f"{type(error).__name__}: {error}"


def _chosen(only: Sequence[str]) -> list[str]:
    """
    Raises:
        ValueError: nothing begins so.
    """
    chosen = [name for name in SCENARIOS if not only or name.startswith(tuple(only))]
    if not chosen:
        raise ValueError(f"no scenario's name begins with {', '.join(only)}; there are: {', '.join(SCENARIOS)}")
    return chosen


def _line(figure: Figure) -> str:
    digits = DIGITS[figure.unit]
    limit = "" if figure.limit is None else f"{'>=' if figure.least else '<='} {figure.limit:,g}"
    verdict = {True: "ok", False: "MISSED", None: ""}[figure.met]
    return f"  {figure.label:52}{figure.value:>12,.{digits}f} {figure.unit:3} {limit:12} {verdict}".rstrip()


def _as_json(store: str, name: str, figures: Sequence[Figure], problem: str | None) -> dict[str, Any]:
    return {
        "store": store,
        "name": name,
        "error": problem,
        "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.closing",
        description="End something very large, and see whether anybody else is disturbed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, sizes = parser.add_argument, Sizes()
    add("--store", type=names, default=[], metavar="NAMES", help="of: sqlite, postgres (default: what is there)")
    add("--url", metavar="URL", help="this store only: new files beside that one, or new schemas in that database")
    add("--only", type=names, default=[], metavar="NAMES", help="scenarios that begin so")
    for name, default in asdict(sizes).items():
        add(f"--{name}", type=positive, default=default, metavar="N", help=f"default: {default:,}")
    add("--json", type=Path, default=OUTPUT / "closing.json", metavar="FILE", help="default: .bench/closing.json")
    add("--check", action="store_true", help="exit with 1 if a figure misses its limit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
