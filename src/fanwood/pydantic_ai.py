"""Agents of Pydantic AI whose calls are recorded: give them `FanwoodDurability()`, and run them in a task.

Each request to a model, and each call of a tool, is a recorded step of the run whose code runs the agent: after a
crash, a deploy or a retry the agent goes on where it was, and asks no model for what it was answered already. Outside
of tasks such an agent is what it was.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, cast

from fanwood.sdk.recording.recording import parts_of
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.tasks.context import Context
from fanwood.sdk.tasks.tools import Tools
from fanwood.sdk.waits.sleeping import now, uuid_of
from fanwood.sdk.waits.steps import Call, StepOptions, policy_of, recorded

try:
    from pydantic_ai.durable_exec import (
        JSON_CODEC,
        BaseDurabilityCapability,
        DurabilityEngineSpec,
        DurableOperationBackend,
        DurableOperationId,
        EventStreamHandlerId,
        JournalCallableOperationBackend,
        ModelRequestId,
        RoleBasedOperationConfig,
        ToolsetCallToolId,
        conversation_id_from_run_id,
    )
    from pydantic_ai.exceptions import ModelRetry
    from pydantic_ai.tools import AgentDepsT, RunContext, ToolDefinition
    from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
    from pydantic_core import SchemaValidator, core_schema
except ImportError as missing:
    raise ImportError(
        "fanwood.pydantic_ai needs the package pydantic-ai-slim, 2.68 or newer: pip install 'fanwood[pydantic-ai]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from pydantic_ai.agent import EventStreamHandler
    from pydantic_ai.models import Model

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.tasks.tools import Runs, Tool, ToolResult

__all__ = ["FanwoodDurability", "TaskToolset"]

LONGEST_KEY = 200
_ANYTHING = SchemaValidator(core_schema.any_schema())
_in_step: ContextVar[bool] = ContextVar("fanwood_agent_step", default=False)


def _attempt() -> Attempt | None:
    """The attempt whose code runs an agent. Within a step an agent is part of that."""
    return None if _in_step.get() else current_attempt.get()


@dataclass(init=False, kw_only=True)
class FanwoodDurability(BaseDurabilityCapability[AgentDepsT]):
    """Records what an agent asks of models and tools, while it is run in a task.

    A tool that is to be called without being recorded, as it spawns tasks say, has `metadata={"fanwood": False}`;
    other options of a step (`retries`, ...) may stand there as well.
    """

    engine_spec = DurabilityEngineSpec(
        engine_name="Fanwood",
        durable_unit_noun="step",
        durable_container_noun="task",
        codec=JSON_CODEC,
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-in-durable-unit", "dynamic": "enter-never"},
        tool_config_key="fanwood",
    )

    def __init__(
        self,
        *,
        models: Mapping[str, Model] | None = None,
        event_stream_handler: EventStreamHandler[AgentDepsT] | None = None,
        name: str | None = None,
        model_step: StepOptions | None = None,
        tool_step: StepOptions | None = None,
    ) -> None:
        """Record what an agent does.

        Args:
            models: others than the agent's, by the names under which runs ask for them.
            event_stream_handler: what is called with each event, such as pieces of an answer. Those that come while a
                model answers come once: they are not told again by a later attempt.
            name: the agent's in what is recorded. Default: the agent's own.
            model_step: how often a request is tried, as in `ctx.step`: `retries`, `backoff_factor`.
            tool_step: the same for calls of tools.
        """
        super().__init__(models=models, event_stream_handler=event_stream_handler, name=name)
        self._model_step: StepOptions = model_step or {}
        self._tool_step: StepOptions = tool_step or {}
        for given in (self._model_step, self._tool_step):
            policy_of(given)  # what is wrong with it is said here

    @property
    def in_durable_context(self) -> bool:
        """Whether a task runs the agent."""
        return _attempt() is not None

    def get_default_run_id(self) -> str | None:
        attempt = _attempt()
        return None if attempt is None else str(uuid_of(attempt, f"agent {self.name}"))

    def get_default_conversation_id(self, run_id: str) -> str | None:
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    async def get_run_start_time(self, run_id: str) -> datetime | None:
        attempt = _attempt()
        return None if attempt is None else await now(attempt, f"agent {self.name} {run_id}"[:LONGEST_KEY])

    def get_durable_operation_backend(self) -> DurableOperationBackend[StepOptions]:
        def of_tool(operation_id: DurableOperationId, tool: object | None, name: str) -> StepOptions | Literal[False]:
            base = self._toolset_base_config(getattr(operation_id, "toolset_kind", "function"))
            found = self._build_resolve_tool_config(base)(cast("ToolsetTool[Any] | None", tool), name)
            return cast("StepOptions | Literal[False]", found)

        model, tool = self._model_step, self._tool_step
        steps = RoleBasedOperationConfig[StepOptions](
            model=model, event={}, capability={}, tool=tool, resolve_tool=of_tool
        )
        return _Steps(agent_name=self.name, default_model_id=self.default_model_id, config=steps)

    def _toolset_base_config(self, kind: object) -> StepOptions:  # noqa: ARG002  (all kinds are alike)
        return self._tool_step


class _Steps(JournalCallableOperationBackend[StepOptions]):
    """Each operation is a step of the run that executes."""

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: StepOptions,
    ) -> object:
        attempt = _attempt()
        if attempt is None:
            return await body()
        contexts = cast("list[RunContext[Any]]", [each for each in cache_key if isinstance(each, RunContext)])
        key = _key(attempt, operation_id, name, contexts[0] if contexts else None)

        async def step() -> object:
            token = _in_step.set(True)
            try:
                payload = await body()
            finally:
                _in_step.reset(token)
            if isinstance(operation_id, ModelRequestId):
                await _spent(attempt, payload)
            return payload

        agent, _, what = name.partition("__")
        step.__module__, step.__qualname__ = agent, what
        return await recorded(Call(attempt, step, (), {}, key, policy_of(config or {}), threads=True))


async def _spent(attempt: Attempt, payload: object) -> None:
    """What an answer took, by the model's own account, is taken from the budgets above."""
    given = cast("dict[str, Any]", payload if isinstance(payload, dict) else {})
    usage = cast("dict[str, int | None]", given.get("usage") or {})
    tokens = sum(usage.get(name) or 0 for name in ("input_tokens", "output_tokens"))
    if tokens > 0:
        await Context(attempt).aio_spend(tokens=tokens)


