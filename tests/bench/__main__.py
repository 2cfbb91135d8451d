"""`python -m tests.bench`: what ours costs beside its floors, in one run, as ratios.

docs/benchmarks.md says what the rows mean. Everything runs on loopback, on ports that are free,
in a temporary folder, and is stopped at the end, also by Ctrl-C.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import structlog
import uvloop
from tests.bench import calls, conversion, converters, guards
from tests.bench.fakes import PACED, REAL, TOKENS, document
from tests.bench.figures import Figure, table
from tests.bench.load import (
    Sample,
    Scenario,
    Target,
    bare_session,
    ideal,
    our_session,
    run,
    timed,
)
from tests.bench.processes import (
    ROOT,
    cpus,
    pin,
    pin_family,
    postmaster,
    product,
    started,
)

from smart_support.chat.derive import GATHER_SECONDS
from smart_support.database.embedded import embedded_postgres
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import Tokens

KEY = "a key of this benchmark that signs tokens"
CUSTOMER = Person(id="cus_bench", role=Role.CUSTOMER, name="Bench")
OPERATOR = Person(id="operator", role=Role.OPERATOR, name="Operator")
LONGEST = 390.0  # seconds that a run may take in all
CALLS_SECONDS = 30.0  # of them, for tool calls and lookups

TURN = "A turn (floor: bare LangGraph application on PostgreSQL; ours: everything on)"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    warm_up: Scenario
    alone: Scenario
    many: Scenario
    """All ask in one moment, and so stay in step: their turns are done together."""
    apart: Scenario
    """As many, who begin one after the other, as customers do."""
    crowd: Scenario
    """The same with more than are answered at once."""
    paced: Scenario
    real: Scenario
    """As a model of today answers; beside what it takes without anybody between."""
    moment: Scenario
    """The same, when all ask in one moment."""
    long: Scenario
    call_rounds: int
    call_times: int
    echoes: int
    documents: int
    pinned: bool = True
    """The measured process has one CPU for itself, everything else has the others."""
    budget: float = 300.0
    """Seconds within which the turns are done; fewer rounds where a machine is slow."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        return (
            self.alone,
            self.many,
            self.apart,
            self.crowd,
            self.paced,
            *self.compared,
            self.long,
        )

    @property
    def compared(self) -> tuple[Scenario, ...]:
        """Those beside which the same requests are made by nobody but a bare client."""
        return (self.real, self.moment)


FULL = Plan(
    rounds=5,
    warm_up=Scenario(32, 4),
    alone=Scenario(1, 8),
    many=Scenario(32, 3),
    apart=Scenario(32, 1_000, spread=0.4, lasting=4.0),
    crowd=Scenario(128, 1_000, spread=1.6, lasting=4.0),
    paced=Scenario(8, 2, PACED),
    real=Scenario(16, 2, REAL, spread=1.2),
    moment=Scenario(16, 1, REAL),
    long=Scenario(1, 4, before=59),
    call_rounds=10,
    call_times=20,
    echoes=200,
    documents=100,
)
QUICK = Plan(
    rounds=1,
    warm_up=Scenario(1, 1),
    alone=Scenario(1, 2),
    many=Scenario(4, 1),
    apart=Scenario(3, 1_000, spread=0.1, lasting=0.5),
    crowd=Scenario(5, 1_000, spread=0.1, lasting=0.5),
    paced=Scenario(2, 1, PACED),
    real=Scenario(3, 1, REAL, spread=0.1),
    moment=Scenario(2, 1, REAL),
    long=Scenario(1, 1, before=2),
    call_rounds=1,
    call_times=3,
    echoes=5,
    documents=1,
    pinned=False,  # a smoke run is for a machine that is busy with other tests
)


