"""Work through a folder of files: thousands of them, some of which can't be read. Interrupted, it goes on where it was.

    python examples/files.py FOLDER

The same folder, if nothing in it has changed, is one run: asked for again, it is finished, or found as it stands.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fanwood import Fanwood, NonRetryableException, TaskRunError

fanwood = Fanwood()


@dataclass
class Words:
    path: str
    count: int


@dataclass
class Report:
    files: int
    words: int
    failed: list[str]


@fanwood.task(retries=2, backoff_factor=2)
def count_words(path: str) -> Words:
    """A sync task, in a thread. A disk that fails is tried again, a file that is no text is not."""
    try:
        return Words(path, len(Path(path).read_text(encoding="utf-8").split()))
    except UnicodeDecodeError as error:
        raise NonRetryableException(f"{Path(path).name} is no text") from error


@fanwood.task
async def read_folder(folder: str) -> Report:
    items = [count_words.create_bulk_run_item(str(path)) for path in files_of(Path(folder))]
    results = await count_words.aio_run_many(items, return_exceptions=True)
    words = [result for result in results if isinstance(result, Words)]
    failed = [result.message for result in results if isinstance(result, TaskRunError)]
    return Report(len(results), sum(each.count for each in words), failed)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and ".fanwood" not in path.parts)


def main(folder: Path) -> None:
    newest = max((path.stat().st_mtime_ns for path in files_of(folder)), default=0)
    run = read_folder.run_no_wait(str(folder), idempotency_key=f"{folder}@{newest}")
    if sys.stderr.isatty():
        for counts in fanwood.runs.watch(run.id):
            print(f"\r{counts.ended} of {counts.total} files, {counts.failed} failed", end="", file=sys.stderr)
        print(file=sys.stderr)
    report = run.result()
    print(f"{report.words} words in {report.files} files")
    for why in report.failed:
        print(f"failed: {why}")


def samples(folder: Path) -> Path:
    """Something to work on, if nothing else is named."""
    for number in range(200):
        (folder / f"{number:03}.txt").write_text("one word after another " * number, encoding="utf-8")
    (folder / "photo.txt").write_bytes(b"\xff\xd8\xff")
    return folder


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(samples(Path(folder)))
