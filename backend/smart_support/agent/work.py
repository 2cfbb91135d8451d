"""Who may do what in a turn: the agents with the tools that are theirs."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date

from smart_support.agent.agents import Agent, Agents
from smart_support.agent.prompts import system_prompt
from smart_support.agent.state import AgentAtWork
from smart_support.events.records import AgentChanged, Event, TurnId, TurnOpened
from smart_support.operations.offers import Offer
from smart_support.operations.records import Access
from smart_support.tools.build import Tool


def share(offers: Iterable[Offer], agents: Agents) -> dict[str, list[Offer]]:
    """Each agent's operations: what it owns and the reads that it uses, the pinned ones first.

    A write is only ever its owner's.
    """
    given = [(offer, agents.owner_of(offer, offer.agent)) for offer in offers]
    return {
        agent.name: sorted(
            (offer for offer, owner in given if owner == agent.name or _uses(agent, offer)),
            key=lambda offer: not is_pinned(agent, offer),
        )
        for agent in agents.by_name.values()
    }


def share_out(tools: Mapping[str, Tool], agents: Agents) -> dict[str, dict[str, Tool]]:
    """Each agent's tools, by name, in the order of `share`."""
    names = {tool.operation.id: name for name, tool in tools.items()}
    offers = [Offer.of(tool.operation, tool.base_url) for tool in tools.values()]
    return {
        agent: {names[offer.id]: tools[names[offer.id]] for offer in own}
        for agent, own in share(offers, agents).items()
    }


def is_pinned(agent: Agent, offer: Offer) -> bool:
    """Whether the agent is always offered this operation."""
    return _listed(offer, agent.pinned)


def at_work(
    agents: Agents,
    tools: Mapping[str, Mapping[str, Tool]],
    *,
    customer: str,
    today: date,
    more: Collection[str] = (),
) -> dict[str, AgentAtWork]:
    """Every agent as it works for the customer with this name.

    Those in `more` have tools beside the given ones, which they can find.
    """
    return {
        agent.name: AgentAtWork(
            name=agent.name,
            system=system_prompt(customer, today, agent),
            tools=dict(tools[agent.name]),
            more=agent.name in more,
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


def _uses(agent: Agent, offer: Offer) -> bool:
    return offer.access is Access.READ and _listed(offer, agent.uses)


def _listed(offer: Offer, names: Iterable[str]) -> bool:
    return offer.tool_name in names or offer.key in names
