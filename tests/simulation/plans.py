"""Plans of programs, drawn from a seed: trees of tasks and workflows of any shape; and what each must answer.

A plan is the input of its run, and says all that the run does, so that it does the same in each attempt. What comes of
it is computed here from the plan alone, and in the world from what children returned.
"""

from __future__ import annotations

from random import Random
from typing import Any

from fanwood import Budget, EvictionPolicy, after
from tests.simulation.shapes import SMALL, Shape

Plan = dict[str, Any]

TASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "steady": {"retries": 1},
    "stubborn": {"retries": 3, "backoff_factor": 1.5},
    "eager": {"retries": 2},
    "hasty": {"retries": 1, "execution_timeout": 3},
    "fresh": {"schedule_timeout": 4},
    "limited": {"execution_timeout": 8},
    "durable": {"retries": 1, "eviction_policy": EvictionPolicy(ttl=0)},
    "durable later": {"retries": 2, "eviction_policy": EvictionPolicy(ttl=1.5)},
    "durable limited": {"execution_timeout": 12, "eviction_policy": EvictionPolicy(ttl=0)},
}
SYNC: dict[str, dict[str, Any]] = {
    "sync": {},
    "sync stubborn": {"retries": 2},
    "sync limited": {"execution_timeout": 6},
    "sync durable": {"retries": 1, "eviction_policy": EvictionPolicy(ttl=0)},
}
"""Those that have a thread."""
ALL = {**TASKS, **SYNC}
WORKFLOWS: dict[str, dict[str, tuple[str, ...]]] = {
    "diamond": {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")},
    "line": {"a": (), "b": ("a",)},
}
"""Steps, and those that each waits for."""
STEP_RETRIES = 1
DURABLE_STEPS: dict[tuple[str, str], EvictionPolicy] = {
    ("diamond", "a"): EvictionPolicy(ttl=0),
    ("diamond", "c"): EvictionPolicy(ttl=1.5),
    ("line", "b"): EvictionPolicy(ttl=0),
}
"""Those whose code is unloaded while they wait."""
VERSIONED = ("durable later",)
"""Those that are written anew meanwhile: their runs go on with the code that began them."""
OLD, NEW = "1", "2"
"""The versions of their code."""
TEXTS = ("", "a", "ä\u2028\U0001f600", '"\\', "x" * 300)
NAPS = (0.2, 0.7, 1.2, 2.0, 5.0)
"""Seconds, and some thousandths, so that no two of a run are equal."""
KEYS = ("paid", "sent")
"""Of events, of promises, and of messages."""
WAITING = ("run", "many", "twice", "keyed", "shared", "gather")
"""Steps that wait for children. Without `keep` and a limit of time a run that has such a step can't do without them."""
TOGETHER = ("group", "stream", "each")
"""Steps that wait for children, and take what comes."""
SPAWNING = (*WAITING, "start", "break", "group", *TOGETHER)
GROUPS: dict[str, dict[str, Any]] = {
    "all": {},
    "collected": {"on_error": "collect"},
    "race": {"quorum": 1},
    "most": {"quorum": 2, "on_error": "collect"},
    "timed": {"deadline": 2.0},
    "narrow": {"limit": 1, "tolerate": 1},
}
"""How groups go."""
OUTSIDE = ("nap", "nap", "until", "promise", "event", "message", "message", "any")
"""Steps that wait for times, and for what comes from outside."""
SPENDING = ("spend", "reserve")
BUDGETS: dict[str, dict[str, Any]] = {
    "plenty": {"units": {"gold": 1000}, "runs": 10_000},
    "little": {"units": {"gold": 7}},
    "part": {"units": {"gold": 3}},
    "few": {"runs": 4},
    "shallow": {"depth": 1},
    "short": {"seconds": 1},
}
"""What a run and all below it may use."""
HEDGES = (0.2, 1.0, 3.0)
"""Seconds after which a second run of a child begins."""
AFTERWARDS = ("join", "cancel", "cancel all", "above", "extend")


class Maker:
    """Draws plans, of about so many runs together."""

    def __init__(self, random: Random, most: int, shape: Shape = SMALL) -> None:
        self._random = random
        self._shape = shape
        self._tasks = shape.tasks or tuple(ALL)
        self._most = most
        self.plans: dict[int, Plan] = {}
        self.answers: dict[int, Plan | None] = {}
        self._others: dict[int, Plan] = {}  # what some are given by hand instead, and give the same answer
        self._pool: list[Plan] = []  # of this tree: what is shared
        self.kills = False  # there is one already that takes its process with it: each of its runs does so again

    def plan(self, depth: int = 0, task: str = "") -> Plan:
        """A run, with all that it will ask for; or another life of one, of this task."""
        random, number = self._random, len(self.plans) + 1
        if not depth and not task:
            self._pool = []
        of = task or random.choice(self._tasks)
        plan: Plan = {"n": number, "task": of, "text": random.choice(TEXTS), "steps": []}
        self.plans[number] = plan
        if random.random() < 0.2:
            plan["options"] = {"priority": random.randint(0, 3)}
        if not task and random.random() < (0.06 if depth else 0.3):
            names = ["part", "few", "shallow", "short"] if depth else list(BUDGETS)
            plan.setdefault("options", {})["budget"] = random.choice(names)
        if not task and depth < self._shape.deepest and len(self.plans) < self._most and random.random() < 0.08:
            plan["task"] = random.choice(list(WORKFLOWS))
            plan["parts"] = {step: self._part(depth + 1) for step in WORKFLOWS[plan["task"]]}
            return plan
        for _ in range(random.choice([0, 1, 2, 2, 3] if depth else [1, 2, 3, 4])):
            plan["steps"].append(self._step(depth, len(plan["steps"])))
        if len(self.plans) < self._most and random.random() < 0.1:
            plan["steps"].append(["over", self._next_life(plan, depth)])
        return plan

    def _next_life(self, plan: Plan, depth: int) -> Plan:
        """What a run goes on with when it starts over: it may ask for the same again."""
        again = self.plan(depth, plan["task"])
        spawning = [step for step in plan["steps"] if step[0] in SPAWNING]
        if spawning and self._random.random() < 0.5:
            again["steps"].insert(0, self._random.choice(spawning))
        return again

    def _part(self, depth: int) -> Plan:
        """What a step of a workflow does."""
        part: Plan = {"n": len(self.plans) + 1, "task": "step", "text": self._random.choice(TEXTS), "steps": []}
        self.plans[part["n"]] = part
        part["steps"] = [self._step(depth, n) for n in range(self._random.choice([0, 0, 1, 2]))]
        return part

    def _step(self, depth: int, number: int) -> list[Any]:
        random = self._random
        dies = not self.kills and random.random() < (0.01 if number else 0.1)
        kinds = ["sleep", "sleep", "log", random.choice(OUTSIDE)]
        kinds += ["record", "now", random.choice(SPENDING)]
        kinds += ["fail"] * (random.random() < 0.15) + ["die"] * dies
        if depth < self._shape.deepest and len(self.plans) < self._most:
            kinds += [*SPAWNING, random.choice(AFTERWARDS), random.choice(AFTERWARDS)]
        if self._shape.steps:
            kinds = self._of_shape(kinds)
        kind = random.choice(kinds)
        match kind:
            case "sleep":
                return [kind, random.choice([0.0, 0.01, 0.1, 0.3, 1.0, 4.0])]
            case "fail":
                return [kind, random.choice([1, 1, 1, 2, 4])]
            case "extend":
                return [kind, random.choice([1, 6])]
            case "nap" | "until":
                unlike = 0.0 if self._shape.even else 0.001
                return [kind, round(random.choice(NAPS) + unlike * number, 3), self._within()]
            case "promise" | "event" | "message" | "any":
                return [kind, random.choice(KEYS), random.choice([1.0, 3.0, 6.0]), self._within()]
            case "record":
                fails, own = random.choice([0, 0, 0, 1, 1, 2]), random.choice([0, 0, 1])
                keep, within = random.random() < 0.2, self._within()
                return [kind, {"fails": fails, "retries": own, "keep": keep or within is not None, "within": within,
                               "costs": random.choice([0, 0, 1])}]  # fmt: skip
            case "spend":
                return [kind, random.choice([0.5, 1, 2, 4])]
            case "reserve":
                return [kind, random.choice([1, 3]), random.choice([0.5, 1, 2]), random.choice([0.0, 0.3, 2.0])]
            case _ if kind in SPAWNING:
                return self._spawning(kind, depth)
            case _:
                self.kills = self.kills or kind == "die"
                return [kind]

    def _of_shape(self, kinds: list[str]) -> list[str]:
        """Those of these that there are in the shape, as often as it says."""
        there = {*kinds, *OUTSIDE, *SPENDING}
        return [kind for kind in self._shape.steps if kind in there] or ["log"]

    def _spawning(self, kind: str, depth: int) -> list[Any]:
        random = self._random
        count = 1 if kind in ("run", "keyed", "shared") else random.choice([1, 2, 3, 6])
        children: list[Plan] = []
        for _ in range(count):
            children.append(self._child(kind, depth, [each["n"] for each in children]))
        timeout = random.choice([None] * 6 + [0.5, 5.0])
        about = {"keep": random.random() < 0.75, "timeout": timeout, "within": None}
        if kind not in ("start", "break"):
            about["within"] = self._within()
        if kind == "group":
            about["how"] = random.choice(list(GROUPS))
        return [kind, children, about]

    def _child(self, kind: str, depth: int, beside: list[int]) -> Plan:
        """Somebody's, beside others of these numbers. What is shared may be another one's as well."""
        random = self._random
        keyed = kind in ("keyed", "shared")
        shares = not keyed and random.random() < 0.15
        there = [plan for plan in self._pool if plan["n"] not in beside]
        if shares and there and random.random() < 0.7:
            return random.choice(there)
        child = self.plan(depth + 1)
        options = child.setdefault("options", {})
        if random.random() < 0.2:
            options["on_parent_end"] = random.choice(["cancel", "continue"])
        if keyed:
            options["child_key"] = f"key {child['n']}"
        if shares:
            options["share"] = "tree"
            options.pop("budget", None)
            self._pool.append(child)
        elif random.random() < 0.08 and "budget" not in options:
            options["hedge"] = random.choice(HEDGES)
        return child

    def _within(self) -> float | None:
        """Seconds after which asyncio cancels a step."""
        return self._random.choice([None] * 11 + [0.001, 0.02, 0.4, 2.0])

    # --- what comes of it ------------------------------------------------------------------------------------------

    def another(self, plan: Plan) -> Plan:
        """Another input of which the same must come."""
        return self._others.setdefault(plan["n"], {**plan, "steps": [*plan["steps"], ["log"]]})

    def knows(self, given: Plan) -> bool:
        """Whether this is what some run is to do."""
        return given in (self.plans.get(given["n"]), self._others.get(given["n"]))

    def answer(self, plan: Plan) -> Any:
        """What a run must return, if it completes; None: it can't."""
        number = plan["n"]
        if number not in self.answers:
            self.answers[number] = self._workflow(plan) if "parts" in plan else self._task(plan)
        return self.answers[number]

    def _workflow(self, plan: Plan) -> Any:
        outputs = {name: self.answer(part) for name, part in plan["parts"].items()}
        return None if None in outputs.values() else outputs

    def _task(self, plan: Plan) -> Any:
        total = plan["n"]
        for step in plan["steps"]:
            if fails(step) > retries(plan):
                return None
            if step[0] == "over":
                return self.answer(step[1])
            if is_strict(step):
                answers = [self.answer(child) for child in step[1]]
                if None in answers:
                    return None
                total += sum(map(total_of, answers)) * (2 if step[0] in ("twice", "shared") else 1)
        return {"n": plan["n"], "text": plan["text"], "total": total}


def is_sure(plan: Plan) -> bool:
    """Whether nothing of a program can go wrong by itself: no limits of time, and nobody who cancels."""
    doubtful = plan["task"] in ("hasty", "fresh", "limited", "durable limited", "sync limited")
    doubtful = doubtful or plan.get("options", {}).get("budget", "plenty") != "plenty"
    doubtful = doubtful or any(step[0] in ("above", "cancel", "cancel all", "until") for step in plan["steps"])
    waits = [step[2] for step in plan["steps"] if step[0] in WAITING]
    doubtful = doubtful or any(about["timeout"] is not None and not about["keep"] for about in waits)
    below = [child for step in plan["steps"] if step[0] in SPAWNING for child in step[1]]
    below += plan.get("parts", {}).values()
    below += [step[1] for step in plan["steps"] if step[0] == "over"]
    return not doubtful and all(is_sure(child) for child in below)


def without(plans: list[Plan], numbers: tuple[int, ...]) -> list[Plan]:
    """These, and all below them, but for those of these numbers."""
    kept = [plan for plan in plans if plan["n"] not in numbers]
    for plan in kept if numbers else ():
        without(list(plan.get("parts", {}).values()), numbers)
        for step in plan["steps"]:
            if step[0] in SPAWNING:
                step[1] = without(step[1], numbers)
            elif step[0] == "over":
                without([step[1]], numbers)
        plan["steps"] = [step for step in plan["steps"] if step[0] not in SPAWNING or step[1]]
    return kept


def shown(plans: list[Plan], indent: int = 2) -> str:
    """As text, a line for each run."""
    lines: list[str] = []
    for plan in plans:
        steps = ", ".join(
            " ".join(
                str(each)
                for each in step
                if not isinstance(each, list) and "n" not in (each if isinstance(each, dict) else ())
            )
            for step in plan["steps"]
        )
        lines.append(f"{' ' * indent}{plan['n']} {plan['task']} {plan.get('options', '')}: {steps}\n")
        lines.append(shown(list(plan.get("parts", {}).values()), indent + 2))
        lines += [shown(step[1], indent + 2) for step in plan["steps"] if step[0] in SPAWNING]
        lines += [shown([step[1]], indent) for step in plan["steps"] if step[0] == "over"]
    return "".join(lines)


def only_of(plan: Plan, step: list[Any]) -> set[int]:
    """Numbers of the children for which a run asks in this step, and in no other one: what is shared may be in both."""
    others = [each for each in plan["steps"] if each is not step and each[0] in SPAWNING]
    return {child["n"] for child in step[1]} - {child["n"] for each in others for child in each[1]}


def is_strict(step: list[Any]) -> bool:
    """Whether a run can't go on without what this step's children return."""
    return step[0] in WAITING and not step[2]["keep"] and step[2]["timeout"] is None and within(step) is None


def within(step: list[Any]) -> float | None:
    """Seconds after which a step is cancelled, if it is async; and then its run goes on."""
    match step:
        case ["nap" | "until", _, seconds] | ["promise" | "event" | "message" | "any", _, _, seconds]:
            return seconds
        case ["record", {"within": seconds}]:
            return seconds
        case [kind, _, {"within": seconds}] if kind in (*WAITING, *TOGETHER):
            return seconds
        case _:
            return None


def fails(step: list[Any]) -> int:
    """In how many trials it fails, and with it its run."""
    match step:
        case ["fail", count]:
            return count
        case ["record", {"fails": count, "keep": False}]:
            return count
        case _:
            return 0


def retries(plan: Plan) -> int:
    """How often a run is tried again."""
    return STEP_RETRIES if plan["task"] == "step" else ALL[plan["task"]].get("retries", 0)


def total_of(answer: Any) -> int:
    """What a child adds to its parent's answer: its own, or that of all steps of a workflow."""
    return answer["total"] if "total" in answer else sum(step["total"] for step in answer.values())


def last_life(plan: Plan) -> Plan:
    """What a run follows in the end, however often it starts over."""
    lives = [step[1] for step in plan["steps"] if step[0] == "over"]
    return last_life(lives[0]) if lives else plan


def options_of(plan: Plan) -> dict[str, Any]:
    """What is said of a run beside its input."""
    options = {**plan.get("options", {})}
    if "budget" in options:
        options["budget"] = Budget(**BUDGETS[options["budget"]])
    if "hedge" in options:
        options["hedge"] = after(options["hedge"])
    return options
