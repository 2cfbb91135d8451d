"""A demo company in this process, on a real socket, with a clock that tests turn."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs

from smart_support.demo.api import create_app
from smart_support.demo.company import Company
from smart_support.demo.server import Server, address_of, bind
from smart_support.demo.store import Store

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
GARBAGE = b"\xff\xfe"  # what no JSON text contains
ADA = {"customer_id": "cus_ada"}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, time: timedelta) -> None:
        self.now += time


class Waits:
    """A sleep that ends when the test says so; counts who sleeps."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.began = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.began.set()
        await self.end.wait()


class OpenShop:
    """A running shop and a client that checks each answer against the shop's own document."""

    def __init__(self, company: Company, clock: Clock, waits: Waits, address: str) -> None:
        self.company, self.clock, self.waits = company, clock, waits
        self.document: dict[str, Any] = {}
        self.http = httpx.AsyncClient(
            base_url=address, timeout=60, trust_env=False, event_hooks={"response": [self._check]}
        )

    async def get(self, path: str, **params: Any) -> Any:
        """The body of a GET that must succeed, asked as Ada unless told otherwise."""
        response = await self.http.get(path, params=ADA | params)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post(path, params=ADA, json=body, headers=headers)

    async def refund(
        self, amount: Any, *, order: str = "1002", key: str | None = None, **more: Any
    ) -> httpx.Response:
        return await self.post(f"/orders/{order}/refunds", {"amount": amount, **more}, key)

    async def fault(self, kind: str, **more: Any) -> None:
        assert (await self.http.post("/_faults", json={"kind": kind, **more})).status_code == 201

    async def _check(self, response: httpx.Response) -> None:
        operation = self._operation(response.request.method, response.request.url.path)
        await response.aread()
        if operation is None or GARBAGE in response.content:
            return
        status = str(response.status_code)
        answer = operation["responses"].get(status) or operation["responses"]["default"]
        if "content" not in answer:
            assert not response.content
            return
        schema = answer["content"][response.headers["content-type"]]["schema"]
        jsonschema_rs.validate(
            schema | {"components": self.document["components"]},
            response.json(),
            validate_formats=True,
        )

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for template, operations in self.document.get("paths", {}).items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return operations.get(method.lower())
        return None


_DOCUMENT: dict[str, Any] = {}


async def _document(http: httpx.AsyncClient) -> dict[str, Any]:
    """What all shops offer. One is asked for it: the answer differs in the address alone."""
    if not _DOCUMENT:
        _DOCUMENT.update((await http.get("/openapi.json")).json())
    return _DOCUMENT


@asynccontextmanager
async def running_shop(
    folder: Path, clock: Clock | None = None, api_key: str | None = None
) -> AsyncIterator[OpenShop]:
    """Open the shop kept in `folder` and close it at the end."""
    clock, waits = clock or Clock(), Waits()
    listening = asyncio.Event()
    with bind("127.0.0.1", 0) as listener:
        store = Store.open(folder, clock)
        company = Company(store, clock=clock, sleep=waits, api_key=api_key)
        server = Server(create_app(company, address_of(listener)), listening.set)
        task = asyncio.create_task(server.serve([listener]))
        try:
            await asyncio.wait_for(listening.wait(), timeout=5)
            shop = OpenShop(company, clock, waits, address_of(listener))
            async with shop.http:
                shop.document = await _document(shop.http)
                yield shop
        finally:
            waits.end.set()
            server.stop()
            await asyncio.wait_for(task, timeout=5)
            await store.close()
