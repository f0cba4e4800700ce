"""
An empty database for each test, quickly: a server takes a tenth of a second and more to create one and to drop it, but
little to empty one. A new name comes with each use, so that what is left of one test can't reach into the next.
"""

from __future__ import annotations

import itertools

from tests.postgres.cluster import Cluster

_DISCONNECT = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""

_EMPTY = """
    do $$
    declare name text;
    begin
        for name in
            select nspname from pg_namespace where nspname !~ '^(pg_|information_schema$|public$)'
        loop
            execute format('drop schema %I cascade', name);
        end loop;
    end $$
"""

# What a test may leave in a database besides schemas. Whatever it is, it makes a number here another than at first.
_INVENTORY = """
    select
        (select count(*) from pg_class where relnamespace = 'public'::regnamespace),
        (select count(*) from pg_proc), (select count(*) from pg_type where typnamespace = 'public'::regnamespace),
        (select count(*) from pg_extension), (select count(*) from pg_largeobject_metadata),
        (select count(*) from pg_publication), (select count(*) from pg_event_trigger),
        (select count(*) from pg_default_acl), (select count(*) from pg_db_role_setting),
        (select nspacl::text from pg_namespace where nspname = 'public'),
        (select datacl::text from pg_database where datname = current_database()),
        (select datconnlimit from pg_database where datname = current_database())
"""


class Databases:
    """Those of one cluster; as many are there at a time as are in use."""

    _numbers = itertools.count(1)  # for all of us: two may have the same cluster

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._free: list[str] = []
        self._as_new: list[tuple[object, ...]] = []

    def take(self) -> str:
        """The name of an empty database."""
        name = f"test_{next(self._numbers)}"
        if self._free:
            self._cluster.execute(f"alter database {self._free.pop()} rename to {name}")
        else:
            self._cluster.create_database(name)
            self._as_new = self._cluster.fetch(_INVENTORY, database=name)
        return name

    def give_back(self, name: str) -> None:
        """Nobody is connected to it any more, then."""
        self._cluster.execute(f"{_DISCONNECT}; {_EMPTY}", database=name)
        if self._cluster.fetch(_INVENTORY, database=name) == self._as_new:
            self._free.append(name)
        else:
            self._cluster.drop_database(name)
