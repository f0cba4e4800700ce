"""`python -m benchmarks`: measure, print a table, write JSON."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import catalogue, report, runner
from benchmarks.arguments import names, positive
from benchmarks.databases import STORES
from benchmarks.machine import examine
from benchmarks.places import here, places, stores_for
from fanwood import Settings

OUTPUT = runner.CHECKOUT / ".bench"
"""Git ignores it. Databases go here as well: the checkout is on a disk, and /tmp often is not."""

EPILOG = """\
examples:
  python -m benchmarks                        everything, in half an hour
  python -m benchmarks --quick                small sizes: does it work, and roughly how fast
  python -m benchmarks --store postgres       on a server that is started for it, with the settings of a new one
  python -m benchmarks --only fanout,cold     what begins with these names
  python -m benchmarks --url sqlite:////mnt/other/bench.db            on another disk
  python -m benchmarks --url postgresql://me@127.0.0.1/bench          on a server that runs

exit code: 0; 1 if a benchmark failed; with --check also if a figure misses its target
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    with _progress() as progress, ExitStack() as stack:
        try:
            stores, left_out = stores_for(options.store, options.url)
            benchmarks = catalogue.chosen(options.only, stores)
            found = stack.enter_context(places({b.store for b in benchmarks}, options.url, OUTPUT))
            machine = examine(*here(found))
        except ValueError as error:
            parser.error(str(error))
        if left_out:
            print(left_out, file=sys.stderr)
        benchmarks = [catalogue.sized(b, quick=options.quick, size=options.size) for b in benchmarks]
        results = runner.run(runner.Plan(benchmarks, options.repeat, options.slots, found), progress)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made = report.Report(machine, results, options.repeat, options.quick, when)
    print(report.table(made))
    _write(made, options.json)
    return 1 if made.failed or (options.check and made.missed) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Fanwood beside the raw floor of its database, on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="small sizes")
    add("--store", type=names, default=[], metavar="NAMES", help=f"of: {', '.join(STORES)} (default: what is there)")
    add("--only", type=names, default=[], metavar="NAMES", help=f"of: {', '.join(catalogue.names())}")
    add("--repeat", type=positive, default=3, metavar="N", help="how often; medians are shown (default: 3)")
    add("--size", type=positive, metavar="N", help="no benchmark larger than that")
    add("--slots", type=positive, default=Settings().slots, metavar="N", help="where a benchmark has none of its own")
    add("--url", metavar="URL", help="this store only: new files beside that one, or new schemas in that database")
    add("--json", type=Path, default=OUTPUT / "latest.json", metavar="FILE", help="default: .bench/latest.json")
    add("--check", action="store_true", help="exit with 1 if a figure misses its target")
    return parser


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """One line on a terminal that says what is being measured, and goes when all is done; nothing in a pipe."""

    def show(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text} ...", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _write(made: report.Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.as_json(made), indent=2) + "\n", encoding="utf-8")
    print(f"\nAs JSON: {path}")


if __name__ == "__main__":
    sys.exit(main())
