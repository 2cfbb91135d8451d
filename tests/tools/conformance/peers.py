"""What `../shared/conformance` drives: a registered operation, called as a turn calls it.

Plan, approval where one is needed, ledger and PostgreSQL are all in the path. The database is the
one that CONFORMANCE_DATABASE names; it has our tables.
"""

import json as js
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine
from tests.operations.documents import openapi, parameter, spec_of

from smart_support.conversations.postgres import PostgresConversations
from smart_support.database.engine import open_engine, sessions
from smart_support.events.records import ApprovalAsked
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.records import PlannedCall, approval_id_of
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Operation, ReviewState
from smart_support.operations.review import Correction, decide
from smart_support.operations.suggest import suggest
from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.upstream import Upstreams, UpstreamSettings
from smart_support.tools.build import Tool
from smart_support.tools.call import CallResult, Limits, ToolCaller, plan_call
from smart_support.tools.linked import LinkedReads

ACTOR = "cus_conformance"
SETTINGS = UpstreamSettings(addresses=AddressPolicy.parse(["127.0.0.1"]))

_registered: dict[tuple[str, str, str, tuple[str, ...], bool], Operation] = {}
"""By the server first: a call goes only to where its API is said to be, and cases run at once."""


@cache
def engine() -> AsyncEngine:
    """One for all cases, as in a process of ours."""
    return open_engine(os.environ["CONFORMANCE_DATABASE"])


class Failed(Exception):
    """A call that did not end as done; its text is what the model reads."""

    def __init__(self, result: CallResult) -> None:
        super().__init__(result.content)
        self.result = result


class Ours:
    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        connected = sessions(engine())
        self._operations = PostgresOperations(connected)
        self._ledger = PostgresLedger(connected)
        self._stops = PostgresStops(connected)
        self._upstreams = await self._stack.enter_async_context(Upstreams(SETTINGS))
        self._thread = str(uuid4())
        await PostgresConversations(connected, owner=1).open_thread(
            self._thread, customer_id=ACTOR, customer_name="C", customer_email=None
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def call(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        idempotency_key: str | None = None,
        deadline_s: float,
    ) -> object:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query))
        address = f"{parts.scheme}://{parts.netloc}"
        operation = await self._operation(
            address, method, parts.path, tuple(given), keyed=idempotency_key is not None
        )
        tool = Tool(operation.tool_name, operation, address)
        arguments: dict[str, Any] = {**given, **({} if json is None else {"body": json})}
        planned = plan_call(
            tool,
            arguments,
            call_id=str(uuid4()),
            thread_id=self._thread,
            turn_id=str(uuid4()),
        )
        if operation.classification.confirm:
            await self._approve(planned)
        attempt = deadline_s / 3
        caller = ToolCaller(
            self._upstreams,
            self._ledger,
            self._stops,
            LinkedReads(self._upstreams, self._operations, attempt=attempt, max_bytes=2 << 20),
            Limits(total=deadline_s, attempt=attempt),
            operations=self._operations,
        )
        result = await caller.call(tool, planned, actor=ACTOR, correlation_id="conformance")
        if result.outcome != "done":
            raise Failed(result)
        return js.loads(result.content)

    async def _operation(
        self, address: str, method: str, path: str, names: tuple[str, ...], *, keyed: bool
    ) -> Operation:
        which = (address, method, path, names, keyed)
        if which not in _registered:
            _registered[which] = await self._register(*which)
        return _registered[which]

    async def _register(
        self, address: str, method: str, path: str, names: tuple[str, ...], keyed: bool
    ) -> Operation:
        described: dict[str, Any] = {"parameters": [parameter(name) for name in names]}
        if keyed:
            described["parameters"].append(parameter("Idempotency-Key", "header"))
        if method in {"POST", "PUT", "PATCH"}:
            schema: Mapping[str, Any] = {"type": "object"}
            described["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        draft = spec_of(
            openapi({path or "/": {method.lower(): described}}) | {"servers": [{"url": address}]}
        )
        draft = replace(
            draft,
            operations=tuple(replace(each, suggestion=suggest(each)) for each in draft.operations),
        )
        imported = await self._operations.save_draft(
            draft, name=str(uuid4()), document=b"{}", by="operator"
        )
        await self._operations.set_base_url(imported.spec.id, address)
        (operation,) = await self._operations.operations(imported.spec.id)
        locked = operation.suggestion.confirm_locked
        return await decide(
            self._operations,
            operation,
            state=ReviewState.APPROVED,
            correction=Correction(confirm=None if locked else False),
            by="operator",
            reason=None,
            version=operation.version,
        )

    async def _approve(self, planned: PlannedCall) -> None:
        now = datetime.now(UTC)
        asked = ApprovalAsked(
            turn_id=planned.turn_id,
            tool_call_id=planned.id,
            approval_id=approval_id_of(planned.id),
            title=planned.operation,
            method="",
            url="",
            fields=[],
            expires_at=(now + timedelta(hours=1)).isoformat(),
        )
        await self._ledger.ask([(planned, asked)], actor=ACTOR)
        await self._ledger.decide(
            asked.approval_id, actor=ACTOR, approved=True, reason=None, now=now
        )

    def category(self, error: Exception) -> str:
        if isinstance(error, Failed):
            assert error.result.failure is not None, error
            return error.result.failure.category.value
        return "non_retryable"  # the arguments made no request, or the ledger said no


PEERS = {"ours": Ours}
