"""Worker processes of ours behind one port, to be killed; and clients that drop and come back."""

import asyncio
import contextlib
import multiprocessing
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import uvloop
from tests.support.chat_client import ChatClient, Transcript, connected, transcript_of
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from smart_support.app.parts import Seams
from smart_support.cli.serve import stopped_by_signals, work
from smart_support.settings import read_settings
from smart_support.telemetry.logs import configure_logs

# Importing everything takes longer than all the rest of a start, so it is done once.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.fleet"])

GONE = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, EOFError, TimeoutError)
"""What a client meets when its server is killed."""


class Fleet:
    """Processes that serve on one socket; one that is killed is started again."""

    def __init__(self, size: int, environment: Mapping[str, str]) -> None:
        self.size = size
        self.kills = 0
        self._environment = environment
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._living: dict[int, Any] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        self._stopping = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    async def start(self) -> None:
        self._keepers = [asyncio.create_task(self._keep(place)) for place in range(self.size)]
        await self.until_living(self.size)

    async def stop(self) -> list[int | None]:
        """Stop all of them properly; how they ended."""
        self._stopping = True
        processes = list(self._living.values())
        for process in processes:
            process.terminate()
        for process in processes:
            await asyncio.to_thread(process.join, 60)
        ends = [process.exitcode for process in processes]
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._listener.close()
        return ends

    async def until_living(self, number: int) -> None:
        """Wait until so many of them serve."""
        async with asyncio.timeout(120), self._changed:
            await self._changed.wait_for(lambda: len(self._living) >= number)

    def kill(self, chance: random.Random) -> None:
        """End one of them at once, as a power cut would."""
        place = chance.choice(sorted(self._living))
        self.kills += 1
        self._living.pop(place).kill()

    async def roll(self) -> list[int | None]:
        """Stop each properly and wait for the one in its place, one by one; how they ended."""
        ends = []
        for place in sorted(self._living):
            old = self._living.pop(place)
            old.terminate()
            async with asyncio.timeout(120), self._changed:
                await self._changed.wait_for(lambda place=place: place in self._living)
            ends.append(old.exitcode)  # its keeper has waited for it
        return ends

    async def _keep(self, place: int) -> None:
        while not self._stopping:
            ours, theirs = _FORKS.Pipe(duplex=False)
            process = _FORKS.Process(
                target=_serve, args=(self._listener, dict(self._environment), theirs), daemon=True
            )
            await asyncio.to_thread(process.start)
            theirs.close()
            try:
                if await asyncio.to_thread(_said, ours):
                    async with self._changed:
                        self._living[place] = process
                        self._changed.notify_all()
                await asyncio.to_thread(process.join)
            finally:
                ours.close()
                if self._living.get(place) is process:
                    del self._living[place]
                if process.is_alive():
                    process.kill()


def _said(ready: Connection) -> bool:
    try:
        return bool(ready.recv())
    except EOFError:
        return False


def _serve(listener: socket.socket, environment: dict[str, str], ready: Connection) -> None:
    """What a worker does, in a process that has everything imported already."""
    os.environ.update(environment)
    settings = read_settings()

    async def serve() -> None:
        await work(
            settings,
            environment["DATABASE_URL"],
            listener,
            stop=stopped_by_signals(),
            say=lambda _: None,
            first=False,
            document=None,
            ready=lambda: ready.send(True),
            seams=Seams(sweep_sleep=lambda _: asyncio.sleep(0.5), restart_grace=0.0),
        )

    with configure_logs("WARNING", "json"):
        uvloop.run(serve())


@asynccontextmanager
async def fleet(size: int, environment: Mapping[str, str]) -> AsyncIterator[Fleet]:
    """So many workers, all serving."""
    opened = Fleet(size, environment)
    try:
        await opened.start()
        yield opened
    finally:
        await opened.stop()


@dataclass
class Customer:
    """Somebody who writes, loses the connection now and then, and comes back for the rest."""

    address: str
    token: str
    thread_id: str
    chance: random.Random
    shown: Transcript = field(default_factory=Transcript)
    acknowledged: set[str] = field(default_factory=set)
    ended: int = 0
    """Turns whose end was seen."""
    refused: int = 0
    drops: int = 0
    patience: Sequence[int] = (2, 5, 12, 40, 1_000)
    """After how many frames the connection may be dropped."""
    codes: Counter[int] = field(default_factory=Counter)
    """What the server said when it closed a connection."""

    async def talk(self, texts: Iterable[str]) -> None:
        """Write each message, and stay until the end of its turn was seen."""
        for number, text in enumerate(texts):
            await self._deliver(f"m{number}", text)
            await self._follow(until=number + 1)

    async def catch_up(self) -> None:
        """Get whatever there is to get."""
        await self._follow(until=0)

    async def _deliver(self, message_id: str, text: str) -> None:
        while message_id not in self.acknowledged:
            with self._cut_off():
                async with self._connected() as chat:
                    await chat.write(self.thread_id, text, message_id)
                    frames = await chat.until(lambda frame: "ack" in frame or "error" in frame)
                    if "ack" in frames[-1]:
                        self.acknowledged.add(message_id)
                        return
                    self.refused += 1
            await asyncio.sleep(0.02)

    async def _follow(self, until: int) -> None:
        """Follow, dropping the connection at random places, until so many turns have ended."""
        while True:
            with self._cut_off():
                async with self._connected() as chat:
                    await chat.send(
                        "resume", thread_id=self.thread_id, last_seq=self.shown.last_seq
                    )
                    patience = self.chance.choice(self.patience)
                    for _ in range(patience):
                        frame = await chat.receive()
                        self._take(frame)
                        if "resumed" in frame and until == 0:
                            return
                        if self.ended >= until > 0:
                            return
            self.drops += 1
            await asyncio.sleep(0.02)

    @contextlib.contextmanager
    def _cut_off(self) -> Iterator[None]:
        """Outlive the end of a connection, and remember what was said of it."""
        try:
            yield
        except ConnectionClosed as closed:
            self.codes[closed.rcvd.code if closed.rcvd else 1006] += 1
        except GONE:
            pass

    def _take(self, frame: dict[str, Any]) -> None:
        assert "reset" not in frame
        transcript_of([frame], self.shown)
        event = frame.get("event", {})
        if event.get("type") in {"RUN_FINISHED", "RUN_ERROR"}:
            self.ended += 1

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ChatClient]:
        async with asyncio.timeout(30), connected(self.address, close_timeout=0.1) as chat:
            await chat.hello(self.token)
            yield chat


async def keep_killing(
    killed: Fleet, number: int, chance: random.Random, pause: Callable[[], float]
) -> None:
    """Kill so many processes, one after the other, at moments of chance, never the last one."""
    for _ in range(number):
        await asyncio.sleep(pause())
        await killed.until_living(2)
        killed.kill(chance)
