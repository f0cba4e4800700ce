"""What may be asked for where: a tree is in one store, and each task has one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import UsageError
from fanwood.sdk.running.strays import refuse_strays, tell_of_fork

if TYPE_CHECKING:
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.attempt import Attempt


def must_be_here(spec: TaskSpec, host: Host) -> None:
    """Among what is asked for on one object there may be tasks of others, as long as they have one store.

    Raises:
        UsageError: it has another. Nobody would serve its run here.
    """
    its = spec.host
    if its is not None and its is not host and its.engine() is not host.engine():
        raise UsageError(
            f"{spec.name} can't be asked for here: it belongs to {its!r}, and this is asked of {host!r}. Give both "
            f"objects one URL and namespace, or call {spec.name} itself"
        )


def must_be_root(spec: TaskSpec, host: Host, attempt: Attempt | None, elsewhere: Attempt | None) -> None:
    """Nobody said that it is to be a root, and there is no parent in its store; `elsewhere`: there is one in another.

    Raises:
        UsageError: there should be a parent.
    """
    if elsewhere is not None:
        raise UsageError(
            f"{spec.name} can't be a child of {elsewhere.spec.name}: it belongs to {host!r}, the other to "
            f"{elsewhere.host!r}, and a tree is in one store. Give both objects one URL and namespace, or make it a "
            f"root of its own: detached=True"
        )
    if attempt is None:
        refuse_strays(spec.name)
        tell_of_fork(spec.name)
