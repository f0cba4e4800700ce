"""`fanwood events`."""

from __future__ import annotations

import json

from fanwood import Context, Fanwood
from tests.semantics.test_events import until_waiting


def test_events_are_pushed_and_looked_at(invoke, tmp_path):
    url = f"sqlite:///{tmp_path}/events.db"
    with Fanwood(url) as app:

        @app.task
        def wait(input: dict, ctx: Context) -> dict:
            return ctx.wait_for_event("paid", match={"order": 7}, scope="shop")

        ref = wait.run_no_wait({})
        until_waiting(app, ref.id)
        said = invoke("events", "push", "paid", '{"order": 7}', "--scope", "shop", "--id", "e7", "--url", url)
        assert (said.exit_code, said.stdout) == (0, "Pushed: paid e7\n")
        assert ref.result(60) == {"order": 7}
    taken = invoke("events", "push", "paid", "8", "--id", "e7", "--url", url)
    assert (taken.exit_code, "'e7' is taken" in taken.stderr) == (2, True)
    assert invoke("events", "push", "", "--url", url).exit_code == 2
    assert invoke("events", "push", "unpaid", "--url", url, "--json").exit_code == 0
    listed = invoke("events", "ls", "--url", url).stdout.splitlines()
    assert [line.split()[1] for line in listed] == ["unpaid", "paid"]
    (event,) = json.loads(invoke("events", "ls", "--key", "paid", "--since", "1h", "--url", url, "--json").stdout)[
        "events"
    ]
    assert event["payload"] == {"order": 7}
    assert json.loads(invoke("events", "get", "e7", "--url", url, "--json").stdout) == event
    assert "paid" in invoke("events", "get", "e7", "--url", url).stdout
    gone = invoke("events", "get", "nothing", "--url", url)
    assert (gone.exit_code, "no event" in gone.stderr) == (2, True)
