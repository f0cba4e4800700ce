"""What a run says of itself while it runs, for who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.errors import AttemptFencedError, PayloadTooLargeError
from fanwood.ids import id_text
from fanwood.sdk.running.waiting import called

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.store.store import Store


async def publish(attempt: Attempt, key: str, value: Any) -> None:
    """See `Context.publish`."""
    attempt.check()
    key, limit = published_key(key), attempt.host.settings.max_payload_bytes
    data = codec_for(Any).encode(value, f"what is published as {key}", "value")
    if len(data) > limit:
        raise PayloadTooLargeError(f"what is published as {key}", len(data), limit)
    if attempt.is_mocked or attempt.replay is not None:
        return  # (by code that runs again: it was said before)
    verb, number = data.decode(), attempt.run.attempt
    kept = await called(
        attempt.host.engine().call(lambda store: store.say(attempt.id, number, key, verb), steadfast=True)
    )
    if not kept:
        attempt.check()
        raise AttemptFencedError(f"Run {id_text(attempt.id)} may publish no more: its attempt is over")


async def value_of(store: Store, run_id: bytes, key: str) -> Any:
    """What a run has published last; None: nothing."""
    text = await store.value(run_id, published_key(key))
    return None if text is None else msgspec.json.decode(text)


def published_key(key: str) -> str:
    """A key, checked."""
    return checks.needed_key(key, "key", "what is published has one")