def _key(attempt: Attempt, operation_id: DurableOperationId, name: str, about: RunContext[Any] | None) -> str:
    """What tells an operation from others of the run: which agent's it is, what is called, and which call it is. Not
    what is given to it: messages have times and ids in them that are others each time."""
    agent, _, what = name.partition("__")
    call = about.tool_call_id if about is not None and isinstance(operation_id, ToolsetCallToolId) else None
    run = "" if about is None or isinstance(operation_id, EventStreamHandlerId) else about.run_id or ""
    of = " ".join(part for part in (agent, what.rpartition("call_tool:")[2], run[-12:], call) if part)
    if len(of) > LONGEST_KEY:
        of = f"{of[: LONGEST_KEY - 40]} {blake2b(of.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
    of = of.encode("utf-8", "replace").decode().replace("\0", "")
    with registering:
        draws, drawn = parts_of(attempt).draws, f"agent\0{of}".encode()
        count = draws[drawn] = draws.get(drawn, 0) + 1
    return f"{of} {count}"


class TaskToolset(AbstractToolset[AgentDepsT]):
    """Tasks and workflows as tools of an agent: each call is a child of the run that runs the agent, with the retries
    and limits that the task has, executed by whichever worker there is."""

    def __init__(self, *tools: Tool | Runs | Tools, id: str = "tasks") -> None:
        given = [tool for each in tools for tool in (each if isinstance(each, Tools) else (each,))]
        self._tools = Tools(*given)
        self._id = id

    @property
    def id(self) -> str | None:
        return self._id

    async def get_tools(self, ctx: RunContext[AgentDepsT]) -> dict[str, ToolsetTool[AgentDepsT]]:
        return {
            tool.name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=tool.name, description=tool.description, parameters_json_schema=tool.schema
                ),
                max_retries=ctx.max_retries or 1,
                args_validator=_ANYTHING,
            )
            for tool in self._tools
        }

    async def call_tool(
        self,
        name: str,
        tool_args: dict[str, Any],
        ctx: RunContext[AgentDepsT],  # noqa: ARG002  (the signature of all toolsets)
        tool: ToolsetTool[AgentDepsT],  # noqa: ARG002
    ) -> Any:
        result: ToolResult = await self._tools[name].aio_run(tool_args)
        if result.error is None:
            return result.value
        if result.is_refused:
            raise ModelRetry(result.text)
        return result.text
