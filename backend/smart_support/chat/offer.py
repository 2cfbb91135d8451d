"""Which tools a turn is offered: not all of them, but those that it may need.

Each agent is offered its pinned tools, those that the conversation has just used, and the ones
whose words fit the message best; an agent with few tools is offered them all. The model can look
for more in the turn.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from smart_support.agent.agents import Agents
from smart_support.agent.prompts import FIND_TOOLS
from smart_support.agent.state import Find
from smart_support.agent.work import is_pinned, share
from smart_support.events.records import Event, MessageReceived, ToolCalled, ToolReturned, TurnId
from smart_support.operations.offers import Approvals, Offer
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import CLAIMS, OperationId
from smart_support.operations.search import question_words
from smart_support.tools.build import MAX_TOOLS, Tool, build_tools, may_be_offered, tool_names

PER_TURN = 20
"""Tools bound for a message, unless more are pinned."""
FOUND = 8
"""Tools given for one search by the model."""
KEPT = 400
"""Tools that are kept for the next turns; what a tool is takes some 20 kB of memory."""
_RECENT_TURNS = 3


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of each agent for one turn, and how more are found."""

    tools: Mapping[str, Mapping[str, Tool]]
    more: frozenset[str]
    """Agents that have tools beside those."""
    find: Find


class _Shelf:
    """What may be offered to customers of whom the same is known, by the agents that they meet.

    It is made once for each version of the catalogue, and keeps the tools that turns have asked
    for: they are the same for everybody here.
    """

    def __init__(self, approvals: Approvals, known: frozenset[str], agents: Agents) -> None:
        claims = dict.fromkeys(known, "")
        offers = [one for one in approvals.offers if may_be_offered(one, claims)]
        self._approvals = approvals
        self._claims = claims
        self._tools: OrderedDict[OperationId, Tool] = OrderedDict()
        self.names = tool_names(offers)
        self.own = share(offers, agents)
        self.by_id = {
            agent: {offer.id: offer for offer in mine} for agent, mine in self.own.items()
        }
        self.pinned = {
            agent: [offer.id for offer in mine if is_pinned(agents.by_name[agent], offer)]
            for agent, mine in self.own.items()
        }

    def chosen(
        self,
        agent: str,
        recent: Sequence[OperationId],
        ranked: Sequence[OperationId],
        per_turn: int,
    ) -> list[Offer]:
        """What an agent with many tools is offered, the surest first."""
        by_id, pinned = self.by_id[agent], self.pinned[agent]
        room = min(max(per_turn, len(pinned)), MAX_TOOLS)
        likeliest = islice((id_ for id_ in ranked if id_ in by_id), room)
        wanted = dict.fromkeys((*pinned, *(id_ for id_ in recent if id_ in by_id), *likeliest))
        return [by_id[id_] for id_ in islice(wanted, room)]

    async def tools(
        self, operations: PostgresOperations, wanted: Iterable[Offer]
    ) -> dict[str, Tool]:
        """The tools of these offers by name, in their order; without what was just taken back."""
        ids = [offer.id for offer in wanted]
        known = {id_: self._tools[id_] for id_ in ids if id_ in self._tools}
        if missing := [id_ for id_ in ids if id_ not in known]:
            read = build_tools(await operations.approved(missing), self._claims, self.names)
            known |= {tool.operation.id: tool for tool in read.values()}
        tools = [known[id_] for id_ in ids if id_ in known]
        for tool in tools:
            self._keep(tool)
        return {tool.name: tool for tool in tools}

    def _keep(self, tool: Tool) -> None:
        # What was changed since is good for this turn; the next one knows of the change.
        if self._approvals.allow(tool.operation, tool.base_url):
            self._tools[tool.operation.id] = tool
            self._tools.move_to_end(tool.operation.id)
            if len(self._tools) > KEPT:
                self._tools.popitem(last=False)


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
    approvals = await operations.approvals()
    known = frozenset(claims).intersection(CLAIMS)
    shelf = approvals.once((known, agents.version), lambda: _Shelf(approvals, known, agents))
    names = shelf.names
    many = {agent for agent, mine in shelf.own.items() if len(mine) > per_turn}
    ranked: Sequence[OperationId] = ()
    if many:
        words = question_words(text, _said_before(past, turn_id))
        ranked = approvals.index.ranked(await operations.lexemes(words))
    recent = _recently_used(past, names, turn_id)
    chosen = {
        agent: shelf.chosen(agent, recent, ranked, per_turn) if agent in many else mine
        for agent, mine in shelf.own.items()
    }

    async def find(agent: str, words: str) -> Mapping[str, Tool]:
        mine = shelf.by_id.get(agent, {})
        found = await operations.ranked(question_words(words))
        likeliest = [mine[id_] for id_ in found if id_ in mine][:FOUND]
        return await shelf.tools(operations, likeliest)

    union = {offer.id: offer for mine in chosen.values() for offer in mine}
    tools = await shelf.tools(operations, union.values())
    return Offered(
        tools={
            agent: {name: tools[name] for offer in mine if (name := names[offer.id]) in tools}
            for agent, mine in chosen.items()
        },
        more=frozenset(many),
        find=find,
    )


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
