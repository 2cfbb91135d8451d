"""The running shop: its state, its keys, its moods, and what it was asked."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from smart_support.demo.faults import Faults, Kind
from smart_support.demo.keys import IdempotencyKeys
from smart_support.demo.store import Clock, Store

CALLS_KEPT = 10_000

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def utc_now() -> datetime:
    """The time on the wall, in UTC."""
    return datetime.now(UTC)


@dataclass
class Call:
    """One request the shop received.

    `status` is what was answered, None if nothing was; `effect` whether it changed the shop.
    """

    at: datetime
    method: str
    path: str
    query: str
    key: str | None
    operation: str | None = None
    status: int | None = None
    effect: bool = False
    replayed: bool = False
    fault: Kind | None = None


@dataclass
class Company:
    """Everything a request needs. `api_key` None lets everyone in."""

    store: Store
    clock: Clock = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    api_key: str | None = None
    faults: Faults = field(default_factory=Faults)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))

    def __post_init__(self) -> None:
        self.keys = IdempotencyKeys(self.store.state)


class CallLog:
    """ASGI middleware that notes every call of the shop's API, answered or not."""

    def __init__(self, app: Any, company: Company) -> None:
        self._app = app
        self._company = company

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Pass everything on; what is not part of the shop's API goes unnoted."""
        if scope["type"] != "http" or scope["path"].startswith(("/_", "/openapi.json")):
            await self._app(scope, receive, send)
            return
        key = dict(scope["headers"]).get(b"idempotency-key")
        call = Call(
            at=self._company.clock(),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            key=None if key is None else key.decode("latin-1"),
        )
        self._company.calls.append(call)
        scope["call"] = call

        async def note_status(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        await self._app(scope, receive, note_status)
