"""Every SQL block of the documentation is run, in a database with a schema of Fanwood's; nothing of it stays there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanwood import Fanwood
from tests.docs.pages import PAGES, blocks, named
from tests.postgres.cluster import Cluster

WITH_SQL = [path for path in PAGES if any(block.info == "sql" for block in blocks(path))]


@pytest.mark.parametrize("path", WITH_SQL, ids=named)
def test_sql(path: Path, postgres_cluster: Cluster, postgres_url: str):
    with Fanwood(postgres_url, local_worker=False) as app:
        app.engine()  # opens it, and so makes the schema
    script = "\n".join(block.text for block in blocks(path) if block.info == "sql")
    name = postgres_url.rpartition("/")[2]
    script = script.replace(" database shop ", f" database {name} ")
    postgres_cluster.execute(f"begin;\n{script}\nrollback;", database=name)
