"""What it costs a turn to be told which tools it is offered, by how many are approved.

    python -m tests.bench.offers [times]

CPU milliseconds a turn, of this process and of PostgreSQL's, the median of so many turns. Takes
a minute; `make bench` does not run it.
"""

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import psutil  # type: ignore[import-untyped]
from tests.bench.conversion import SPECS, made_up
from tests.support.database import FAST, Databases

from smart_support.agent.agents import Agents, read_agents
from smart_support.chat.offer import offer_tools
from smart_support.database.embedded import EmbeddedServer
from smart_support.database.engine import open_engine, sessions
from smart_support.database.schema import migrate
from smart_support.operations.importing import import_document
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Verdict, decide_all

APPROVED = (10, 100, 845)
CLAIMS = {"customer_id": "cus_bench", "email": "ada@example.org", "name": "Ada"}
QUESTIONS = (
    "Which pull requests are open in my repository?",
    "Please add Ada as a collaborator of the project",
    "Close the issue about the login, it is done",
    "How do I rotate the secret of a workflow?",
    "Where is my order 1001?",
)
"""Asked one after the other, so that none is the one before."""


async def measure(times: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sso-"))
    server = EmbeddedServer(folder, options=FAST)
    try:
        url = Databases(server.start()).create()
        await migrate(url)
        postgres = int((folder / "postgres" / "postmaster.pid").read_text().partition("\n")[0])
        await _measure_on(url, psutil.Process(postgres), times)
    finally:
        server.stop()
        shutil.rmtree(folder)


async def _measure_on(url: str, postgres: psutil.Process, times: int) -> None:
    engine = open_engine(url)
    operations = PostgresOperations(sessions(engine))
    github = SPECS / "guru__github.com_api.github.com.json"
    raw = github.read_bytes() if github.exists() else made_up()
    imported = await import_document(
        operations, raw, source="bench.json", name="bench", by="bench", max_bytes=len(raw)
    )
    await operations.set_base_url(imported.spec.id, "http://127.0.0.1:9")
    waiting = await operations.operations(imported.spec.id, limit=5_000)
    agents = read_agents(None)
    approved = 0
    for wanted in APPROVED:
        verdicts = [
            Verdict(operation_id=one.id, version=one.version, state=ReviewState.APPROVED)
            for one in waiting[approved:wanted]
        ]
        await decide_all(operations, imported.spec.id, verdicts, by="bench")
        approved += len(verdicts)
        began = time.process_time()
        await _turn(operations, agents, 0)
        first = (time.process_time() - began) * 1_000
        ours, theirs = await _timed(lambda n: _turn(operations, agents, n), postgres, times)
        print(  # noqa: T201 - the figures are what this is for
            f"{approved:4} approved: first {first:6.2f}, then {ours:6.2f} ms a turn here"
            f" and {theirs:6.2f} in PostgreSQL"
        )
    await engine.dispose()


async def _turn(operations: PostgresOperations, agents: Agents, number: int) -> int:
    """The tools of a turn, as they go to the model; how many bytes they are."""
    offered = await offer_tools(
        operations,
        agents,
        CLAIMS,
        [],
        text=QUESTIONS[number % len(QUESTIONS)],
        turn_id=f"turn-{number}",
    )
    tools = offered.tools[agents.first]
    return len(orjson.dumps([tool.function() for tool in tools.values()]))


async def _timed(
    turn: Callable[[int], Awaitable[object]], postgres: psutil.Process, times: int
) -> tuple[float, float]:
    """Median CPU of a turn in this process, and the mean of it in PostgreSQL's, in ms."""
    here = []
    before = _seconds(postgres)
    for number in range(times):
        began = time.process_time()
        await turn(number)
        here.append(time.process_time() - began)
    there = (_seconds(postgres) - before) / times
    return statistics.median(here) * 1_000, there * 1_000


def _seconds(server: psutil.Process) -> float:
    """CPU that a server and its processes have had; it is counted in hundredths."""
    found = 0.0
    for process in (server, *server.children()):
        spent = process.cpu_times()
        found += float(spent.user + spent.system)
    return found


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
