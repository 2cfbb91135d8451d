"""What people are asked before a write: made from the real call, by the operation's rules."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from smart_support.agent.arguments import parse_arguments
from smart_support.agent.state import ToolCallState
from smart_support.errors import InvalidInput, NotAllowed, SupportError
from smart_support.events.records import ApprovalAsked, Event, ThreadId
from smart_support.identity.people import Person, Role
from smart_support.ledger.consent import NewConsent
from smart_support.ledger.postgres import Decided, PostgresLedger
from smart_support.ledger.records import Approval, PlannedCall, approval_id_of
from smart_support.operations.postgres import PostgresOperations
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.build import Tool, build_tools
from smart_support.tools.call import ToolCaller, complete_arguments, plan_call
from smart_support.tools.consent import demand_of
from smart_support.tools.preview import address_of, fields_of

Questions = Sequence[tuple[PlannedCall, ApprovalAsked]]

CONSENT_TTL = timedelta(days=1)
"""How long a standing consent counts; it ends with its conversation at the latest."""


class NoStandingConsent(NotAllowed):
    """The operation, or this call of it, is not one that may be allowed once for all."""

    code = "CONV_NO_STANDING_CONSENT"
    user_message = "I have to ask you each time before I do that."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Asks people about calls, and takes their changes and standing consents."""

    ledger: PostgresLedger
    operations: PostgresOperations
    caller: ToolCaller
    clock: Callable[[], datetime]
    ttl: float
    """Seconds an answer can be given."""

    async def ask(
        self,
        calls: Sequence[ToolCallState],
        tools: Mapping[str, Tool],
        claims: Mapping[str, str],
        *,
        thread_id: ThreadId,
        turn_id: str,
        actor: str,
    ) -> tuple[Event, ...]:
        """Ask about calls of a turn; where the customer has a standing consent, it answers."""
        now = self.clock()
        consents = await self.ledger.consents(thread_id, now=now)
        allowed = {(one.operation_id, one.schema_hash) for one in consents if one.actor == actor}
        questions: list[tuple[PlannedCall, ApprovalAsked]] = []
        consented: list[str] = []
        for called in calls:
            tool = tools[called["tool"]]
            arguments = parse_arguments(called["arguments_json"])
            planned = plan_call(
                tool,
                complete_arguments(tool, arguments, claims),
                call_id=called["id"],
                thread_id=thread_id,
                turn_id=turn_id,
            )
            asked = await self._about(
                tool, planned, arguments, actor=actor, name=f"{called['id']}/first"
            )
            questions += [(planned, one) for one in asked]
            key = (tool.operation.id, tool.operation.schema_hash)
            if len(asked) == 1 and asked[0].standing and key in allowed:
                consented.append(asked[0].approval_id)
        return await self.ledger.ask(questions, actor=actor, consented=consented, now=now)

    async def change(
        self, person: Person, approval_id: str, arguments: Mapping[str, Any]
    ) -> tuple[Approval, tuple[Event, ...]]:
        """Ask the customer again, about the same call with arguments that they have changed.

        Changing is no yes: what will really be sent, made by us from the changed arguments, is
        shown first.

        Raises:
            NotFound: no such question for this person.
            InvalidInput: the arguments do not fit the operation; the text says where.
            ApprovalSettled, ApprovalExpired: it is too late.
        """
        approval, tool = await self._of(person, approval_id)
        try:
            checked = parse_arguments(_json(arguments))
            validate_arguments(tool.operation, checked)
            planned = plan_call(
                tool,
                complete_arguments(tool, checked, person.claims()),
                call_id=approval.tool_call_id,
                thread_id=approval.thread_id,
                turn_id=approval.turn_id,
            )
            asked = await self._about(
                tool, planned, checked, actor=person.id, name=f"{approval_id}/changed"
            )
        except SupportError as error:
            raise InvalidInput(str(error)) from error
        events = await self.ledger.ask_again(
            approval_id, [(planned, one) for one in asked], actor=person.id, now=self.clock()
        )
        again, _ = await self.ledger.question(asked[0].approval_id, actor=person.id)
        return again, events

    async def decide(
        self,
        person: Person,
        approval_id: str,
        *,
        approved: bool,
        reason: str | None,
        answered: bool = False,
        standing: bool = False,
    ) -> Decided:
        """Record a person's answer; `standing`: to all such calls of this conversation.

        Raises:
            NotFound: no such question for this person.
            NoStandingConsent: each such call has to be asked about.
            ApprovalSettled: it was answered before.
        """
        consent = await self._consent(person, approval_id) if standing and approved else None
        return await self.ledger.decide(
            approval_id,
            actor=person.id,
            approved=approved,
            reason=reason,
            now=self.clock(),
            lead=person.role is Role.LEAD,
            answered=answered,
            consent=consent,
        )

    async def _consent(self, person: Person, approval_id: str) -> NewConsent:
        approval, tool = await self._of(person, approval_id)
        arguments = complete_arguments(tool, approval.arguments or {}, person.claims())
        if not demand_of(tool.operation.classification, arguments).standing:
            raise NoStandingConsent(f"{tool.operation.key} takes no standing consent")
        return NewConsent(
            operation_id=tool.operation.id,
            schema_hash=tool.operation.schema_hash,
            operation=tool.operation.key,
            title=tool.title,
            expires_at=self.clock() + CONSENT_TTL,
        )

    async def _of(self, person: Person, approval_id: str) -> tuple[Approval, Tool]:
        approval, operation_id = await self.ledger.question(approval_id, actor=person.id)
        offered = build_tools(await self.operations.approved([operation_id]), person.claims())
        tool = next(iter(offered.values()), None)
        if tool is None:
            raise InvalidInput("This is not offered any more.")
        return approval, tool

    async def _about(
        self,
        tool: Tool,
        planned: PlannedCall,
        arguments: Mapping[str, Any],
        *,
        actor: str,
        name: str,
    ) -> list[ApprovalAsked]:
        """The question to the customer, and the one to a lead where a rule demands it."""
        demand = demand_of(tool.operation.classification, planned.arguments)
        over = await self.ledger.passed(planned, actor, demand.totals, now=self.clock())
        request = self.caller.request(tool, planned, {})
        why = [*demand.lead, *over]

        def question(audience: Any) -> ApprovalAsked:
            first = name == f"{planned.id}/first" and audience == "customer"
            return ApprovalAsked(
                turn_id=planned.turn_id,
                tool_call_id=planned.id,
                approval_id=approval_id_of(planned.id)
                if first
                else str(uuid5(UUID(planned.id), f"{name}/{audience}")),
                title=tool.title,
                method=request.method,
                url=address_of(request),
                fields=fields_of(planned),
                expires_at=(self.clock() + timedelta(seconds=self.ttl)).isoformat(),
                audience=audience,
                why="; ".join(why) or None,
                arguments=dict(arguments),
                standing=demand.standing and not why,
            )

        return [question("customer"), question("lead")] if why else [question("customer")]


def _json(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments))
