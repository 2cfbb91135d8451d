"""The demo company as a real server, opened anew for each test that changes it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from tests.agent.offline.desk import Desk, tools_of

from smart_support.demo.api import create_app
from smart_support.demo.company import Company
from smart_support.demo.server import Server, address_of, bind
from smart_support.demo.store import Store

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = Store.open(tmp_path / "shop", lambda: NOW)
    listener = bind("127.0.0.1", 0)
    listening = asyncio.Event()
    address = address_of(listener)
    server = Server(create_app(Company(store, clock=lambda: NOW), address), listening.set)
    serving = asyncio.create_task(server.serve([listener]))
    await asyncio.wait_for(listening.wait(), 10)
    async with httpx.AsyncClient(base_url=address, trust_env=False, verify=False) as shop:
        document = (await shop.get("/openapi.json")).content
        yield Desk(tools_of(document), shop)
    server.stop()
    await serving
    await store.close()
