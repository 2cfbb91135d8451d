"""What the hardened call costs when nothing goes wrong, beside bare calls and other libraries.

`python -m tests.bench.guards` measures it alone, in under a minute.
"""

import asyncio
import random
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import stamina
import tenacity
import uvloop
from httpx_retries import Retry, RetryTransport
from tests.bench.figures import Figure, table
from tests.bench.load import timed
from tests.bench.processes import cpus, started

from smart_support.resilience.address import AddressPolicy
from smart_support.resilience.call import Caller, Progress
from smart_support.resilience.origin import Origin
from smart_support.resilience.transport import pinned
from smart_support.resilience.upstream import CallPlan, Hooks, Upstreams, UpstreamSettings

NOTHING = "The layers alone, around nothing (floor: asyncio.timeout around the same)"
MOCKED = "A request that no network sees (floor: httpx with the same MockTransport)"
LOOPBACK = "A request over loopback (floor: httpx to the same server)"
MEMORY = "Memory"
SECTIONS = (NOTHING, MOCKED, LOOPBACK, MEMORY)

ORIGINS = 200
PLAN = CallPlan(
    group="bench", writes=False, repeatable=True, total=30.0, attempt=10.0, max_bytes=1 << 20
)
SETTINGS = UpstreamSettings(addresses=AddressPolicy.parse(["127.0.0.1"]))

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Contest:
    """A floor, and those that are compared with it, taking turns."""

    section: str
    unit: str
    floor: Work
    others: Mapping[str, Work]
    times: int

    async def measure(self, rounds: int) -> list[Figure]:
        scale = {"us": 1_000.0, "ms": 1.0}[self.unit]
        figures = {name: Figure(self.section, name, self.unit) for name in self.others}
        for number in range(rounds + 1):
            names = [None, *self.others]
            for name in names if number % 2 else reversed(names):
                work = self.floor if name is None else self.others[name]
                took = await timed(work, self.times) * scale
                if number == 0:
                    continue  # connections, caches
                if name is None:
                    for figure in figures.values():
                        figure.floor.append(took)
                else:
                    figures[name].ours.append(took)
        return list(figures.values())


def wrapped(call: Work) -> dict[str, Work]:
    """`call` as the usual libraries retry it."""

    async def by_stamina() -> object:
        async for attempt in stamina.retry_context(on=httpx.HTTPError):
            with attempt:
                return await call()
        raise AssertionError("the last attempt returns or raises")

    async def by_tenacity() -> object:
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(3),
            wait=tenacity.wait_random_exponential(),
            retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        ):
            with attempt:
                return await call()
        raise AssertionError("the last attempt returns or raises")

    return {"stamina": by_stamina, "tenacity": by_tenacity}


def around_nothing(times: int) -> Contest:
    async def nothing(_: float = 0.0) -> int:
        return 1

    async def timeout() -> object:
        async with asyncio.timeout(10):
            return await nothing()

    hooks = Hooks()
    caller = Caller(SETTINGS, hooks, time.monotonic, asyncio.sleep, random.random)
    origin = Origin("bench", SETTINGS, pinned(SETTINGS.addresses), random.random, hooks)

    async def ours() -> object:
        return await caller.run(origin, Progress(PLAN, time.monotonic() + PLAN.total), nothing)

    return Contest(NOTHING, "us", timeout, {"ours": ours, **wrapped(nothing)}, times)


@asynccontextmanager
async def over(
    section: str, url: str, unit: str, times: int, transport: httpx.AsyncBaseTransport | None
) -> AsyncIterator[Contest]:
    """Requests of `url`, over `transport` or, if there is none, the network."""

    def connect(origin: str, *, once: bool) -> httpx.AsyncBaseTransport:
        assert transport is not None
        return transport

    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, trust_env=False, timeout=10)
        )
        inner = transport or httpx.AsyncHTTPTransport(trust_env=False)
        again = await stack.enter_async_context(
            httpx.AsyncClient(transport=RetryTransport(inner, retry=Retry(total=3)), timeout=10)
        )
        upstreams = await stack.enter_async_context(
            Upstreams(SETTINGS, connect=None if transport is None else connect)
        )

        async def floor() -> object:
            return (await bare.get(url)).content

        async def ours() -> object:
            return (await upstreams.send(httpx.Request("GET", url), PLAN)).body

        async def by_httpx_retries() -> object:
            return (await again.get(url)).content

        others = {"ours": ours, "httpx-retries": by_httpx_retries, **wrapped(floor)}
        yield Contest(section, unit, floor, others, times)


async def memory_per_origin() -> Figure:
    """What an API costs that was called once and has no connection open."""
    figure = Figure(MEMORY, "one origin with one breaker", "KiB", "")
    mock = httpx.MockTransport(lambda _: httpx.Response(200))
    async with Upstreams(SETTINGS, connect=lambda _, *, once: mock) as upstreams:
        await upstreams.send(httpx.Request("GET", "http://first.test/"), PLAN)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(ORIGINS):
            await upstreams.send(httpx.Request("GET", f"http://shop-{number}.test/"), PLAN)
        figure.ours.append((tracemalloc.get_traced_memory()[0] - before) / ORIGINS / 1024)
        tracemalloc.stop()
    return figure


async def measure(company: str, *, rounds: int, times: int) -> list[Figure]:
    """Every contest; `company` is the base URL of the bench's own API."""
    figures = await around_nothing(times * 50).measure(rounds)
    mock = httpx.MockTransport(lambda _: httpx.Response(200, content=b'{"ok":true}'))
    async with over(MOCKED, "http://shop.test/orders/1001", "us", times * 5, mock) as contest:
        figures += await contest.measure(rounds)
    async with over(LOOPBACK, f"{company}/orders/1001", "ms", times * 2, None) as contest:
        figures += await contest.measure(rounds)
    return [*figures, await memory_per_origin()]


async def main() -> None:
    async with started("tests.bench.fakes", "company", cpus=cpus(pinned=False)[1]) as (_, port):
        figures = await measure(f"http://127.0.0.1:{port}", rounds=15, times=40)
    sys.stdout.write(table(figures) + "\n")


if __name__ == "__main__":
    uvloop.run(main())
