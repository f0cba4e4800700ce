"""Runs of a SQLite file that several calls of a tree share, and the calls' links to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.budgets import Overdrawn
from fanwood.model.states import Cause, EndedBy, Open, RunState
from fanwood.store.failures import ancestor_ended
from fanwood.store.sharing import LAST_LINK, NOBODY, UNSHARED, circle, circle_error, page_of
from fanwood.store.sqlite.leaving import ALL, Ending, Gate, Leaving, Queueing, encoded
from fanwood.store.sqlite.recording import insert_records
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.budgets import Refusal
    from fanwood.model.commands import Record, Spawn
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.urgency import Urgency

_SQL = load("sqlite/sharing.sql")

_link = msgspec.json.Decoder(tuple[int, int, str, str, int])
_shared = msgspec.json.Decoder(tuple[str, int, int])
_ids = msgspec.json.Decoder(list[str])
_links = msgspec.json.Decoder(list[tuple[str, int]])
_pairs = msgspec.json.Decoder(list[tuple[str, str]])
DELETED = f"[{RunState.CANCELLED.value},null,null,null]"
"""What is told of a run that somebody has deleted by hand."""
_outcome = msgspec.json.Decoder(tuple[int, str | None, str | None, int | None])
_place = msgspec.json.Decoder(tuple[int, int])


class _Turn:
    """The links of one commit: what has been looked at, and what is not written yet."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.insides: dict[str, str] = {}  # of parents: the shared run that they are a part of
        self.roots: dict[bytes, int] = {}  # in which state they are
        self.targets: dict[tuple[bytes, bytes, int], bytes] = {}  # what is shared, by root, digest, and priority
        self.links: dict[bytes, list[tuple[bytes, bytes]]] = {}  # to what: links, and inside of what they are
        self.refused: dict[bytes, Refusal] = {}


