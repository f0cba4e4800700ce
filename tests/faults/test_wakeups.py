"""What ends in one process wakes who waits in another."""

import statistics

from tests.faults.processes import Site


def test_a_child_in_one_process_wakes_its_parent_in_another(site: Site) -> None:
    site.worker("one_after_another")
    site.worker("child")
    took = site.spawn("one_after_another", n=50).result(timeout=500)
    p50, slowest = statistics.median(took), max(took)
    print(f"from spawn to result across processes: p50 {p50:.1f} ms, slowest {slowest:.1f} ms")
    assert p50 < 2_000, "the next look, which comes after seconds, is not what wakes"
    parents = {line.pid for line in site.journal("begin")}
    assert len(parents) == 1
    site.check_tidy()


def test_a_client_is_told_of_its_roots(site: Site) -> None:
    site.worker("child")
    refs = site.client.find("child").run_many_no_wait(
        [site.client.find("child").create_bulk_run_item({"n": n}) for n in range(500)]
    )
    assert [ref.result(timeout=500) for ref in refs] == [n * n for n in range(500)]
    site.check_tidy()
