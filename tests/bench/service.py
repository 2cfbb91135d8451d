"""The service as a whole beside the bare application: start, memory, rows, workers, overload.

    python -m tests.bench.service [--turns 20000] [--only rest|overload|workers]

Minutes. `make bench-full` runs it after the turns and before the months of conversations. With
`--only rest` one minute: what a process costs before anybody says anything.
"""

import argparse
import asyncio
import json
import logging
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx
import psutil  # type: ignore[import-untyped]
import structlog
import uvloop
from tests.bench.__main__ import CUSTOMER, KEY, OPERATOR, approve, interruptible, machine, say
from tests.bench.calls import another_database
from tests.bench.figures import Figure, table
from tests.bench.load import (
    Sample,
    Scenario,
    Session,
    Target,
    bare_session,
    our_session,
    run,
)
from tests.bench.processes import (
    ROOT,
    cpu_of,
    cpu_of_family,
    cpus,
    interrupt_nobody,
    pin,
    pin_family,
    postmaster,
    product,
    started,
)

from smart_support.database.embedded import embedded_postgres
from smart_support.database.engine import psycopg_dsn
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import Tokens

AT_REST = "At rest (floor: the bare application)"
PER_TURN = "A turn that only reads (floor: the bare application)"
OVER = "640 customers of one process (floor: 128, whom it always takes in)"
MORE = "160 customers of one process (floor: 32, who keep it busy)"
SEVERAL = "Two processes on this machine (floor: one of ours, no CPU kept for it)"

LEAD = Person(id="lead", role=Role.LEAD, name="Lead")

STARTS = 5
IDLE = 500
# As many turns on both sides: what is derived of the first ones falls into the time of the others.
CAPACITY, OVERLOAD = Scenario(128, 10), Scenario(640, 2, patience=240.0)
BUSY, BUSIER = Scenario(32, 15), Scenario(160, 3, patience=240.0)


@dataclass(frozen=True)
class Scene:
    """What the servers of a run are given."""

    folder: Path
    url: str
    model: str
    company: str
    measured: set[int]
    others: set[int]
    fakes: list[int]
    """The processes of the model and the company."""

    def settings(self, **more: str) -> dict[str, str]:
        """Ours, on the PostgreSQL of the run."""
        return {
            "DATABASE_URL": psycopg_dsn(self.url),
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": f"{self.model}/v1",
            "OPENAI_MODEL": "bench",
            "SMART_SUPPORT_PORT": "0",
            "SMART_SUPPORT_TOOL_ALLOWED_HOSTS": "127.0.0.1",
            "SMART_SUPPORT_SECRET_KEY": KEY,
            "SMART_SUPPORT_REST_LIMIT": "1000000/minute",
            "SMART_SUPPORT_SOCKETS_PER_PERSON": "5000",
            "SMART_SUPPORT_MESSAGE_LIMIT": "1000",  # it is counted all the same
            "SMART_SUPPORT_FRAMES_PER_SECOND": "100000",
            "SMART_SUPPORT_SOCKETS_PER_ADDRESS": "5000",
            **more,
        }

    @asynccontextmanager
    async def ours(self) -> AsyncIterator[tuple[int, str]]:
        """Our server; its process id and address."""
        at = self.folder / "ours"
        at.mkdir(exist_ok=True)
        async with product(at, self.settings(), self.measured) as found:
            yield found

    @asynccontextmanager
    async def workers(self, number: int) -> AsyncIterator[tuple[int, str, int]]:
        """So many worker processes on all CPUs, with a PostgreSQL of their own, as one starts them
        on a single machine; the process id of their parent, their address, PostgreSQL's process id.
        """
        at = self.folder / f"workers-{number}"
        at.mkdir()
        cpus = self.measured | self.others
        settings = self.settings(DATABASE_URL="")
        async with product(at, settings, cpus, "--workers", str(number)) as (pid, address):
            pin_family(postmaster(at), cpus)
            yield pid, address, postmaster(at)

    @asynccontextmanager
    async def bare(self, database: str) -> AsyncIterator[tuple[int, int]]:
        """The bare application; its process id and port."""
        command = ("tests.bench.bare", f"{self.model}/v1", self.company, database)
        async with started(*command, cpus=self.measured) as found:
            yield found


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """The fakes and a PostgreSQL, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="ssb-"))
    try:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            measured, others = cpus(pinned=True)
            pin(0, others)
            fakes = [
                await enter(started("tests.bench.fakes", kind, cpus=others))
                for kind in ("model", "company")
            ]
            url = await enter(embedded_postgres(folder))
            pin_family(postmaster(folder), others)
            model, company = (f"http://127.0.0.1:{port}" for _, port in fakes)
            pids = [pid for pid, _ in fakes]
            yield Scene(folder, url, model, company, measured, others, pids)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def starts(scene: Scene, own: str) -> list[Figure]:
    """From the start of the process to the first good answer of its health: time, CPU, memory.

    CPU time says more than time on a machine that does other things as well.
    """
    took = Figure(AT_REST, "start to the first good answer", "ms")
    worked = Figure(AT_REST, "start to the first good answer, CPU", "ms")
    holds = Figure(AT_REST, "memory after the first good answer", "MiB")

    async def until_healthy(pid: int, url: str, began: float) -> tuple[float, float, float]:
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.get(url)).raise_for_status()
        return (time.perf_counter() - began) * 1000, cpu_of(pid) * 1000, resident(pid)

    for number in range(STARTS + 1):
        began = time.perf_counter()
        async with scene.bare(own) as (pid, port):
            bare = await until_healthy(pid, f"http://127.0.0.1:{port}/health", began)
        began = time.perf_counter()
        async with scene.ours() as (pid, address):
            ours = await until_healthy(pid, f"{address}/api/health", began)
        if number:  # the first compiles byte code and makes tables
            for figure, floor, value in zip((took, worked, holds), bare, ours, strict=True):
                figure.floor.append(floor)
                figure.ours.append(value)
    return [took, worked, holds]


def resident(pid: int) -> float:
    """MiB that a process holds in memory."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