class Sharing:
    """On one connection. `known`: whether anything shared is not over, as this transaction sees it; None: look."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self.known: bool | None = None
        self.urgency: Urgency | None = None  # if anybody was given another priority, ever
        self._execute = connection.execute
        self._leaving = leaving
        leaving.sharing = self

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    @property
    def any(self) -> bool:
        """Whether anything is shared that is not over."""
        return bool(self._one("any_open")) if self.known is None else self.known

    # --- links -----------------------------------------------------------------------------------------------------

    def link(self, now: int, asked: Sequence[Record]) -> None:
        """Calls share runs; one after another, as each may close a circle with those before it.

        Raises:
            Overdrawn: there is no room for what some would be the first to share.
        """
        self.known = None if self.known is None else True
        turn = _Turn(now)
        there = set(_ids.decode(self._one("links_there", ids=encoded([one.id.hex() for one in asked]))))
        fresh = [one for one in asked if one.id.hex().upper() not in there]
        insert_records(self._execute, now, fresh, self._leaving.next_number)
        parents = {one.kind.parent_id.hex() for one in asked if one.kind.parent_id is not None}
        turn.insides = dict(_pairs.decode(self._one("insides", ids=encoded(sorted(parents)))))
        new = {one.id for one in fresh}
        for record in asked:
            again = False
            if record.id not in new:
                again, is_done = self._ask_again(now, record)
                if is_done:
                    continue
            self._link(turn, record, again=again)
        self._settle(turn)
        if turn.refused:
            raise Overdrawn(turn.refused)

    def _ask_again(self, now: int, asked: Record) -> tuple[bool, bool]:
        """A link that was there: whether what it shares is to be run again if it has failed; and whether nothing else
        is to be done."""
        kind = asked.kind
        state, linked, _, _, closed = _link.decode(self._one("read_link", id=asked.id))
        if closed or state in (RunState.FAILED, RunState.CANCELLED):
            self._leaving.record_again(now, [asked])
            return True, False
        if state == RunState.WAITING:
            self._execute(_SQL["ask_link"], {
                "id": asked.id, "asked": kind.parent_attempt, "deadline": kind.deadline,
                "deadline_by": kind.deadline_by,
                "expires_at": asked.expires_at(now), "policy": int(kind.on_parent_end),
            })  # fmt: skip
        return False, state == RunState.COMPLETED or bool(linked)

    def _link(self, turn: _Turn, asked: Record, *, again: bool) -> None:
        self._leaving.woken = True
        now, kind, share = turn.now, asked.kind, asked.share
        root = kind.root_id
        assert root is not None
        assert share is not None
        if root not in turn.roots:
            turn.roots[root] = _outcome.decode(self._outcome_of(root))[0]
        if turn.roots[root] in (RunState.FAILED, RunState.CANCELLED):
            error = ancestor_ended(root, "failed" if turn.roots[root] == RunState.FAILED else "was cancelled")
            self._settle(turn)
            self._end(now, [asked.id], RunState.CANCELLED, None, error, EndedBy.ANCESTOR)
            return
        place = (root, share.input_digest or b"", share.kind.priority)
        target, born = None if again else turn.targets.get(place), False
        if target is None:
            target = self._target(now, root, share, again=again)
            if target is None:
                refusal = self._leaving.budgets.takes(asked.id, root, root, 1)
                if refusal is not None:
                    turn.refused[asked.id] = refusal
                    return
                target, born = self._born(now, root, share), True
            turn.targets[place] = target
        inside = turn.insides.get((kind.parent_id or b"").hex().upper())
        turn.links.setdefault(target, []).append((asked.id, bytes.fromhex(inside) if inside else NOBODY))
        if inside and not born:  # (what is born waits for nobody)
            self._look_round(turn, asked.id, target, bytes.fromhex(inside))

    def _look_round(self, turn: _Turn, link: bytes, target: bytes, inside: bytes) -> None:
        """A link from inside of a shared run: it must not close a circle."""
        if target in self._settle(turn):
            return
        way = circle(inside, target, self._insides)
        if way is not None:
            tasks = dict(_pairs.decode(self._one("tasks_of", ids=encoded([id_.hex() for id_ in way]))))
            error = circle_error([(tasks[id_.hex().upper()], id_) for id_ in way])
            turn.targets.clear()  # this end may be that of what it would have shared
            self._end(turn.now, [link], RunState.FAILED, None, error, EndedBy.OUTCOME)

    def _settle(self, turn: _Turn) -> set[bytes]:
        """The links that were made stand in their rows, and end if what they share is over: what is."""
        over = set[bytes]()
        rows = [(id_.hex(), (target + inside).hex()) for target, made in turn.links.items() for id_, inside in made]
        if rows:
            self._execute(_SQL["link"], {"rows": encoded(rows)})
        for target, made in turn.links.items():
            if self._follow(turn.now, target, [id_ for id_, _ in made]):
                over.add(target)
        turn.links.clear()
        return over

    def _born(self, now: int, root: bytes, share: Spawn) -> bytes:
        kind = share.kind
        self._execute(_SQL["insert_shared_run"], {
            "id": share.id, "root": root, "kind": int(kind.run_kind), "task": kind.task, "input": share.input,
            "metadata": kind.metadata, "priority": kind.priority, "schedule_timeout": kind.schedule_timeout,
            "now": now,
        })  # fmt: skip
        self._execute(_SQL["insert_shared"], {"root": root, "digest": share.input_digest or b"", "id": share.id})
        self._urge(share.id)
        return share.id

    def _target(self, now: int, root: bytes, share: Spawn, *, again: bool) -> bytes | None:
        """What is shared, if it was born; run again if it was cancelled, or has failed and is asked for `again`."""
        kind, digest = share.kind, share.input_digest or b""
        found = self._one("read_shared", root=root, digest=digest)
        if found is None:
            return None
        id_, state, attempt = _shared.decode(found)
        run = bytes.fromhex(id_)
        if self._leaving.gated and self._leaving.cut(now, [(id_, attempt, state)]):
            state = int(RunState.CANCELLED)
        self._execute(_SQL["ask_shared"], {"id": run, "priority": kind.priority})
        revived = state == RunState.CANCELLED or (again and state == RunState.FAILED)
        if revived and not self._leaving.closed([id_]):
            self._leaving.queue(now, [Queueing(id_, attempt, state, Cause.REPLAY)])
            self._execute(_SQL["ask_shared"], {"id": run, "priority": kind.priority})
        self._urge(run)
        return run

    def _urge(self, run: bytes) -> None:
        """What was said of it by hand counts, whatever calls ask for."""
        if self.urgency is not None:
            self.urgency.set([run.hex().upper()], living=True)

    def _insides(self, target: bytes, after: bytes) -> bytes | None:
        found = self._one("next_inside", after=target + after + b"\xff", end=target + LAST_LINK)
        return None if found is None else bytes.fromhex(found)

    # --- ends ------------------------------------------------------------------------------------------------------

    def ended(self, now: int, ids: Sequence[str]) -> None:
        """These have ended (or not: that is looked at): links end with what they share, and what nobody shares any more
        ends as well."""
        if not self.any:
            return
        text = encoded(ids)
        targets = _ids.decode(self._one("open_targets", ids=text))
        for target in targets:
            self.tell(now, target)
        if targets and self.known is not None:
            self.known = bool(self._one("any_open"))
        for left in _ids.decode(self._one("left_targets", ids=text)):
            self._leave(now, left)

    def replayed(self, ids: Sequence[str]) -> None:
        """These are queued again: those that are shared live from now on."""
        if ids and self._one("any_shared"):
            self._execute(_SQL["replayed"], {"ids": encoded(ids)})
            self.known = None if self.known is None else True

    def tell(self, now: int, target: str) -> None:
        """A page of its links."""
        run = bytes.fromhex(target)
        state, output, *_ = _outcome.decode(self._outcome_of(run))
        if state < RunState.COMPLETED:
            self._execute(_SQL["reopen"], {"target": run, "open": Open.LIVING})
            return
        most = page_of(output)
        links = _links.decode(self._one("some_links", target=run, end=run + LAST_LINK, limit=most))
        self._execute(_SQL["reopen"], {"target": run, "open": Open.TELLING if len(links) == most else Open.OVER})
        closed = self._leaving.end_closed(now, [(id_, attempt, RunState.WAITING) for id_, attempt in links])
        self._leaving.is_telling |= len(links) == most
        self._follow(now, run, [bytes.fromhex(id_) for id_, _ in links if id_ not in closed])

    def tell_some(self, now: int) -> None:
        """A page of those that are not told yet."""
        if (target := self._one("telling")) is not None:
            self.tell(now, target)

    def _leave(self, now: int, target: str) -> None:
        """It has one link less: if that was the last, nobody wants it."""
        run = bytes.fromhex(target)
        found = self._one("unwanted", target=run, end=run + LAST_LINK)
        if found is None:
            return
        attempt, state = _place.decode(found)
        if self._leaving.end_closed(now, [(target, attempt, state)]):
            return
        ending = Ending(target, attempt, state, RunState.CANCELLED, None, UNSHARED, 0, EndedBy.ANCESTOR)
        self._leaving.end(0, now, [ending])
        closing = ancestor_ended(run, "was cancelled: nobody waits for it any more")
        self._leaving.has_closed |= self._leaving.close(now, [Gate(target, ALL, attempt, closing)])

    def _follow(self, now: int, target: bytes, links: Sequence[bytes]) -> bool:
        """Links end as what they share has; whether it has."""
        state, output, error, by = _outcome.decode(self._outcome_of(target))
        if state < RunState.COMPLETED:
            return False
        if links:
            self._leaving.woken = True
            self._end(now, links, RunState(state), output, error, EndedBy(by or EndedBy.OUTCOME))
        return True

    def _outcome_of(self, run: bytes) -> str:
        found: str | None = self._one("outcome_of", id=run)
        return DELETED if found is None else found

    def _end(
        self, now: int, links: Sequence[bytes], state: RunState, output: str | None, error: str | None, by: EndedBy
    ) -> None:
        how = (RunState.WAITING, state, output, error, 0, by)
        self._leaving.end(0, now, [Ending(id_.hex().upper(), 0, *how) for id_ in links])
