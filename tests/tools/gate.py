"""An API behind a gate, the operator's keyring for it, and calls that want in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx
import sqlalchemy as sa
from structlog.testing import capture_logs
from tests.operations.documents import openapi, spec_of
from tests.support.guarded import CLIENT_ID, CLIENT_SECRET, Company
from tests.support.turns import ADA, Clock

from smart_support.conversations.postgres import PostgresConversations
from smart_support.database import Sessions
from smart_support.identity.people import Person
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.records import PlannedCall
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.ledger.tables import tool_attempts
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Correction, decide
from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.upstream import Upstreams, UpstreamSettings
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.security.sealing import Keys, new_key, parse_keys
from smart_support.tools.authorize import Door, SpecAuthorizer
from smart_support.tools.build import Tool, build_tools
from smart_support.tools.call import CallResult, Limits, ToolCaller, complete_arguments, plan_call
from smart_support.tools.keyring import Given, Keyring
from smart_support.tools.linked import LinkedReads
from smart_support.tools.oauth import OAuth

TURN = "01900000-0000-7000-8000-00000000000a"


@dataclass
class Gate:
    """A guarded company, and what we have to get in."""

    sessions: Sessions
    http: httpx.AsyncClient
    upstreams: Upstreams
    clock: Clock
    operations: PostgresOperations
    ledger: PostgresLedger
    thread_id: str
    company: Company
    credentials: PostgresCredentials
    oauth: OAuth
    keyring: Keyring
    authorizer: SpecAuthorizer
    caller: ToolCaller
    keys: Keys
    spec_id: str = ""

    async def document(self, schemes: dict[str, Any], security: Any, **operation: Any) -> None:
        """Import a document with these schemes, whose operations need this, and approve it."""
        root = openapi(
            {
                "/things": {
                    "get": {"operationId": "listThings", "security": security, **operation},
                    "post": {
                        "operationId": "addThing",
                        "security": security,
                        "requestBody": {"content": {"application/json": {"schema": {}}}},
                    },
                }
            },
            servers=[{"url": self.company.base_url}],
            components={"securitySchemes": schemes},
        )
        await self.imported(root)

    async def imported(self, root: dict[str, Any]) -> None:
        operations = self.operations
        saved = await operations.save_draft(spec_of(root), name="gate", document=b"{}", by="op")
        self.spec_id = saved.spec.id
        for each in await operations.operations(self.spec_id):
            if each.state is not ReviewState.APPROVED:
                await decide(
                    operations,
                    each,
                    state=ReviewState.APPROVED,
                    correction=Correction(confirm=False),
                    by="op",
                    reason=None,
                    version=each.version,
                )

    async def give(self, scheme: str, **given: Any) -> None:
        await self.keyring.give(self.spec_id, scheme, Given(**given), by="op")

    async def give_client(self, scheme: str = "login", **given: Any) -> None:
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **given}
        await self.give(scheme, **client)

    async def tool(self, name: str) -> Tool:
        return build_tools(await self.operations.approved(), ADA.claims())[name]

    async def attempts(self) -> list[Any]:
        """Every row of the table of attempts."""
        async with self.sessions() as session:
            return list(await session.execute(sa.select(tool_attempts)))

    async def call(
        self,
        name: str = "listThings",
        arguments: dict[str, Any] | None = None,
        person: Person = ADA,
    ) -> CallResult:
        """Call a tool for a customer.

        Raises: as ToolCaller.call.
        """
        tool = await self.tool(name)
        claims = person.claims()
        return await self.caller.call(
            tool,
            self.planned(tool, arguments or {}, claims),
            actor=person.id,
            correlation_id="c-1",
            claims=claims,
        )

    def planned(
        self, tool: Tool, arguments: dict[str, Any], claims: Mapping[str, str]
    ) -> PlannedCall:
        return plan_call(
            tool,
            complete_arguments(tool, arguments, claims),
            call_id=str(uuid4()),
            thread_id=self.thread_id,
            turn_id=TURN,
        )

    async def write(self, **more: Any) -> CallResult:
        return await self.call("addThing", {"body": {"a": 1}}, **more)

    async def connect(self, person: Person = ADA, scheme: str = "login") -> None:
        """Let a customer go to the OAuth server and come back."""
        client = await self.keyring.client(self.spec_id, scheme)
        here = "http://127.0.0.1:9/api/connect/callback"
        departure = await self.oauth.depart(client, person.id, redirect_uri=here)
        answer = await self.http.get(departure.url)
        back = httpx.URL(answer.headers["location"]).params
        await self.oauth.arrive(
            state=back["state"], keep=departure.keep, code=back.get("code"), error=back.get("error")
        )

    def another(self) -> "Gate":
        """The same in another process: its own memory, the same database."""
        return replace(
            self, **_keyed(self.sessions, self.http, self.upstreams, self.clock, self.keys)
        )


def _keyed(
    sessions: Sessions, http: httpx.AsyncClient, upstreams: Upstreams, clock: Clock, keys: Keys
) -> dict[str, Any]:
    ledger = PostgresLedger(sessions)
    operations = PostgresOperations(sessions, monotonic=clock.monotonic)
    credentials = PostgresCredentials(sessions, keys)
    oauth = OAuth(http, credentials, clock=clock)
    limits = Limits()
    authorizer = SpecAuthorizer(operations, credentials, oauth)
    return {
        "operations": operations,
        "ledger": ledger,
        "credentials": credentials,
        "oauth": oauth,
        "keyring": Keyring(operations, credentials, oauth),
        "authorizer": authorizer,
        "caller": ToolCaller(
            upstreams,
            ledger,
            PostgresStops(sessions, monotonic=clock.monotonic),
            LinkedReads(upstreams, operations, attempt=limits.attempt, max_bytes=limits.max_bytes),
            limits,
            operations=operations,
            door=Door(upstreams, authorizer),
            clock=clock,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
        ),
    }


@asynccontextmanager
async def open_gate(sessions: Sessions, company: Company) -> AsyncIterator[Gate]:
    """A company with nothing imported yet, which has forgotten everything before."""
    company.forget()
    keys, clock = parse_keys(new_key()), Clock()
    thread = await PostgresConversations(sessions, owner=1).open_thread(
        str(uuid4()), customer_id=ADA.id, customer_name=ADA.name, customer_email=ADA.email
    )
    with capture_logs():
        async with (
            httpx.AsyncClient(verify=False, trust_env=False) as http,
            Upstreams(
                UpstreamSettings(addresses=AddressPolicy.parse(["127.0.0.1"])),
                clock=clock.monotonic,
                sleep=clock.sleep,
                chance=lambda: 0.5,
            ) as upstreams,
        ):
            gate = Gate(
                sessions=sessions,
                http=http,
                upstreams=upstreams,
                clock=clock,
                thread_id=thread.id,
                company=company,
                keys=keys,
                **_keyed(sessions, http, upstreams, clock, keys),
            )
            yield gate
            await gate.oauth.close()
