"""Roles of a cluster that the tests share, gone with all that they own and may."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from tests.postgres.cluster import Cluster

_numbers = itertools.count(1)


@contextmanager
def role(cluster: Cluster, database: str) -> Iterator[str]:
    """A new one that may log in, and nothing else; `database` is where it will be given something."""
    name = f"role_{next(_numbers)}"
    cluster.execute(f"create role {name} login")
    try:
        yield name
    finally:
        cluster.execute(f"drop owned by {name} cascade", database=database)
        cluster.execute(f"drop role {name}")


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


def as_role(url: str, name: str) -> str:
    """The same database, for another role."""
    return url.replace("://postgres@", f"://{name}@")