async def idle(session: Callable[[], AbstractAsyncContextManager[Session]], pid: int) -> float:
    """KiB that each of `IDLE` sockets takes on which nobody says anything."""
    async with AsyncExitStack() as stack:
        for _ in range(20):  # what the first ones bring along is not theirs
            await stack.enter_async_context(session())
        await asyncio.sleep(1)
        before = resident(pid)
        for _ in range(IDLE):
            await stack.enter_async_context(session())
        await asyncio.sleep(2)
        return (resident(pid) - before) * 1024 / IDLE


@dataclass(frozen=True)
class Written:
    """What a database has been through so far."""

    rows: int
    commits: int
    """Transactions that wrote something."""


async def written(url: str) -> Written:
    """As of now; PostgreSQL tells its own statistics with a second's delay."""
    connection = await asyncpg.connect(url)
    try:
        await asyncio.sleep(1.5)
        rows = await connection.fetchval("SELECT sum(n_tup_ins) FROM pg_stat_user_tables")
        commits = await connection.fetchval(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        )
    finally:
        await connection.close()
    return Written(int(rows), int(commits))


@asynccontextmanager
async def both(scene: Scene, own: str) -> AsyncIterator[dict[str, tuple[int, str, Any]]]:
    """The bare application and ours, with an API that ours may call: process id, database, and
    what opens a session."""
    customer, operator = (
        Tokens(KEY).issue(person, now=datetime.now(UTC), ttl=36_000)
        for person in (CUSTOMER, OPERATOR)
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pid, port = await enter(scene.bare(own))
        our_pid, address = await enter(scene.ours())
        client = await enter(httpx.AsyncClient(base_url=address, trust_env=False, timeout=60))
        await approve(client, operator, scene.company)
        yield {
            "floor": (pid, own, partial(bare_session, port)),
            "ours": (
                our_pid,
                psycopg_dsn(scene.url),
                partial(our_session, client, address, customer),
            ),
        }


async def measure_rest(scene: Scene) -> list[Figure]:
    """The rows of a process that nobody has talked to yet."""
    own = await another_database(scene.url, "bare")
    say("Measuring starts")
    figures = await starts(scene, own)
    rest, sockets = _rest(), _sockets()
    async with both(scene, own) as sides:
        for side, (server, _, session) in sides.items():
            getattr(rest, side).append(resident(server))
            getattr(sockets, side).append(await idle(session, server))
    return [*figures, rest, await measure_used(scene, own), sockets]


async def measure_used(scene: Scene, own: str) -> Figure:
    """What stays in memory once a process has done its work: nothing that it loads is missing.

    An API is approved already. The bare application has no pages.
    """
    figure = Figure(AT_REST, "memory after 100 turns and every page", "MiB")
    customer = Tokens(KEY).issue(CUSTOMER, now=datetime.now(UTC), ttl=36_000)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pid, port = await enter(scene.bare(own))
        our_pid, address = await enter(scene.ours())
        client = await enter(httpx.AsyncClient(base_url=address, trust_env=False, timeout=60))
        ours = partial(our_session, client, address, customer)
        for found, server, session in (
            (figure.floor, pid, partial(bare_session, port)),
            (figure.ours, our_pid, ours),
        ):
            await run(Target(server, postmaster(scene.folder), session), Scenario(5, 20))
            if session is ours:
                await _every_page(client)
            await asyncio.sleep(7)  # what is derived is added up every five seconds
            found.append(resident(server))
    return figure


async def _every_page(client: httpx.AsyncClient) -> None:
    """Read whatever can be read with what stands in the database, as whoever may."""
    now = datetime.now(UTC)
    people = [
        {"Authorization": f"Bearer {Tokens(KEY).issue(person, now=now, ttl=3600)}"}
        for person in (LEAD, OPERATOR, CUSTOMER)
    ]

    async def read(path: str, **query: str) -> httpx.Response:
        for headers in people:
            answer = await client.get(path, params=query, headers=headers)
            if answer.status_code != 403:
                break
        return answer.raise_for_status()

    thread = (await read("/api/threads")).json()["threads"][0]["id"]
    spec = (await read("/api/specs")).json()["specs"][0]["id"]
    operation = (await read(f"/api/specs/{spec}/operations")).json()["operations"][0]["id"]
    days = {"start": (now - timedelta(days=30)).isoformat(), "end": now.isoformat()}
    document = json.loads((ROOT / "frontend" / "openapi.json").read_text())
    for template, methods in document["paths"].items():
        path = template.format_map(
            defaultdict(str, thread_id=thread, spec_id=spec, operation_id=operation)
        )
        asked = {each["name"] for each in methods.get("get", {}).get("parameters", ())}
        if "get" in methods and asked.isdisjoint(_NOT_HERE):
            query = {"figure": "conversations", **days}
            await read(path, **{name: query[name] for name in query.keys() & asked})
    await read("/")  # the page itself


_NOT_HERE = {"import_id", "scheme"}


async def measure_overload(scene: Scene) -> list[Figure]:
    """The rows of five times as many customers, alone."""
    async with both(scene, await another_database(scene.url, "bare")) as sides:
        pid, _, session = sides["ours"]
        target = Target(pid, postmaster(scene.folder), session)
        await run(target, Scenario(32, 3))
        return await beyond(target, session)


async def measure_workers(scene: Scene) -> list[Figure]:
    """The row of two processes."""
    say("Measuring two processes")
    return await several(scene)


def _rest() -> Figure:
    return Figure(AT_REST, "memory before the first turn", "MiB")


def _sockets() -> Figure:
    return Figure(AT_REST, f"memory of an idle socket ({IDLE} of them)", "KiB")


async def measure(scene: Scene, turns: int) -> list[Figure]:
    """Every row."""
    own = await another_database(scene.url, "bare")
    say("Measuring starts")
    figures = await starts(scene, own)
    rest, sockets = _rest(), _sockets()
    warm = Figure(AT_REST, "memory after 128 customers at once", "MiB")
    inserted = Figure(PER_TURN, "rows written, what is derived included", "")
    commits = Figure(PER_TURN, "commits, what is derived included", "")
    growth = Figure(AT_REST, f"memory after {turns} more turns", "MiB")
    async with both(scene, own) as sides:
        for side, (server, database, session) in sides.items():
            say(f"Measuring memory and rows: {side}")
            target = Target(server, postmaster(scene.folder), session)
            getattr(rest, side).append(resident(server))
            await run(target, Scenario(32, 2))
            before = await written(database)
            await run(target, Scenario(8, 8))
            await asyncio.sleep(7)  # what is derived is added up every five seconds
            after = await written(database)
            getattr(inserted, side).append((after.rows - before.rows - 8 * _OPENED[side]) / 64)
            getattr(commits, side).append((after.commits - before.commits) / 64)
            await run(target, Scenario(128, 2))
            getattr(warm, side).append(resident(server))
            getattr(sockets, side).append(await idle(session, server))
        our_pid, _, session = sides["ours"]
        target = Target(our_pid, postmaster(scene.folder), session)
        overload = await beyond(target, session)
        say(f"Measuring {turns} turns")
        growth.floor.append(resident(our_pid))
        done = 0
        while done < turns:
            await run(target, Scenario(32, 20))
            done += 32 * 20
        growth.ours.append(resident(our_pid))
    used = await measure_used(scene, own)
    figures += [rest, used, warm, growth, sockets, inserted, commits, *overload]
    say("Measuring two processes")
    return [*figures, *await several(scene)]


async def started_all(pid: int) -> None:
    """Wait until a server and its workers, which say nothing, have nothing left to load."""
    found = cpu_of_family(pid)
    for _ in range(30):
        await asyncio.sleep(1.0)
        before, found = found, cpu_of_family(pid)
        if found - before < 0.1:
            return
    raise RuntimeError("the server does not come to rest")


_ROUNDS_OF_SEVERAL = 20
_ROUND_SECONDS = 5.0
_DERIVED_SECONDS = 3.0
"""How long it takes until what is derived of the last turns is."""

_OPENED = {"floor": 0, "ours": 2}
"""Rows of opening a thread, which is not of a turn."""

_OVER: tuple[tuple[str, str, str, Callable[[Sample], float]], ...] = (
    ("turns per second", "1/s", "more", lambda sample: sample.per_second),
    ("begun to answered, median", "ms", "less", lambda sample: median(sample.begun)),
    ("begun to answered, slowest", "ms", "less", lambda sample: max(sample.begun)),
    ("taken in to answered, median", "ms", "less", lambda sample: median(sample.accepted)),
    ("taken in to answered, slowest", "ms", "less", lambda sample: max(sample.accepted)),
    ("first sent to answered, median", "ms", "less", lambda sample: median(sample.walls)),
    ("first sent to answered, slowest", "ms", "less", lambda sample: max(sample.walls)),
)


class Beyond:
    """Customers up to what a process can do, and five times as many."""

    def __init__(self, title: str, at: Scenario, beyond: Scenario) -> None:
        self._at, self._beyond = at, beyond
        messages = beyond.sessions * beyond.turns
        self._rows = [Figure(title, name, unit, better) for name, unit, better, _ in _OVER]
        self._refused = Figure(title, f"refusals for now, to {messages} messages", "", "")

    @property
    def figures(self) -> list[Figure]:
        return [*self._rows, self._refused]

    async def measure(self, target: Target, session: Any) -> None:
        """One round. Whoever is refused for now sends again when told; at the floor nobody is."""
        refused: list[str] = []
        patient = Target(target.pid, target.postmaster, partial(session, refused=refused))
        at, beyond = await run(target, self._at), await run(patient, self._beyond)
        for figure, (_, _, _, value) in zip(self._rows, _OVER, strict=True):
            figure.floor.append(value(at))
            figure.ours.append(value(beyond))
        self._refused.ours.append(len(refused))


async def beyond(target: Target, session: Any) -> list[Figure]:
    """The rows of a process that has more customers than it can answer."""
    say("Measuring overload")
    more, over = Beyond(MORE, BUSY, BUSIER), Beyond(OVER, CAPACITY, OVERLOAD)
    for _ in range(3):
        for each in (more, over):
            await each.measure(target, session)
    return [*more.figures, *over.figures]


async def several(scene: Scene) -> list[Figure]:
    """Turns per second of two worker processes beside one, each with both CPUs, and their CPU.

    Each side is started as one starts it on a single machine: with an embedded PostgreSQL of its
    own. All of them run, and one side works at a time, in short rounds: a shared machine is not as
    fast in one minute as in the next.
    """
    speed = Figure(SEVERAL, "32 sessions: turns per second", "1/s", "more")
    cpu = Figure(SEVERAL, "32 sessions: CPU of the processes per turn", "ms")
    database = Figure(SEVERAL, "32 sessions: CPU of PostgreSQL per turn", "ms")
    load = Scenario(32, 1000, lasting=_ROUND_SECONDS)
    for pid in (0, *scene.fakes):
        pin(pid, scene.measured | scene.others)
    customer, operator = (
        Tokens(KEY).issue(person, now=datetime.now(UTC), ttl=36_000)
        for person in (CUSTOMER, OPERATOR)
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        targets: list[tuple[str, Target]] = []
        for side, workers in (("floor", 1), ("ours", 2)):
            pid, address, server = await enter(scene.workers(workers))
            client = await enter(httpx.AsyncClient(base_url=address, trust_env=False, timeout=60))
            await approve(client, operator, scene.company)
            session = partial(our_session, client, address, customer)
            targets.append((side, Target(pid, server, session)))
        for pid in (0, *scene.fakes):  # not before: what we start would inherit it
            interrupt_nobody(pid)
        for _, target in targets:
            await started_all(target.pid)
            await run(target, Scenario(32, 6))  # every connection has made its plans by then
        for number in range(_ROUNDS_OF_SEVERAL):
            for side, target in targets if number % 2 else targets[::-1]:
                before = _spent(target)
                found = await run(target, load)
                await asyncio.sleep(_DERIVED_SECONDS)
                getattr(speed, side).append(found.per_second)
                for figure, was, now in zip((cpu, database), before, _spent(target), strict=True):
                    getattr(figure, side).append((now - was) * 1000 / len(found.walls))
    return [speed, cpu, database]


def _spent(target: Target) -> tuple[float, float]:
    """CPU seconds so far, of a server with its workers and of its PostgreSQL."""
    assert target.postmaster is not None
    return cpu_of_family(target.pid), cpu_of_family(target.postmaster)


async def main(arguments: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    at, before, began = datetime.now(UTC), machine(), time.monotonic()
    async with interruptible(), scene() as servers:
        if arguments.only == "rest":
            figures = await measure_rest(servers)
        elif arguments.only == "overload":
            figures = await measure_overload(servers)
        elif arguments.only == "workers":
            figures = await measure_workers(servers)
        else:
            figures = await measure(servers, arguments.turns)
    say("")
    say(table(figures))
    say("")
    say(
        f"{before['cpus']} CPUs, Python {before['python']}, load average "
        f"{before['load_average'][0]} before; {time.monotonic() - began:.0f} s"
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"service-{at:%Y%m%dT%H%M%SZ}.json"
    path.write_text(
        json.dumps(
            {
                "at": at.isoformat(timespec="seconds"),
                "machine": before,
                "figures": [figure.record() for figure in figures],
            },
            indent=1,
        )
        + "\n"
    )
    say(f"Written to {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.service", description=__doc__)
    parser.add_argument("--turns", type=int, default=20_000, help="turns for the growth of memory")
    parser.add_argument(
        "--only", choices=["rest", "overload", "workers"], help="measure only these rows"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / ".benchmarks", help="folder for the JSON"
    )
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parse()))
