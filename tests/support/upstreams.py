"""Calls to a `FaultServer`, with time that passes only by waiting, and a chance of a half."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from tests.support.faults import FaultServer

from smart_support.resilience.address import AddressPolicy, Resolve, resolve
from smart_support.resilience.transport import Connect
from smart_support.resilience.upstream import (
    Answer,
    AttemptReport,
    CallPlan,
    Hooks,
    Upstreams,
    UpstreamSettings,
)

LOOPBACK = AddressPolicy.parse(["127.0.0.1"])


@dataclass
class Time:
    """The real clock, moved on by each wait, which itself takes no time."""

    waits: list[float] = field(default_factory=list)
    moved: float = 0.0

    def clock(self) -> float:
        return time.monotonic() + self.moved

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.moved += seconds
        await asyncio.sleep(0)


class Calls:
    """`Upstreams` that may call loopback, and what its calls reported."""

    def __init__(
        self,
        server: FaultServer,
        *,
        hooks: Hooks | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        resolver: Resolve = resolve,
        connect: Connect | None = None,
        **changes: Any,
    ) -> None:
        self.server = server
        self.time = Time()
        self.reports: list[AttemptReport] = []
        self.upstreams = Upstreams(
            UpstreamSettings(**{"addresses": LOOPBACK} | changes),
            hooks=hooks,
            clock=self.time.clock,
            sleep=sleep or self.time.sleep,
            chance=lambda: 0.5,
            resolver=resolver,
            connect=connect,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.upstreams.aclose()

    def plan(self, method: str = "GET", **changes: Any) -> CallPlan:
        reads = method in {"GET", "HEAD"}
        plan: dict[str, Any] = {
            "group": "all",
            "writes": not reads,
            "repeatable": reads,
            "total": 5.0,
            "attempt": 1.0,
            "max_bytes": 100_000,
            "on_attempt": self.reports.append,
        }
        return CallPlan(**plan | changes)

    async def call(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        url: str | None = None,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        alternatives: tuple[httpx.Request, ...] = (),
        **changes: Any,
    ) -> Answer:
        request = httpx.Request(
            method, url or self.server.url(path), headers=headers, content=content
        )
        return await self.upstreams.send(request, self.plan(method, **changes), alternatives)
