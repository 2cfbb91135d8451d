"""Asks the read that a person linked to a write: has it taken effect, how far has it come."""

from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from smart_support.errors import SupportError
from smart_support.ledger.records import KnownCall
from smart_support.operations.effects import Lookup, StatusCheck, filled
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Classification
from smart_support.resilience.records import CallFailed, CallPlan
from smart_support.resilience.upstream import Upstreams
from smart_support.tools.authorize import NOT_LET_IN, Door
from smart_support.tools.build import Tool
from smart_support.tools.planning import breaker_group
from smart_support.tools.request import build_request


class LinkBroken(SupportError):
    """The linked read cannot be asked: it is not approved, or an argument of it is not known."""

    code = "TOOL_LINK_BROKEN"
    status = 409


@dataclass(frozen=True, slots=True)
class Seen:
    """What a linked read answered. `body` is None if it knows no such thing (404)."""

    status: int
    headers: httpx.Headers
    body: Any


class LinkedReads:
    """Sends the linked reads. They change nothing and are in no ledger."""

    def __init__(
        self,
        upstreams: Upstreams,
        operations: PostgresOperations,
        *,
        attempt: float,
        max_bytes: int,
        door: Door | None = None,
    ) -> None:
        """`attempt`: seconds that one request may take."""
        self._door = door or Door(upstreams)
        self._operations = operations
        self._attempt = attempt
        self._max_bytes = max_bytes

    async def ask(
        self,
        link: Lookup | StatusCheck,
        call: KnownCall,
        classification: Classification,
        *,
        within: float,
    ) -> Seen:
        """What the linked read says of `call`, in at most `within` seconds.

        `classification` is that of the call's own operation.

        Raises:
            LinkBroken: it cannot be asked.
            CallFailed: it did not answer.
        """
        tool = await self._tool(link, call)
        arguments = filled(link.arguments, call.pointers())
        if arguments is None:
            raise LinkBroken(f"{call.operation} does not have what {link.operation} asks for")
        # What the customer is bound to in the call, they are bound to here.
        known = {
            claim: call.arguments[argument]
            for argument, claim in classification.bindings.items()
            if argument in call.arguments
        }
        for argument, claim in tool.operation.classification.bindings.items():
            if claim in known:
                arguments[argument] = known[claim]
            elif argument not in arguments:
                raise LinkBroken(f"nothing says which customer to ask {link.operation} about")
        request = build_request(
            tool.operation.request_plan, arguments, base_url=tool.base_url, headers={}
        )
        plan = CallPlan(
            group=breaker_group(tool.operation),
            writes=False,
            repeatable=True,
            total=within,
            attempt=min(self._attempt, within),
            max_bytes=self._max_bytes,
        )
        try:
            got = await self._door.send(request, plan, tool, known)
        except CallFailed as error:
            if error.answered == 404:
                return Seen(404, error.headers, None)
            raise
        except NOT_LET_IN as error:
            raise LinkBroken(f"{link.operation} does not let us in") from error
        return Seen(got.status, got.headers, _parsed(got.body))

    async def _tool(self, link: Lookup | StatusCheck, call: KnownCall) -> Tool:
        found = await self._operations.approved_read(call.api_id or "", link.operation)
        if call.api_id is None or found is None:
            raise LinkBroken(f"{link.operation} is no approved read")
        operation, base_url = found
        address = base_url or operation.request_plan["server"]
        if address is None:
            raise LinkBroken(f"nothing says where {link.operation} is")
        return Tool(operation.tool_name, operation, address)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
