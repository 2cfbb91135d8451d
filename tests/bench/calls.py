"""A tool call beside a bare httpx call, and lookups beside bare asyncpg, all in this process."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import httpx
import sqlalchemy as sa
from tests.bench.fakes import document
from tests.bench.figures import Figure
from tests.bench.load import timed
from tests.support.database import Databases

from smart_support.conversations.postgres import PostgresConversations
from smart_support.database.engine import check_writable, open_engine, psycopg_dsn, sessions
from smart_support.database.schema import migrate
from smart_support.events.records import ThreadId
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.importing import import_document
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Correction, decide
from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.upstream import Upstreams, UpstreamSettings
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.build import Tool, build_tools
from smart_support.tools.call import Limits, ToolCaller, plan_call
from smart_support.tools.linked import LinkedReads

READ = {"order_id": "1001"}
WRITE = {"order_id": "1001", "body": {"text": "Leave it at the door"}}

_LOOKUP = "SELECT * FROM threads WHERE id = $1"
_WRITE_ONE = (
    "INSERT INTO readiness (id, checked_at) VALUES (1, now())"
    " ON CONFLICT (id) DO UPDATE SET checked_at = now()"
)


@dataclass(frozen=True)
class Desk:
    """Everything that a tool call goes through, and what it is compared with."""

    http: httpx.AsyncClient
    """Shared by both sides."""
    company: str
    caller: ToolCaller
    tools: dict[str, Tool]
    conversations: PostgresConversations
    connection: asyncpg.Connection
    writable: Callable[[], Awaitable[None]]

    async def thread(self) -> ThreadId:
        opened = await self.conversations.open_thread(
            str(uuid4()), customer_id="cus_bench", customer_name="Bench", customer_email=None
        )
        return opened.id

    async def call(self, name: str, arguments: dict[str, Any], thread_id: ThreadId) -> None:
        """A call as the graph makes it: validated, planned, made, written down."""
        tool = self.tools[name]
        validate_arguments(tool.operation, arguments)
        planned = plan_call(
            tool, arguments, call_id=str(uuid4()), thread_id=thread_id, turn_id=str(uuid4())
        )
        result = await self.caller.call(tool, planned, actor="cus_bench", correlation_id="bench")
        if result.outcome != "done":
            raise RuntimeError(f"{name} ended as {result}")

    async def get(self) -> None:
        response = await self.http.get(f"{self.company}/orders/1001")
        response.raise_for_status().json()

    async def post(self) -> None:
        response = await self.http.post(f"{self.company}/orders/1001/notes", json=WRITE["body"])
        response.raise_for_status().json()


@asynccontextmanager
async def open_desk(server_url: str, company: str) -> AsyncIterator[Desk]:
    """A desk on a database of its own in the PostgreSQL at `server_url`."""
    async with AsyncExitStack() as stack:
        url = stack.enter_context(Databases(server_url).one())
        await migrate(url)
        engine = open_engine(url)
        stack.push_async_callback(engine.dispose)
        connected = sessions(engine)
        operations = PostgresOperations(connected)
        await _approve(operations, company)
        http = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=10)
        )
        upstreams = await stack.enter_async_context(
            Upstreams(UpstreamSettings(addresses=AddressPolicy.parse(["127.0.0.1"])))
        )
        connection = await asyncpg.connect(psycopg_dsn(url))
        stack.push_async_callback(connection.close)
        yield Desk(
            http=http,
            company=company,
            caller=ToolCaller(
                upstreams,
                PostgresLedger(connected),
                PostgresStops(connected),
                LinkedReads(upstreams, operations, attempt=10.0, max_bytes=1 << 20),
                Limits(),
                operations=operations,
            ),
            tools=build_tools(await operations.approved(), {"customer_id": "cus_bench"}),
            conversations=PostgresConversations(connected, owner=1),
            connection=connection,
            writable=partial(check_writable, engine),
        )


async def _approve(operations: PostgresOperations, company: str) -> None:
    imported = await import_document(
        operations,
        json.dumps(document(company)).encode(),
        source="bench.json",
        name="bench",
        by="bench",
        max_bytes=1 << 20,
    )
    for operation in await operations.operations(imported.spec.id):
        await decide(
            operations,
            operation,
            state=ReviewState.APPROVED,
            # Asked or not, a write is two commits; unasked it can be repeated here.
            correction=Correction(confirm=False),
            by="bench",
            reason=None,
            version=operation.version,
        )


CALLS = "A tool call (floor: httpx alone, on the same client; ours: with the ledger, fsync on)"
FLOORS = "Floors (floor: the bare thing; ours: the same through our layers)"


async def another_database(url: str, name: str) -> str:
    """Make one more database beside that of `url`; its address."""
    whole = sa.make_url(url)
    connection = await asyncpg.connect(psycopg_dsn(url))
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return psycopg_dsn(whole.set(database=name).render_as_string(hide_password=False))


async def measure(desk: Desk, *, rounds: int, times: int, until: float) -> list[Figure]:
    """`rounds` rounds of `times` of everything, the two sides taking turns at going first.

    No further round begins after `until`, a time of `time.monotonic`.
    """
    read = Figure(CALLS, "read, answered and recorded", "ms")
    read_cpu = Figure(CALLS, "read, CPU of the caller", "ms")
    write = Figure(CALLS, "write, two commits", "ms")
    write_cpu = Figure(CALLS, "write, CPU of the caller", "ms")
    lookup = Figure(FLOORS, "lookup by primary key", "ms")
    commit = Figure(FLOORS, "one row written and committed", "ms")
    thread_id = await desk.thread()

    def our(name: str, arguments: dict[str, Any]) -> Callable[[], Awaitable[object]]:
        return lambda: desk.call(name, arguments, thread_id)

    pairs: list[
        tuple[
            Figure,
            Figure | None,
            Callable[[], Awaitable[object]],
            Callable[[], Awaitable[object]],
        ]
    ] = [
        (read, read_cpu, desk.get, our("getOrder", READ)),
        (write, write_cpu, desk.post, our("addNote", WRITE)),
        (
            lookup,
            None,
            lambda: desk.connection.fetchrow(_LOOKUP, thread_id),
            lambda: desk.conversations.thread(thread_id),
        ),
        (commit, None, lambda: desk.connection.execute(_WRITE_ONE), desk.writable),
    ]
    for _, _, floor, ours in pairs:  # connections, prepared statements, caches
        await timed(floor, 5)
        await timed(ours, 5)
    for number in range(rounds):
        if number and time.monotonic() > until:
            break
        thread_id = await desk.thread()
        for wall, cpu, floor, ours in pairs:
            sides = [(floor, wall.floor, cpu and cpu.floor), (ours, wall.ours, cpu and cpu.ours)]
            for work, walls, cpus in sides if number % 2 == 0 else reversed(sides):
                began = time.process_time()
                walls.append(await timed(work, times))
                if cpus is not None:
                    cpus.append((time.process_time() - began) * 1000 / times)
            await asyncio.sleep(0)
    return [read, read_cpu, write, write_cpu, lookup, commit]
