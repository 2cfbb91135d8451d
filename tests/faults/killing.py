"""The real server between a scripted model and a counting company, killed where a test says so."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from tests.operations.documents import openapi, parameter
from tests.support.chat_client import connected
from tests.support.model_endpoint import ModelEndpoint, Received, Script, calls, says, stalled

from smart_support.database.engine import psycopg_dsn
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import Tokens

KEY = "a key of this test run that signs tokens"
ADA = Person(id="cus_ada", role=Role.CUSTOMER, name="Ada", email="ada@example.org")
OPERATOR = Person(id="operator", role=Role.OPERATOR, name="Oona")
ROOT = Path(__file__).parents[2]
PATIENCE = 60.0

BODY = {
    "type": "object",
    "properties": {
        "run": {"type": "string"},
        "hold": {"type": "string"},
        "late": {"type": "boolean"},
    },
    "required": ["run"],
}
_POST = {"requestBody": {"required": True, "content": {"application/json": {"schema": BODY}}}}
_KEYED = {**_POST, "parameters": [parameter("Idempotency-Key", "header")]}
DOCUMENT = openapi(
    {
        "/keyed": {"post": {"operationId": "keyed", **_KEYED}},
        "/keyless": {"post": {"operationId": "keyless", **_POST}},
        "/asked": {"post": {"operationId": "asked", **_POST}},
        "/read": {
            "get": {
                "operationId": "read",
                "parameters": [parameter("run", required=True), parameter("hold")],
            }
        },
    }
)
KINDS = ("keyed", "keyless", "read")


@dataclass
class Call:
    """One call that the customer's message leads to."""

    kind: str
    run: str = field(default_factory=lambda: uuid4().hex)
    hold: str | None = None
    late: bool = False
    thread: str = ""
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the model was told the result."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """Lets the model answer."""

    def arguments(self) -> dict[str, Any]:
        held: dict[str, Any] = {"run": self.run}
        if self.hold is not None:
            held["hold"] = self.hold
        if self.kind == "read":
            return held
        return {"body": {**held, **({"late": True} if self.late else {})}}


@dataclass
class World:
    """Everything that outlives a server."""

    url: str
    company: str
    model: ModelEndpoint
    tokens: Tokens
    log: Path
    nursery: asyncio.subprocess.Process
    http: httpx.AsyncClient
    database: psycopg.AsyncConnection[Any]
    calls: dict[str, Call] = field(default_factory=dict)
    pid: int = 0
    address: str = ""
    kills: int = 0
    killed_at: datetime | None = None

    def answer(self, request: Received) -> Script:
        """What the model says: it calls what the customer names, and tells of the result."""
        messages = request.body["messages"]
        asked = max(place for place, one in enumerate(messages) if one["role"] == "user")
        call = self.calls[messages[asked]["content"]]
        if not any(one["role"] == "tool" for one in messages[asked:]):
            return calls((call.kind, call.arguments()))
        call.answering.set()
        return stalled(says("That is what came of it."), call.go, after=0)

    def token(self, person: Person) -> str:
        return self.tokens.issue(person, now=datetime.now(UTC), ttl=3_600)

    async def start(self) -> None:
        """Start the server on what the one before has left."""
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.url,
            "OPENAI_API_KEY": "test-key",
            "OPENAI_BASE_URL": self.model.base_url,
            "SMART_SUPPORT_SECRET_KEY": KEY,
            "SMART_SUPPORT_PORT": "0",
            "SMART_SUPPORT_DATA_DIR": str(self.log.parent),
            "SMART_SUPPORT_TOOL_ALLOWED_HOSTS": "127.0.0.1",
            "SMART_SUPPORT_REST_LIMIT": "1000000/minute",
            "SMART_SUPPORT_LOG_FORMAT": "json",
        }
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.log.unlink(missing_ok=True)
        self.nursery.stdin.write(json.dumps({"env": env, "log": str(self.log)}).encode() + b"\n")
        await self.nursery.stdin.drain()
        self.pid = int(await self.nursery.stdout.readline())
        self.address = await self.until(self._address, "the server to start")

    async def _address(self) -> str | None:
        text = self.log.read_text() if self.log.exists() else ""
        found = [line for line in text.splitlines() if line.startswith("Smart Support runs at")]
        return found[0].split()[-1] if found else None

    def kill(self) -> None:
        """End the server in the middle of whatever it does."""
        os.kill(self.pid, signal.SIGKILL)
        self.killed_at = datetime.now(UTC)
        self.kills += 1

    async def until(self, found: Callable[[], Any], what: str) -> Any:
        """What `found` gives as soon as that is something."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (value := await found()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"waited for {what}; the server: {self.log.read_text()}") from None
        return value

    async def rest(self, person: Person, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token(person)}"}
        got = await self.http.request(method, self.address + path, headers=headers, **more)
        assert got.is_success, got.text
        return got.json()

    async def send(self, call: Call) -> None:
        """Let Ada write a message, in a thread of its own, that leads to this call."""
        call.thread = (await self.rest(ADA, "POST", "/api/threads"))["id"]
        text = f"Do {call.kind} {call.run}"
        self.calls[text] = call
        async with connected(self.address) as chat:
            await chat.hello(self.token(ADA))
            await chat.write(call.thread, text)
            await chat.only("ack")

    async def question(self, call: Call) -> str | None:
        """The id of the question that waits for Ada's answer in the thread."""
        query = "SELECT id::text FROM approvals WHERE thread_id = %s AND state = 'pending'"
        found = await self.rows(query, call.thread)
        return str(found[0][0]) if found else None

    async def decide(self, call: Call) -> None:
        """Say yes."""
        path = f"/api/approvals/{await self.question(call)}/decision"
        await self.rest(ADA, "POST", path, json={"decision": "approve"})

    async def seen(self, call: Call) -> dict[str, int]:
        """How often the company was asked, and how many effects that had."""
        got = await self.http.get(f"{self.company}/seen", params={"run": call.run})
        found: dict[str, int] = got.json()
        return found

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return await (await self.database.execute(query.encode(), values)).fetchall()

    async def waiting_for(self, table: str) -> int:
        """How many of the server's statements wait for a lock on this table."""
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
        return int((await self.rows(query, table))[0][0])

    @asynccontextmanager
    async def blocked(self, table: str) -> AsyncIterator[None]:
        """Nobody can write to this table inside the block; everybody can read it."""
        async with await psycopg.AsyncConnection.connect(psycopg_dsn(self.url)) as connection:
            await connection.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
            yield
            await connection.rollback()

    async def states(self, call: Call) -> list[str]:
        """The states of the thread's calls in the ledger."""
        query = "SELECT state FROM tool_calls WHERE thread_id = %s"
        return [row[0] for row in await self.rows(query, call.thread)]

    async def early(self, call: Call) -> float:
        """Seconds from when the thread's call was to be sent until the last kill."""
        query = "SELECT sent_at FROM tool_calls WHERE thread_id = %s"
        assert self.killed_at is not None
        return float((self.killed_at - (await self.rows(query, call.thread))[0][0]).total_seconds())

    async def is_over(self, call: Call) -> bool:
        """Whether nothing of it is open: turns, calls, and what can be found out."""
        query = "SELECT count(*) FROM turns WHERE thread_id = %s AND status IN ('open', 'queued')"
        if (await self.rows(query, call.thread))[0][0]:
            return False
        wrong = {"sent", "planned", "approved"} | ({"ambiguous"} if call.kind == "keyed" else set())
        return not wrong & set(await self.states(call))

    async def facts(self, call: Call, type_: str) -> list[dict[str, Any]]:
        query = "SELECT payload FROM events WHERE thread_id = %s AND type = %s ORDER BY seq"
        return [row[0] for row in await self.rows(query, call.thread, type_)]


