"""Who may do what, with exactly the grants that docs/howto/production.md lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from click.testing import CliRunner, Result

from fanwood import Fanwood, StoreReadOnlyError, TaskRunError
from fanwood.cli.main import cli
from tests.docs.pages import page, section
from tests.postgres.cluster import Cluster
from tests.postgres.roles import as_role, database_of, role

pytestmark = pytest.mark.empty_database

OUTSET, GRANTS, STRICTER, FUNCTIONS, READING = re.findall(
    r"^```sql\n(.*?)^```", section(page("docs/howto/production.md"), "## Roles and grants"), re.DOTALL | re.MULTILINE
)


@dataclass
class Place:
    """A database, and the page's roles in it under other names, which don't live longer than it."""

    cluster: Cluster
    url: str
    names: dict[str, str]

    def url_of(self, name: str) -> str:
        return as_role(self.url, self.names[name])

    def say(self, script: str, by: str | None = None) -> None:
        """What the page says; the roles are there already."""
        lines = [line for line in script.splitlines() if not line.startswith("create role")]
        text = "\n".join(lines).replace("database shop", f"database {database_of(self.url)}")
        for name in sorted(self.names, key=len, reverse=True):
            text = text.replace(f" {name};", f" {self.names[name]};")
        begin = f"set role {self.names[by]};" if by else ""
        self.cluster.execute(f"{begin}{text}", database=database_of(self.url))


@pytest.fixture
def place(postgres_cluster: Cluster, postgres_url: str) -> Iterator[Place]:
    with ExitStack() as stack:
        names = {
            name: stack.enter_context(role(postgres_cluster, database_of(postgres_url)))
            for name in ("shop_reader", "shop", "shop_owner")
        }
        yield Place(postgres_cluster, postgres_url, names)


def command(place: Place, name: str, *arguments: str) -> Result:
    url = place.url_of(name)
    return CliRunner().invoke(cli, [*arguments, "--url", url], prog_name="fanwood")


@pytest.fixture
def made(place: Place) -> Place:
    """The owner has migrated."""
    place.say(OUTSET)
    assert command(place, "shop_owner", "db", "migrate").exit_code == 0
    return place


def a_tree_and_all_else(app: Fanwood) -> None:
    """Everything that workers and clients do."""

    @app.task(retries=1)
    async def child(n: int) -> int:
        app.get_current_context().log(f"child {n}")
        if n == 1 and app.get_current_context().retry_count == 0:
            raise ValueError(n)
        return n

    @app.task
    async def parent(n: int) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)]))

    @app.task
    async def broken(n: int) -> None:
        raise ValueError(n)

    ref = parent.run_no_wait(5, idempotency_key="once")
    assert ref.result(timeout=60) == 10
    assert parent.run_no_wait(5, idempotency_key="once").id == ref.id
    assert len(app.runs.children(ref.id)) == 5
    failed = broken.run_no_wait(1)
    for again in (True, False):
        with pytest.raises(TaskRunError):
            failed.result(timeout=60)
        assert app.runs.cancel(failed.id) == 0
        if again:
            assert app.runs.replay(failed.id)


def test_a_worker_and_a_client(made: Place, make_app: Callable[..., Fanwood]):
    made.say(GRANTS, by="shop_owner")
    app = make_app(url=made.url_of("shop"), retention_days=1)
    a_tree_and_all_else(app)
    app.close()
    assert command(made, "shop", "doctor").exit_code == 0
    assert command(made, "shop", "db", "prune", "--older-than", "0.001").exit_code == 0
    assert command(made, "shop", "runs", "ls").stdout == ""


def test_they_may_do_no_more(made: Place):
    made.say(GRANTS, by="shop_owner")
    for script in (
        "create table fanwood.mine ()",
        "alter table fanwood.run drop column input",
        "update fanwood.schema_migration set checksum = 'x'",
        "truncate fanwood.run",
    ):
        with pytest.raises(Exception, match=r"permission denied|must be owner"):
            made.say(script, by="shop")


def test_what_the_page_says_can_be_taken_away_as_well(made: Place, make_app: Callable[..., Fanwood]):
    made.say(GRANTS, by="shop_owner")
    made.say(STRICTER, by="shop_owner")
    a_tree_and_all_else(make_app(url=made.url_of("shop")))
    assert command(made, "shop", "doctor").exit_code == 0
    assert command(made, "shop", "db", "prune", "--older-than", "0.001").exit_code == 2


def test_where_functions_are_not_everybodys(place: Place, make_app: Callable[..., Fanwood]):
    place.say(OUTSET)
    owner = place.names["shop_owner"]
    place.say(f"alter default privileges for role {owner} revoke execute on functions from public;")
    assert command(place, "shop_owner", "db", "migrate").exit_code == 0
    place.say(GRANTS, by="shop_owner")
    app = make_app(url=place.url_of("shop"))
    with pytest.raises(StoreReadOnlyError, match=r"permission denied for function .* docs/howto/production\.md lists"):
        app.engine()
    place.say(FUNCTIONS, by="shop_owner")
    a_tree_and_all_else(make_app(url=place.url_of("shop")))


def test_who_only_looks(made: Place, make_app: Callable[..., Fanwood]):
    made.say(GRANTS, by="shop_owner")
    made.say(READING, by="shop_owner")
    app = make_app(url=made.url_of("shop"))
    a_tree_and_all_else(app)
    root = app.runs.list()[-1].id
    app.close()
    for arguments in [("doctor",), ("runs", "ls"), ("runs", "get", root), ("tree", root)]:
        done = command(made, "shop_reader", *arguments)
        assert done.exit_code == 0, done.output
    done = command(made, "shop_reader", "runs", "retry", root, "--force")
    assert done.exit_code == 2
    assert "permission denied for table run. The role needs the grants that docs/howto/production.md" in done.stderr
