"""The whole product on a real socket, in this process, with a token for everybody.

    async with running(migrated_database()) as server:
        thread = await server.thread(ADA)
        async with server.chat(ADA) as chat: ...
        response = await server.http(LEAD).get(f"/api/threads/{thread}/replay")

The model is a scripted endpoint that answers each question with "You said: ..." unless something
is queued; the company's API is a scripted one too. Only those two are not ours.
"""

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog
from fastapi import FastAPI
from pydantic import SecretStr
from tests.support.chat_client import ChatClient, connected
from tests.support.model_endpoint import ModelEndpoint, Received, Script, says
from tests.support.turns import ADA, BOB, DOCUMENT, LEAD
from tests.support.upstream import Upstream

from smart_support.api.parts import Parts
from smart_support.app.parts import Seams, open_parts
from smart_support.app.web import create_app
from smart_support.cli.serve import bind, serving
from smart_support.identity.people import Person, Role
from smart_support.security.sealing import new_key
from smart_support.settings import Settings

__all__ = ["ADA", "BOB", "LEAD", "OPERATOR", "Server", "logged", "running", "settings_of"]

OPERATOR = Person(id="operator", role=Role.OPERATOR, name="Oona")
KEY = "a key of this test run that signs tokens"
SEALING_KEY = new_key()


def settings_of(**chosen: Any) -> Settings:
    """Settings that nothing on this machine has a part in, on a free port."""
    defaults: dict[str, Any] = {
        "database_url": None,
        "openai_api_key": None,
        "openai_base_url": None,
        "smart_support_secret_key": SecretStr(KEY),
        "smart_support_sealing_keys": SecretStr(SEALING_KEY),
        "smart_support_port": 0,
        "smart_support_tool_allowed_hosts": "127.0.0.1",
        "smart_support_rest_limit": "1000000/minute",
    }
    return Settings(_env_file=None, **defaults | chosen)


def echo(request: Received) -> Script:
    """An answer that repeats the last message, so that answers can be told apart."""
    return says(f"You said: {request.body['messages'][-1]['content']}")


@dataclass
class Server:
    """A running product and what stands around it."""

    address: str
    app: FastAPI
    parts: Parts
    model: ModelEndpoint
    company: Upstream
    stack: AsyncExitStack

    def token(self, person: Person, *, ttl: float = 600.0, now: datetime | None = None) -> str:
        return self.parts.tokens.issue(person, now=now or datetime.now(UTC), ttl=ttl)

    def http(self, person: Person | None = None) -> httpx.AsyncClient:
        """A client that is signed in as `person`; it is closed with the server."""
        headers = {"Authorization": f"Bearer {self.token(person)}"} if person else {}
        client = httpx.AsyncClient(
            base_url=self.address, headers=headers, timeout=60, trust_env=False, verify=False
        )  # plain HTTP, which needs no certificates: reading them takes longer than most tests
        self.stack.push_async_callback(client.aclose)
        return client

    async def thread(self, person: Person = ADA) -> str:
        """A new thread of this customer."""
        return (await self.parts.runner.open_thread(person)).id

    @asynccontextmanager
    async def chat(self, person: Person = ADA, **options: Any) -> AsyncIterator[ChatClient]:
        """A socket of this person that has said hello."""
        async with connected(self.address, **options) as client:
            await client.hello(self.token(person))
            yield client

    async def settled(self) -> None:
        """Wait until nothing is being answered, and what is derived has caught up."""
        await self.parts.runner.idle()
        await self.parts.derivation.sweep()

    async def import_company(self, name: str = "Company") -> dict[str, Any]:
        """Import the scripted company's document and approve all of it; its spec."""
        operator = self.http(OPERATOR)
        document = DOCUMENT | {"servers": [{"url": self.company.base_url}]}
        answer = await operator.post(
            "/api/specs", params={"name": name}, content=json.dumps(document)
        )
        assert answer.status_code == 201, answer.text
        spec: dict[str, Any] = answer.json()["spec"]
        for operation in await self.operations(spec["id"]):
            decision = {"version": operation["version"], "state": "approved"}
            answer = await operator.post(
                f"/api/operations/{operation['id']}/decision", json=decision
            )
            assert answer.status_code == 200, answer.text
        return spec

    async def operations(self, spec_id: str) -> list[dict[str, Any]]:
        answer = await self.http(OPERATOR).get(f"/api/specs/{spec_id}/operations")
        found: list[dict[str, Any]] = answer.json()["operations"]
        return found


@asynccontextmanager
async def running(
    url: str,
    *,
    seams: Seams | None = None,
    prepare: Callable[[FastAPI], None] = lambda _: None,
    offline: bool = False,
    **chosen: Any,
) -> AsyncIterator[Server]:
    """Serve on the migrated database at `url`; `prepare` may add to the app what a test needs."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ModelEndpoint(respond=echo))
        company = await stack.enter_async_context(Upstream())
        endpoint: dict[str, Any] = {
            "openai_api_key": SecretStr("sk-test"),
            "openai_base_url": model.base_url,
        }
        settings = settings_of(**({} if offline else endpoint) | chosen)
        seams = seams or Seams(offline_token_delay=0.0)
        parts = await stack.enter_async_context(open_parts(settings, url, seams))
        app = create_app(settings, lambda: contextlib.nullcontext(parts))
        prepare(app)
        listener: socket.socket = stack.enter_context(bind(settings))
        await stack.enter_async_context(
            serving(app, listener, heartbeat=settings.smart_support_heartbeat)
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Server(address, app, parts, model, company, stack)


@contextlib.contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """Every line that is logged inside the block, as its fields."""
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, event: Any) -> Any:
        lines.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        yield lines
    finally:
        structlog.configure(**before)
