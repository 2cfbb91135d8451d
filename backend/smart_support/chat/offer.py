"""Which tools a turn is offered: not all of them, but those that it may need.

Each agent is offered its pinned tools, those that the conversation has just used, and the ones
whose words fit the message best; an agent with few tools is offered them all. The model can look
for more in the turn.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from smart_support.agent.agents import Agents
from smart_support.agent.prompts import FIND_TOOLS
from smart_support.agent.state import Find
from smart_support.agent.work import is_pinned, share
from smart_support.events.records import Event, MessageReceived, ToolCalled, ToolReturned, TurnId
from smart_support.operations.offers_postgres import Offer
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import OperationId
from smart_support.operations.search import question_words
from smart_support.tools.build import MAX_TOOLS, Tool, build_tools, may_be_offered, tool_names

PER_TURN = 20
"""Tools bound for a message, unless more are pinned."""
FOUND = 8
"""Tools given for one search by the model."""
_RECENT_TURNS = 3


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of each agent for one turn, and how more are found."""

    tools: Mapping[str, Mapping[str, Tool]]
    more: frozenset[str]
    """Agents that have tools beside those."""
    find: Find


async def offer_tools(
    operations: PostgresOperations,
    agents: Agents,
    claims: Mapping[str, str],
    past: Sequence[Event],
    *,
    text: str,
    turn_id: TurnId,
    per_turn: int = PER_TURN,
) -> Offered:
    """The tools for answering `text` in the turn `turn_id`.

    Args:
        operations: the catalogue.
        agents: who there is.
        claims: what is known of the customer.
        past: events of the thread, oldest first.
        text: what the customer said.
        turn_id: the turn; what it has used or found before it was parked stays.
        per_turn: how many tools an agent is offered at most, the pinned ones aside.
    """
    offers = [one for one in await operations.offers() if may_be_offered(one, claims)]
    names = tool_names(offers)
    own = share(offers, agents)
    many = {agent for agent, mine in own.items() if len(mine) > per_turn}
    ranked: Sequence[OperationId] = ()
    if many:
        ranked = await operations.ranked(question_words(text, _said_before(past, turn_id)))
    recent = _recently_used(past, names, turn_id)
    chosen = {
        agent: _chosen(mine, agents, agent, recent, ranked, per_turn) if agent in many else mine
        for agent, mine in own.items()
    }

    async def built(wanted: Iterable[Offer]) -> dict[str, Tool]:
        ids = [offer.id for offer in wanted]
        tools = build_tools(await operations.approved(ids), claims, names)
        order = {names[id_]: place for place, id_ in enumerate(ids)}
        return dict(sorted(tools.items(), key=lambda item: order[item[0]]))

    async def find(agent: str, words: str) -> Mapping[str, Tool]:
        mine = {offer.id: offer for offer in own.get(agent, ())}
        found = await operations.ranked(question_words(words))
        return await built([mine[id_] for id_ in found if id_ in mine][:FOUND])

    union = {offer.id: offer for mine in chosen.values() for offer in mine}
    tools = await built(union.values())
    return Offered(
        tools={
            agent: {name: tools[name] for offer in mine if (name := names[offer.id]) in tools}
            for agent, mine in chosen.items()
        },
        more=frozenset(many),
        find=find,
    )


def _chosen(
    mine: Sequence[Offer],
    agents: Agents,
    agent: str,
    recent: Sequence[OperationId],
    ranked: Sequence[OperationId],
    per_turn: int,
) -> list[Offer]:
    by_id = {offer.id: offer for offer in mine}
    pinned = [offer.id for offer in mine if is_pinned(agents.by_name[agent], offer)]
    wanted = dict.fromkeys(id_ for id_ in (*pinned, *recent, *ranked) if id_ in by_id)
    room = min(max(per_turn, len(pinned)), MAX_TOOLS)
    return [by_id[id_] for id_ in wanted][:room]


def _said_before(past: Iterable[Event], turn_id: TurnId) -> list[str]:
    """The customer's messages before that of the turn, oldest first."""
    said: list[str] = []
    for event in past:
        if isinstance(event.fact, MessageReceived):
            if event.fact.turn_id == turn_id:
                break
            said.append(event.fact.text)
    return said


def _recently_used(
    past: Sequence[Event], names: Mapping[OperationId, str], turn_id: TurnId
) -> list[OperationId]:
    """What the last turns have called, and what this one has found; the newest first."""
    known = {name: id_ for id_, name in names.items()}
    turns: dict[TurnId, None] = {}
    searches: set[str] = set()
    used: list[OperationId] = []
    for event in past:
        fact = event.fact
        if isinstance(fact, ToolCalled):
            turns.pop(fact.turn_id, None)
            turns[fact.turn_id] = None
            if fact.tool == FIND_TOOLS and fact.turn_id == turn_id:
                searches.add(fact.tool_call_id)
    lately = set(list(turns)[-_RECENT_TURNS:])
    for event in reversed(past):
        fact = event.fact
        if isinstance(fact, ToolCalled) and fact.turn_id in lately and fact.operation_id:
            used.append(OperationId(fact.operation_id))
        elif isinstance(fact, ToolReturned) and fact.tool_call_id in searches:
            found = json.loads(fact.content).get("tools", ()) if fact.outcome == "done" else ()
            used += [known[one["name"]] for one in found if one["name"] in known]
    return list(dict.fromkeys(used))
