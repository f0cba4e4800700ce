"""`python -m benchmarks`: measure, print a table, write JSON."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from benchmarks import catalogue, report, runner
from benchmarks.machine import examine
from fanwood import Settings

OUTPUT = runner.CHECKOUT / ".bench"
"""Git ignores it. Databases go here as well: the checkout is on a disk, and /tmp often is not."""
SQLITE = "sqlite:///"

EPILOG = """\
examples:
  python -m benchmarks                        everything, in under three minutes
  python -m benchmarks --quick                small sizes: does it work, and roughly how fast
  python -m benchmarks --only fanout,cold     what begins with these names
  python -m benchmarks --url sqlite:////mnt/other/bench.db    on another disk

exit code: 0; 1 if a benchmark failed; with --check also if a figure misses its target
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        benchmarks = catalogue.chosen(options.only)
        folder = _folder(options.url)
    except ValueError as error:
        parser.error(str(error))
    benchmarks = [catalogue.sized(b, quick=options.quick, size=options.size) for b in benchmarks]
    with _progress() as progress, tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as temporary:
        machine = examine(Path(temporary))
        plan = runner.Plan(benchmarks, options.repeat, options.slots, Path(temporary))
        results = runner.run(plan, progress)
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
    add("--only", type=_names, default=[], metavar="NAMES", help=f"of: {', '.join(catalogue.names())}")
    add("--repeat", type=_positive, default=3, metavar="N", help="how often; medians are shown (default: 3)")
    add("--size", type=_positive, metavar="N", help="no benchmark larger than that")
    add("--slots", type=_positive, default=Settings().slots, metavar="N", help="where a benchmark has none of its own")
    add("--url", metavar="URL", help="new databases beside this one, e.g. on another disk; it is not touched itself")
    add("--json", type=Path, default=OUTPUT / "latest.json", metavar="FILE", help="default: .bench/latest.json")
    add("--check", action="store_true", help="exit with 1 if a figure misses its target")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, and is {number}")
    return number


def _folder(url: str | None) -> Path:
    """Where the databases go.

    Raises:
        ValueError: the URL is no SQLite database's, or its folder isn't there.
    """
    if url is None:
        OUTPUT.mkdir(exist_ok=True)
        return OUTPUT
    if not url.startswith(SQLITE) or len(url) == len(SQLITE):
        raise ValueError(f"--url must be sqlite:///relative/path.db or sqlite:////absolute/path.db, and is {url!r}")
    folder = Path(unquote(url.removeprefix(SQLITE))).expanduser().absolute().parent
    if not folder.is_dir():
        raise ValueError(f"--url: there is no folder {folder}")
    return folder


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
