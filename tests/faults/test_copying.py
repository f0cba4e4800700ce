"""A tree whose worker was killed half-way is copied to another database, and finishes there."""

from pathlib import Path

from click.testing import CliRunner

from fanwood.cli.main import cli
from fanwood.ids import id_bytes
from fanwood.model.states import RunState
from tests.faults.processes import Site, until

CHILDREN = 40


def test_a_tree_that_was_copied_half_way_finishes_on_the_other_side(site: Site, tmp_path: Path) -> None:
    worker = site.worker(slots=4)
    ref = site.spawn("parent", n=CHILDREN, seconds=1)  # (so that it is in the middle, whenever we come to look)
    until(lambda: site.in_state(RunState.COMPLETED) >= 8, "some children are done")
    worker.kill()
    site.client.close()
    done = site.completed()
    attempt = site.count("select attempt from run where id = ?", id_bytes(ref.id))
    (tmp_path / "other").mkdir()
    with Site(tmp_path / "other") as other:
        result = CliRunner().invoke(cli, ["db", "copy", site.url, other.url], prog_name="fanwood")
        assert result.exit_code == 0, result.output
        assert other.in_state(RunState.RUNNING) == 0
        other.worker()
        assert other.client.runs.get_run_ref(ref.id).result(300) == sum(n * n for n in range(CHILDREN))
        other.check_never_again(done)
        assert not {line.run.replace("-", "") for line in other.journal("begin")} & set(done)
        assert other.count("select count(*) from run") == CHILDREN + 1
        assert other.count("select attempt from run where id = ?", id_bytes(ref.id)) > attempt
        other.check_tidy()