async def _started(module: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'backend'}{os.pathsep}{ROOT}"},
    )


async def _ended(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(20):
        await process.wait()


@asynccontextmanager
async def open_world(url: str, folder: Path) -> AsyncIterator[World]:
    """A world on the migrated database at `url`, its operations approved, its server started."""
    async with AsyncExitStack() as stack:
        company, nursery = [
            await _started(f"tests.faults.{name}") for name in ("company", "nursery")
        ]
        for process in (company, nursery):
            stack.push_async_callback(_ended, process)
        assert company.stdout is not None
        port = json.loads(await company.stdout.readline())["port"]
        worlds: list[World] = []

        def respond(request: Received) -> Script:
            return worlds[0].answer(request)

        model = await stack.enter_async_context(ModelEndpoint(respond=respond))
        world = World(
            url=url,
            company=f"http://127.0.0.1:{port}",
            model=model,
            tokens=Tokens(KEY),
            log=folder / "server.log",
            nursery=nursery,
            http=await stack.enter_async_context(
                httpx.AsyncClient(trust_env=False, verify=False, timeout=30)
            ),
            database=await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(psycopg_dsn(url), autocommit=True)
            ),
        )
        worlds.append(world)
        await world.start()
        await _approve(world)
        yield world


async def _approve(world: World) -> None:
    document = json.dumps(DOCUMENT | {"servers": [{"url": world.company}]})
    imported = await world.rest(OPERATOR, "POST", "/api/specs", content=document)
    path = f"/api/specs/{imported['spec']['id']}/operations"
    for operation in (await world.rest(OPERATOR, "GET", path))["operations"]:
        await world.rest(
            OPERATOR,
            "POST",
            f"/api/operations/{operation['id']}/decision",
            json={
                "version": operation["version"],
                "state": "approved",
                "confirm": operation["tool_name"] == "asked",
            },
        )
