"""What one turn remembers between its steps, and what it is given to work with."""

import operator
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias, TypedDict

from langchain_openai.chat_models.base import ChatOpenAI

from smart_support.agent.caps import DEFAULT_CAPS, Caps
from smart_support.agent.model_chain import ModelChain
from smart_support.conversations.postgres import PostgresHandoffs
from smart_support.events.postgres import PostgresEventLog
from smart_support.ledger.consent import Verdict
from smart_support.tools.build import Tool
from smart_support.tools.call import ToolCaller

ChatModel: TypeAlias = ChatOpenAI | ModelChain
"""The one model client, or several that stand in for one another."""

Find: TypeAlias = Callable[[str, str], Awaitable[Mapping[str, Tool]]]
"""(agent, words) -> the likeliest tools of that agent."""

Decision: TypeAlias = Verdict
"""What was decided about a call that a turn stopped for."""


class ToolCallState(TypedDict):
    """One decision of the model to use a tool, as a checkpoint holds it."""

    id: str
    tool: str
    arguments_json: str


def _newest(_before: str, after: str) -> str:
    return after


class TurnState(TypedDict):
    """The checkpoint of a turn: what was said in it, in OpenAI's wire form, and what it cost."""

    messages: Annotated[list[dict[str, Any]], operator.add]
    edited: Annotated[dict[str, dict[str, Any]], operator.or_]
    """Tool call id -> what the customer changed its arguments to."""
    agent: Annotated[str, _newest]
    model_calls: Annotated[int, operator.add]
    input_tokens: Annotated[int, operator.add]
    output_tokens: Annotated[int, operator.add]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAtWork:
    """One agent in one turn: its instructions, its tools, and to whom it may hand over."""

    name: str
    system: str
    tools: dict[str, Tool]
    """What it may call; grows when it looks for more."""
    hands_over_to: Mapping[str, str]
    """Name -> what that agent is for."""
    more: bool = False
    """It may call more than `tools`, and is offered a tool to find it."""


async def _at_once() -> None:
    """Do not wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnContext:
    """What a run of a turn works with; never part of a checkpoint."""

    thread_id: str
    turn_id: str
    correlation_id: str
    agent: str
    """Who begins; after a hand-over the checkpoint says who goes on."""
    agents: Mapping[str, AgentAtWork]
    actor: str
    claims: Mapping[str, str]
    history: list[dict[str, Any]]
    """Without the system message, which is the agent's."""
    model: ChatModel
    caller: ToolCaller
    log: PostgresEventLog
    handoffs: PostgresHandoffs
    max_model_calls: int
    caps: Caps = DEFAULT_CAPS
    seconds: Callable[[], float] = lambda: 0.0
    """Since this run began."""
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """Tool call id -> what was decided about it before the run began; not asked again."""
    opened: Callable[[], Awaitable[None]] = _at_once
    """Waits until it is written down that the run has begun: before anything else is."""
    find: Find | None = None
    """Finds more tools of an agent by words; None: every agent has all of its own."""

    def at(self, name: str) -> AgentAtWork:
        """The agent with this name; who begins, if there is none (any more)."""
        return self.agents.get(name) or self.agents[self.agent]


@dataclass(frozen=True, slots=True)
class LiveText:
    """A piece of an answer that is still being written; `offset` counts characters."""

    message_id: str
    offset: int
    text: str
    restart: bool = False
    """What was shown of this message before counts no more; it begins again from empty."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The finished answer of a turn, not yet written down."""

    message_id: str
    text: str
