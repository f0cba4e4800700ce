"""Which runs of a tree are shown: level by level, big families as one, until there is enough to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fanwood.cli.burnt import Burnt, burnt
from fanwood.clock import SystemClock
from fanwood.lens.book import Lenses
from fanwood.lens.briefs import kin_of, previews_of, suspended_of
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.lens.views import KinView
    from fanwood.model.records import Pause, RunRecord, TaskCount
    from fanwood.store.store import Store

FAMILY = 20
"""More siblings of one name than this are one line."""
EXAMPLES = 3
"""So many of a group's failed runs are shown."""
PAGE = 500
LINES = 200
"""Without --depth or --all, no further level is opened that would make more lines than this."""


@dataclass(slots=True)
class Node:
    """A run that has its own line. `counts` are those of its children, `members` the lines below it."""

    run: RunRecord
    counts: list[TaskCount]
    members: list[Node | Group] = field(default_factory=list["Node | Group"])
    preview: str = ""  # how its input begins
    is_suspended: bool = False  # its code is unloaded while it waits for others
    kin: KinView | None = None  # what it has to do with another that is not above or below it


@dataclass(slots=True)
class Group:
    """Many siblings of one name; those that failed have examples."""

    parent_id: bytes
    task: str
    counts: list[TaskCount]
    members: list[Node] = field(default_factory=list[Node])

    @property
    def fastest(self) -> int | None:
        """The shortest time that one of them took, in microseconds."""
        return min((count.fastest for count in self.counts if count.fastest is not None), default=None)

    @property
    def slowest(self) -> int | None:
        """The longest."""
        return max((count.slowest for count in self.counts if count.slowest is not None), default=None)


@dataclass(frozen=True, slots=True)
class Picture:
    """What `fanwood tree` shows; `counts` are of the whole tree, `cut` and `grouped` say what isn't shown."""

    root: Node
    counts: list[TaskCount]
    now: int
    cut: bool
    grouped: bool
    pauses: dict[bytes, Pause] = field(default_factory=dict[bytes, "Pause"])  # of those runs that are paused themselves
    burnt: Burnt = field(default_factory=Burnt)


async def draw(store: Store, id_: bytes, *, depth: int | None, everything: bool) -> Picture:
    """Look at the tree below a run.

    Raises:
        RunNotFoundError: there is no such run.
    """
    record = await store.get(id_)
    counts = await _counts(store, record)
    size = sum(count.count for count in counts)
    root = Node(record, await store.child_counts(id_))
    level: list[Node] = [root]
    lines, level_number, cut, grouped = 1, 0, False, False
    while parents := [node for node in level if node.counts]:
        if depth is not None and level_number >= depth:
            break
        opened = [await _members(store, node, everything=everything) for node in parents]
        lines += sum(len(members) for members in opened)
        if depth is None and not everything and lines > LINES and level_number > 0:
            cut = True
            break
        grouped = grouped or any(isinstance(member, Group) for members in opened for member in members)
        level = []
        for node, members in zip(parents, opened, strict=True):
            node.members = members
            level += [member for member in members if isinstance(member, Node)]
            level += [example for member in members if isinstance(member, Group) for example in member.members]
        if lines < size:  # else all runs have been seen, and there is nothing below these
            for node in level:
                await _count_children(store, node)
        level_number += 1
    await _preview(store, root)
    pauses = {pause.run_id: pause for pause in await store.pauses([record.root_id])}
    return Picture(root, counts, store.now(), cut, grouped, pauses, await burnt(store, id_, record.root_id))


async def _counts(store: Store, run: RunRecord) -> list[TaskCount]:
    """Of all that is below it: of a whole tree in short looks, however large it is."""
    if run.parent_id is not None:
        return await store.tree_counts(run.id)
    return (await Lenses(SystemClock()).warm(store, run.id)).counts()


async def _preview(store: Store, root: Node) -> None:
    """The beginning of each input, and which are suspended: of all that have a line, a page at a time."""
    nodes = [item for _, item in walk(root) if isinstance(item, Node)]
    for start in range(0, len(nodes), PAGE):
        page = nodes[start : start + PAGE]
        runs = [node.run for node in page]
        for node, preview in zip(page, await previews_of(store, runs), strict=True):
            node.preview = preview
        unloaded, kin = await suspended_of(store, runs), await kin_of(store, runs)
        for node in page:
            node.is_suspended, node.kin = node.run.id in unloaded, kin.get(node.run.id)


def walk(root: Node) -> Iterator[tuple[list[bool], Node | Group]]:
    """Every line, in order, with its way from the root: for each step, whether it was the last of its siblings."""
    stack: list[tuple[list[bool], Node | Group]] = [([], root)]
    while stack:
        way, item = stack.pop()
        yield way, item
        below = [([*way, False], member) for member in item.members]
        if below:
            below[-1] = ([*way, True], item.members[-1])
        stack += reversed(below)


async def _count_children(store: Store, node: Node) -> None:
    if node.run.attempt:  # without one it has spawned nothing
        node.counts = await store.child_counts(node.run.id)


async def _members(store: Store, node: Node, *, everything: bool) -> list[Node | Group]:
    """The lines right below a run: single runs in the order of their spawning, then groups."""
    families: dict[str, list[TaskCount]] = {}
    for count in node.counts:
        families.setdefault(count.task, []).append(count)
    singles: list[Node] = []
    groups: list[Group] = []
    for task, counts in families.items():
        if everything or sum(count.count for count in counts) <= FAMILY:
            singles += await _children(store, node.run.id, task)
        else:
            groups.append(await _group(store, node.run.id, task, counts))
    singles.sort(key=lambda single: single.run.id)
    return [*singles, *groups]


async def _children(store: Store, parent_id: bytes, task: str) -> list[Node]:
    found: list[Node] = []
    after = b""
    while page := await store.children(parent_id, task=task, after=after):
        found += [Node(run, []) for run in page]
        after = page[-1].id
    return found


async def _group(store: Store, parent_id: bytes, task: str, counts: list[TaskCount]) -> Group:
    failed = await store.children(parent_id, task=task, state=RunState.FAILED, limit=EXAMPLES)
    return Group(parent_id, task, counts, [Node(run, []) for run in failed])
