"""What watching costs: the CPU of telemetry in a turn, with it and without it by turns.

    python -m tests.bench.overhead [PAIRS]

Answers one turn (a question, a tool call, an answer) with telemetry as in earnest (metrics,
handler, log lines as JSON to a file) and one with its functions taken out, by turns, each first as
often as the other, against a real database. Counts the CPU time of the whole process until all
that the turn set in motion is done, which includes the scripted model and API. What the pairs
differ by is given as the median, with the interval that holds it in 95 of 100 resamplings.

The telemetry's own time is counted too, by the clock of the thread: what is called in it and by it,
without the thread that writes the lines.
"""

import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import structlog
from tests.support.chat_client import ChatClient
from tests.support.database import FAST, Databases
from tests.support.model_endpoint import calls
from tests.support.server import ADA, Server, running
from tests.support.turns import ORDER_1
from tests.support.upstream import answers

from smart_support.chat import observe
from smart_support.database.embedded import EmbeddedServer
from smart_support.database.schema import migrate
from smart_support.telemetry import handler
from smart_support.telemetry.logs import configure_logs

LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
WATCHED = (
    (observe.Observer, "take"),
    (handler.ErrorHandler, "handle"),
    *((structlog.stdlib.BoundLogger, level) for level in LEVELS),
)
"""Where telemetry spends its time in a turn."""

WARM_UP = 10
RESAMPLINGS = 2_000


class Spent:
    """Seconds of CPU within the functions of `WATCHED`, and lines that were logged in them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.entered = 0
        self._depth = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._depth:  # it is within one that is counted
                return function(*args, **kwargs)
            self._depth += 1
            self.entered += 1
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - began
                self._depth -= 1

        return counted


@contextlib.contextmanager
def counting(spent: Spent) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name in WATCHED:
            whole = spent.around(getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, whole))
        yield


@contextlib.contextmanager
def without() -> Iterator[None]:
    """Telemetry taken out: nothing is counted or logged; errors are still named."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(observe.Observer, "take", _nothing))
        for step in ("_log", "_count"):
            stack.enter_context(mock.patch.object(handler, step, _nothing))
        for level in LEVELS:
            stack.enter_context(mock.patch.object(structlog.stdlib.BoundLogger, level, _nothing))
        yield


def _nothing(*_: Any, **__: Any) -> None:
    """In the place of what is taken out."""


async def turn(server: Server, chat: ChatClient, thread: str) -> float:
    """CPU milliseconds of the process for one turn, until all of it is done."""
    server.model.queue(calls(ORDER_1))
    server.company.queue(answers({"id": "1001", "status": "sent"}))
    began = time.process_time()
    await chat.write(thread, "Where is 1001?")
    await chat.turn()
    await server.settled()
    return (time.process_time() - began) * 1000


async def pairs_of(server: Server, pairs: int) -> tuple[list[float], list[float]]:
    """Milliseconds of turns with telemetry and without it, pair by pair."""
    on, off = [], []
    async with server.chat(ADA) as chat:
        thread = ""
        for number in range(pairs + WARM_UP):
            if number % 20 == 0:  # so that no history grows long
                await chat.follow(thread := await server.thread(ADA))
            if number % 2:
                on.append(await turn(server, chat, thread))
            with without():
                off.append(await turn(server, chat, thread))
            if not number % 2:
                on.append(await turn(server, chat, thread))
    return on[WARM_UP:], off[WARM_UP:]


async def own_of(server: Server, turns: int) -> tuple[float, float]:
    """Milliseconds of telemetry's own time per turn, and how often it was entered."""
    spent = Spent()
    async with server.chat(ADA) as chat:
        await chat.follow(thread := await server.thread(ADA))
        with counting(spent):
            for _ in range(turns):
                await turn(server, chat, thread)
    return spent.seconds * 1000 / turns, spent.entered / turns


def interval(on: Sequence[float], off: Sequence[float]) -> tuple[float, float, float]:
    """By how many percent turns with telemetry cost more: the median, and from where to where."""
    differences = [a - b for a, b in zip(on, off, strict=True)]
    base = statistics.median(off)
    chance = random.Random(7)
    medians = sorted(
        statistics.median(chance.choices(differences, k=len(differences))) / base * 100
        for _ in range(RESAMPLINGS)
    )
    cut = RESAMPLINGS // 40
    return statistics.median(differences) / base * 100, medians[cut], medians[-cut - 1]


async def measure(pairs: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="sst-"))
    postgres = EmbeddedServer(folder, options=FAST)
    try:
        databases = Databases(postgres.start())
        url = databases.create()
        await migrate(url)
        async with running(
            url, smart_support_message_limit=1_000_000, smart_support_monitor_interval=3_600.0
        ) as server:
            await server.import_company()
            on, off = await pairs_of(server, pairs)
            own, entered = await own_of(server, 20)
            began = time.process_time()
            await server.parts.watch.monitor.look()
            look = (time.process_time() - began) * 1000
    finally:
        postgres.stop()
    found, least, most = interval(on, off)
    without_it = statistics.median(off)
    return {
        "cpu_ms_per_turn_with": round(statistics.median(on), 3),
        "cpu_ms_per_turn_without": round(without_it, 3),
        "difference_percent": round(found, 2),
        "difference_percent_95": [round(least, 2), round(most, 2)],
        "own_ms_per_turn": round(own, 4),
        "own_percent": round(own / without_it * 100, 2),
        "entered_per_turn": round(entered, 1),
        "monitor_look_ms": round(look, 2),
        "pairs": pairs,
    }


def main() -> None:
    pairs = int((*sys.argv[1:2], "100")[0])
    log = Path(tempfile.mkdtemp(prefix="sst-")) / "log"
    with log.open("w") as out, configure_logs("INFO", "json", stream=out):
        found = asyncio.run(measure(pairs))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
