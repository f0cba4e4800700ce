"""What the process of a measurement is told."""

from dataclasses import dataclass

import msgspec

from benchmarks.databases import Database


@dataclass(frozen=True)
class Job:
    """One measurement: which, how large, with how many slots, and where. It travels as JSON, on stdin: a server's URL
    may hold a password, and what stands in a command line is everybody's to see."""

    workload: str
    size: int
    slots: int
    database: Database

    @classmethod
    def parse(cls, text: str) -> "Job":
        return msgspec.json.decode(text, type=cls)

    def text(self) -> str:
        return msgspec.json.encode(self).decode()
