"""Who may do what in a turn: the agents with the tools that are theirs."""

from collections.abc import Iterable, Mapping
from datetime import date

from smart_support.agent.agents import Agent, Agents
from smart_support.agent.prompts import system_prompt
from smart_support.agent.state import AgentAtWork
from smart_support.events.records import AgentChanged, Event, TurnId, TurnOpened
from smart_support.operations.records import Access
from smart_support.tools.build import Tool


def share_out(tools: Mapping[str, Tool], agents: Agents) -> dict[str, dict[str, Tool]]:
    """Each agent's tools: what it owns and the reads that it uses, the pinned ones first.

    A write is only ever its owner's.
    """
    owners = {
        name: agents.owner_of(tool.operation, tool.operation.classification.agent)
        for name, tool in tools.items()
    }
    return {
        agent.name: dict(
            sorted(
                (
                    (name, tool)
                    for name, tool in tools.items()
                    if owners[name] == agent.name or _uses(agent, tool)
                ),
                key=lambda item: not _listed(item[1], agent.pinned),
            )
        )
        for agent in agents.by_name.values()
    }


def at_work(
    agents: Agents, tools: Mapping[str, Mapping[str, Tool]], *, customer: str, today: date
) -> dict[str, AgentAtWork]:
    """Every agent as it works for the customer with this name."""
    return {
        agent.name: AgentAtWork(
            name=agent.name,
            system=system_prompt(customer, today, agent),
            tools=tools[agent.name],
            hands_over_to={
                target: agents.by_name[target].purpose for target in agent.hands_over_to
            },
        )
        for agent in agents.by_name.values()
    }


WHO_TYPES = (TurnOpened.type, AgentChanged.type)


def last_agent(events: Iterable[Event], turn_id: TurnId | None = None) -> str | None:
    """Who answered last in the thread, or in one turn of it; None if nobody did."""
    last = None
    for event in events:
        fact = event.fact
        if isinstance(fact, TurnOpened | AgentChanged) and turn_id in {None, fact.turn_id}:
            last = fact.agent if isinstance(fact, TurnOpened) else fact.after
    return last


def _uses(agent: Agent, tool: Tool) -> bool:
    reads = tool.operation.classification.access is Access.READ
    return reads and _listed(tool, agent.uses)


def _listed(tool: Tool, names: Iterable[str]) -> bool:
    return tool.operation.tool_name in names or tool.operation.key in names
