"""What watching costs: the CPU of telemetry in a turn, with it and without it by turns.

    python -m tests.bench.overhead [BLOCKS] [TURNS]

Runs blocks of turns (a question, a tool call, an answer) against a real database, with telemetry as
in earnest (metrics, handler, log lines as JSON to a file) and with its functions taken out, one
block after the other, so that the machine's moods fall on both alike. Counts CPU time of the whole
process, which includes the scripted model and API: the share of the product alone is larger, so
the telemetry's own time is counted too, by the clock of the thread, and given per turn.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

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

WATCHED = (
    (observe.Observer, "take"),
    (handler.ErrorHandler, "handle"),
)
"""Where telemetry spends its time in a turn."""


class Spent:
    """Seconds of CPU within the functions of `WATCHED`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - began

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
        stack.enter_context(mock.patch.object(observe.Observer, "_count"))
        for step in ("_log", "_count"):
            stack.enter_context(mock.patch.object(handler, step))
        yield


async def block(server: Server, thread: str, turns: int) -> float:
    """CPU milliseconds of the process per turn."""
    async with server.chat(ADA) as chat:
        await chat.follow(thread, 1)
        began = time.process_time()
        for _ in range(turns):
            server.model.queue(calls(ORDER_1))
            server.company.queue(answers({"id": "1001", "status": "sent"}))
            await chat.write(thread, "Where is 1001?")
            await chat.turn()
        return (time.process_time() - began) * 1000 / turns


async def measure(blocks: int, turns: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="sst-"))
    postgres = EmbeddedServer(folder, options=FAST)
    try:
        databases = Databases(postgres.start())
        url = databases.create()
        await migrate(url)
        spent, on, off = Spent(), [], []
        with counting(spent):
            async with running(url, smart_support_message_limit=1_000_000) as server:
                await server.import_company()
                await block(server, await server.thread(ADA), turns)
                spent.seconds = 0.0
                for number in range(2 * blocks):
                    thread = await server.thread(ADA)
                    if number % 4 in {0, 3}:  # each goes first as often as the other
                        on.append(await block(server, thread, turns))
                        continue
                    counted = spent.seconds
                    with without():
                        off.append(await block(server, thread, turns))
                    spent.seconds = counted
    finally:
        postgres.stop()
    with_it, without_it = statistics.median(on), statistics.median(off)
    return {
        "cpu_ms_per_turn_with": round(with_it, 3),
        "cpu_ms_per_turn_without": round(without_it, 3),
        "difference_percent": round((with_it / without_it - 1) * 100, 2),
        "observer_and_handler_ms_per_turn": round(spent.seconds * 1000 / (blocks * turns), 4),
        "blocks": blocks,
        "turns_per_block": turns,
    }


def main() -> None:
    blocks, turns = (int(each) for each in (*sys.argv[1:3], "8", "20")[:2])
    log = Path(tempfile.mkdtemp(prefix="sst-")) / "log"
    with log.open("w") as out, configure_logs("INFO", "json", stream=out):
        found = asyncio.run(measure(blocks, turns))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