@dataclass
class Turns:
    """The rows of the turn, filled round by round."""

    plan: Plan

    def __post_init__(self) -> None:
        plan = self.plan
        self.walls = {
            each.name: Figure(TURN, f"{each.name}: one turn", "ms") for each in plan.scenarios
        }
        self.rates = {
            each.name: Figure(TURN, f"{each.name}: turns per second", "1/s", "more")
            for each in (plan.many, plan.apart, plan.crowd)
        }
        self.cpus = {
            each.name: Figure(TURN, f"{each.name}: CPU of the server per turn", "ms")
            for each in plan.scenarios
        }
        # In a quick run it may be less than a tick of the kernel's clock.
        self.database = Figure(TURN, f"{plan.many.name}: CPU of PostgreSQL per turn", "ms", "")
        self.firsts = {
            each.name: Figure(TURN, f"{each.name}: to the first token", "ms")
            for each in plan.compared
        }
        self.added = {
            (each.name, what): Figure(TURN, f"{each.name}: {what} over the ideal", "ms", "")
            for each in plan.compared
            for what in ("first token", "turn")
        }
        self.pieces = {
            each.name: Figure(TURN, f"{each.name}: pieces of {len(TOKENS)} tokens", "", "")
            for each in (plan.many, plan.paced)
        }

    def take(self, scenario: Scenario, side: str, sample: Sample) -> None:
        """Add what one round of `floor` or `ours` showed."""
        name = scenario.name
        for figures, value in (
            (self.walls, statistics.median(sample.walls)),
            (self.rates, sample.per_second),
            (self.cpus, sample.cpu),
            (self.pieces, sample.pieces),
            (self.firsts, statistics.median(sample.firsts)),
        ):
            if name in figures:
                getattr(figures[name], side).append(value)
        if scenario is self.plan.many and sample.database_cpu is not None:
            getattr(self.database, side).append(sample.database_cpu)

    def compare(
        self, scenario: Scenario, side: str, sample: Sample, alone: tuple[float, float]
    ) -> None:
        """Add by how much the turns of a real model took longer than they do `alone`."""
        for what, took, least in zip(
            ("first token", "turn"), (sample.firsts, sample.walls), alone, strict=True
        ):
            figure = self.added[scenario.name, what]
            getattr(figure, side).append(statistics.median(took) - least)

    def rows(self) -> list[Figure]:
        return [
            *self.walls.values(),
            *self.firsts.values(),
            *self.added.values(),
            *self.rates.values(),
            *self.cpus.values(),
            self.database,
            *self.pieces.values(),
        ]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def bench(plan: Plan, folder: Path) -> list[Figure]:
    """Everything that `plan` wants measured. Data of the run lies in `folder` meanwhile."""
    began = time.monotonic()
    tokens = Tokens(KEY)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        measured, others = cpus(pinned=plan.pinned)
        pin(0, others)
        async with asyncio.TaskGroup() as group:
            fakes = [
                group.create_task(enter(started("tests.bench.fakes", kind, cpus=others)))
                for kind in ("model", "company")
            ]
        model, company = (f"http://127.0.0.1:{fake.result()[1]}" for fake in fakes)
        say("Starting the bare application and ours")
        settings = {
            "DATABASE_URL": "",
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": f"{model}/v1",
            "OPENAI_MODEL": "bench",
            "SMART_SUPPORT_PORT": "0",
            "SMART_SUPPORT_TOOL_ALLOWED_HOSTS": "127.0.0.1",  # where the company is
            "SMART_SUPPORT_SECRET_KEY": KEY,
            "SMART_SUPPORT_REST_LIMIT": "1000000/minute",  # each thread is opened by a REST call
            "SMART_SUPPORT_SOCKETS_PER_PERSON": "1000",  # all of them are one person's
            "SMART_SUPPORT_MESSAGE_LIMIT": "1000",  # it is counted all the same
            "SMART_SUPPORT_FRAMES_PER_SECOND": "100000",
        }
        url = await enter(embedded_postgres(folder))
        own = await calls.another_database(url, "bare")
        async with asyncio.TaskGroup() as group:
            bare_one = group.create_task(
                enter(started("tests.bench.bare", f"{model}/v1", company, own, cpus=measured))
            )
            our_one = group.create_task(enter(product(folder, settings, measured)))
        bare_pid, bare_port = bare_one.result()
        our_pid, address = our_one.result()
        pin_family(postmaster(folder), others)
        client = await enter(httpx.AsyncClient(base_url=address, trust_env=False, timeout=30))
        now = datetime.now(UTC)
        await approve(client, tokens.issue(OPERATOR, now=now, ttl=3600), company)
        customer = tokens.issue(CUSTOMER, now=now, ttl=3600)
        targets = {
            "floor": Target(bare_pid, postmaster(folder), partial(bare_session, bare_port)),
            "ours": Target(
                our_pid,
                postmaster(folder),
                partial(our_session, client, address, customer),
                GATHER_SECONDS + 0.25,  # what is derived of a turn begins that late
            ),
        }
        turns = Turns(plan)
        for target in targets.values():
            await run(target, plan.warm_up)
        say("Measuring turns")
        slowest = 0.0
        for number in range(plan.rounds):
            round_began = time.monotonic()
            if number and round_began - began + slowest > plan.budget:
                say(f"  no time for more than {number} of {plan.rounds} rounds")
                break
            await one_round(plan, targets, turns, number, partial(ideal, model, company, REAL))
            slowest = max(slowest, time.monotonic() - round_began)
            say(f"  round {number + 1} of {plan.rounds}, {time.monotonic() - began:.0f} s")
        say("Measuring sockets, tool calls and lookups")
        echo = Figure(calls.FLOORS, "WebSocket round trip through uvicorn", "ms")
        bare = await enter(bare_session(bare_port, "echo"))
        ours = await enter(our_session(client, address, customer))
        for _ in range(plan.rounds):
            echo.floor.append(await timed(bare.echo, plan.echoes))
            echo.ours.append(await timed(ours.echo, plan.echoes))
        pin(0, measured)  # what is measured now is this process
        desk = await enter(calls.open_desk(url, company))
        called = await calls.measure(
            desk,
            rounds=plan.call_rounds,
            times=plan.call_times,
            until=began + plan.budget + CALLS_SECONDS,
        )
        split = [figure for figure in called if figure.section == calls.CALLS]
        floors = [figure for figure in called if figure.section == calls.FLOORS]
        layers = await guards.measure(company, rounds=plan.call_rounds, times=2 * plan.call_times)
        say("Measuring documents")
        read = await asyncio.to_thread(
            conversion.measure, most=plan.documents, times=2 if plan.documents > 1 else 1
        )
        return [*turns.rows(), *split, echo, *floors, *layers, *read]


