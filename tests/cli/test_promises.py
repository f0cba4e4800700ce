"""`fanwood promises`."""

from __future__ import annotations

import json
from queue import Queue

import pytest

from fanwood import Context, Fanwood
from fanwood.errors import TaskRunError


def test_promises_are_settled(invoke, tmp_path):
    url = f"sqlite:///{tmp_path}/promises.db"
    tokens: Queue[str] = Queue()
    with Fanwood(url) as app:

        @app.task
        def ask(input: dict, ctx: Context) -> bool:
            promise = ctx.promise(bool, "approval")
            tokens.put(promise.token)
            return promise.result()

        ref = ask.run_no_wait({})
        token = tokens.get(timeout=60)
        wrong = invoke("promises", "resolve", token, "7", "--url", url)
        assert (wrong.exit_code, "must be boolean" in wrong.stderr) == (2, True)
        assert invoke("promises", "resolve", token, "yes", "--url", url).stderr.startswith("error: VALUE is not JSON")
        said = invoke("promises", "resolve", token, "true", "--url", url)
        assert (said.exit_code, "is resolved" in said.stdout) == (0, True)
        assert ref.result(60) is True
        again = json.loads(invoke("promises", "resolve", token, "true", "--url", url, "--json").stdout)
        assert (again["status"], again["settled"]) == ("COMPLETED", False)
        late = invoke("promises", "reject", token, "--url", url)
        assert (late.exit_code, "resolved already, with true" in late.stderr) == (2, True)

        ref = ask.run_no_wait({})
        assert invoke("promises", "reject", tokens.get(timeout=60), "--reason", "no", "--url", url).exit_code == 0
        with pytest.raises(TaskRunError, match="Rejected: no"):
            ref.result(60)
    assert "no token of a promise" in invoke("promises", "resolve", token[:-1], "true", "--url", url).stderr