async def one_round(
    plan: Plan,
    targets: dict[str, Target],
    turns: Turns,
    number: int,
    alone: Callable[[], Awaitable[tuple[float, float]]],
) -> None:
    """Every scenario on both sides; who goes first changes from round to round."""
    sides = ["floor", "ours"]
    if number % 2:
        sides.reverse()
    for scenario in plan.scenarios:
        nobody = await alone() if scenario in plan.compared else (0.0, 0.0)
        for side in sides:
            sample = await run(targets[side], scenario)
            turns.take(scenario, side, sample)
            if scenario in plan.compared:
                turns.compare(scenario, side, sample, nobody)


async def approve(client: httpx.AsyncClient, token: str, company: str) -> None:
    """Import the company's document and approve it as suggested, as an operator does."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = await client.post(
        "/api/specs",
        params={"name": "Bench company"},
        content=json.dumps(document(company)),
        headers=headers,
    )
    spec_id = answer.raise_for_status().json()["spec"]["id"]
    answer = await client.get(f"/api/specs/{spec_id}/operations", headers=headers)
    for operation in answer.raise_for_status().json()["operations"]:
        decision = {"version": operation["version"], "state": "approved"}
        answer = await client.post(
            f"/api/operations/{operation['id']}/decision", json=decision, headers=headers
        )
        answer.raise_for_status()


@asynccontextmanager
async def interruptible() -> AsyncIterator[None]:
    """SIGINT and SIGTERM cancel what runs inside, once; the stopping is not interrupted."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    told: list[int] = []

    def stop(number: int) -> None:
        if not told:
            told.append(number)
            say("Stopping")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    except asyncio.CancelledError:
        if not told:
            raise
        raise SystemExit(128 + told[0]) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def machine() -> dict[str, Any]:
    """What this was measured on."""
    packages = ("langgraph", "langchain-openai", "openai", "fastapi", "uvicorn", "httpx", "asyncpg")
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


async def main(arguments: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON."""
    plan = QUICK if arguments.quick else FULL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    at = datetime.now(UTC)
    before = machine()
    began = time.monotonic()
    # Short, since the path of PostgreSQL's socket must be.
    folder = Path(tempfile.mkdtemp(prefix="ssb-"))
    try:
        async with interruptible(), asyncio.timeout(LONGEST):
            figures = await bench(plan, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.converter_python:
        say("Measuring the converter of others")
        figures += await asyncio.to_thread(
            converters.measure, arguments.converter_python, most=plan.documents
        )
    seconds = time.monotonic() - began
    load = f"{before['load_average'][0]} before, {os.getloadavg()[0]:.2f} after"
    say("")
    say(table(figures))
    say("")
    say("Median (least–most) over the rounds; a ratio is taken within a round.")
    say(f"{before['cpus']} CPUs, Python {before['python']}, load average {load}; {seconds:.0f} s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{at:%Y%m%dT%H%M%SZ}.json"
    path.write_text(
        json.dumps(
            {
                "at": at.isoformat(timespec="seconds"),
                "quick": arguments.quick,
                "seconds": round(seconds, 1),
                "machine": before,
                "load_average_after": [round(value, 2) for value in os.getloadavg()],
                "figures": [figure.record() for figure in figures],
            },
            indent=1,
        )
        + "\n"
    )
    say(f"Written to {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of a few seconds; its figures mean little"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / ".benchmarks", help="folder for the JSON"
    )
    parser.add_argument(
        "--converter-python",
        default=os.environ.get("CONVERTER_PYTHON", ""),
        help="an interpreter that has fastmcp, whose converter is then measured beside ours "
        "(default: the variable CONVERTER_PYTHON)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parse()))
