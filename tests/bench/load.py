"""The load: customers on WebSockets who ask, and wait for the whole answer before asking again.

Every answer is checked. A benchmark of turns that failed would be fast.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import httpx
import orjson
from tests.bench.fakes import ANSWER, ORDER, PACES
from tests.bench.processes import cpu_of, cpu_of_family
from websockets.asyncio.client import ClientConnection, connect

TURN_SECONDS = 60.0
QUESTION = "Where is my order 1001?"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a customer saw of an answer, and when, by the clock of `perf_counter`."""

    pieces: int
    """Pieces of its text."""
    first: float
    """When the first of them came."""
    accepted: float = 0.0
    """When the message was acknowledged, if that is done."""
    begun: float = 0.0
    """When answering began, if that is told."""


class Session(Protocol):
    """One customer in one conversation."""

    async def turn(self, text: str) -> Turn:
        """Ask, and wait for the whole answer."""
        ...


class WrongAnswer(RuntimeError):
    """A turn ended otherwise than the fakes make it end."""


class BareSession:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._thread_id = str(uuid4())

    async def turn(self, text: str) -> Turn:
        await self._socket.send(orjson.dumps({"thread_id": self._thread_id, "text": text}).decode())
        pieces: list[str] = []
        result, first = "", 0.0
        while not (frame := orjson.loads(await self._socket.recv())).get("done"):
            if "token" in frame:
                first = first or time.perf_counter()
                pieces.append(frame["token"])
            result = frame.get("result", result)
        if "".join(pieces) != ANSWER or not result or orjson.loads(result) != ORDER:
            raise WrongAnswer(f"the bare turn said {pieces!r} after {result!r}")
        return Turn(len(pieces), first)

    async def echo(self) -> None:
        """One round trip of a small frame."""
        await self._socket.send('{"type":"ping"}')
        await self._socket.recv()


class OurSession:
    def __init__(
        self, socket: ClientConnection, thread_id: str, refused: list[str] | None = None
    ) -> None:
        """With `refused`, what is refused for now is noted there and sent again, as a page does."""
        self._socket = socket
        self._thread_id = thread_id
        self._messages = 0
        self._refused = refused

    async def say(self, **frame: Any) -> None:
        await self._socket.send(orjson.dumps(frame).decode())

    async def until(self, key: str) -> Any:
        """The value of the first frame that has this key."""
        while key not in (frame := orjson.loads(await self._socket.recv())):
            if "error" in frame:
                raise WrongAnswer(f"the server said {frame['error']}")
        return frame[key]

    async def turn(self, text: str) -> Turn:
        self._messages += 1
        message = {"message_id": f"m{self._messages}", "text": text}
        await self.say(type="send", thread_id=self._thread_id, **message)
        said, pieces, result, first, accepted, begun = "", 0, "", 0.0, 0.0, 0.0
        while True:
            frame = orjson.loads(await self._socket.recv())
            event = frame.get("event")
            if event is None:
                if "ack" in frame:
                    accepted = time.perf_counter()
                elif "error" in frame and self._refused is not None:
                    self._refused.append(frame["error"]["code"])
                    await asyncio.sleep(frame["error"].get("retry_after") or 1.0)
                    await self.say(type="send", thread_id=self._thread_id, **message)
                elif "error" in frame:
                    raise WrongAnswer(f"the server said {frame['error']}")
                continue
            match event["type"]:
                case "RUN_STARTED":
                    begun = time.perf_counter()
                case "TEXT_MESSAGE_START":
                    said = ""
                case "TEXT_MESSAGE_CONTENT":
                    if "offset" in frame:  # the customer's own words have none
                        first = first or time.perf_counter()
                    said = said[: frame.get("offset", len(said))] + event["delta"]
                    pieces += "offset" in frame
                case "TOOL_CALL_RESULT":
                    result = orjson.loads(event["content"])["outcome"]
                case "RUN_FINISHED" | "RUN_ERROR":
                    break
        if event["type"] != "RUN_FINISHED" or said != ANSWER or result != "done":
            raise WrongAnswer(f"our turn ended with {event}, after {result!r} and {said!r}")
        return Turn(pieces, first, accepted, begun)

    async def echo(self) -> None:
        """One round trip of the smallest frame that our protocol has."""
        await self.say(type="ping")
        await self.until("pong")


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[ClientConnection]:
    options: dict[str, Any] = {
        "proxy": None,
        "compression": None,
        "ping_interval": None,
        "close_timeout": 1,
    }
    async with connect(url, open_timeout=TURN_SECONDS, **options) as socket:
        yield socket


@asynccontextmanager
async def bare_session(port: int, path: str = "chat") -> AsyncIterator[BareSession]:
    async with _connected(f"ws://127.0.0.1:{port}/{path}") as socket:
        yield BareSession(socket)


@asynccontextmanager
async def our_session(
    client: httpx.AsyncClient, address: str, token: str, refused: list[str] | None = None
) -> AsyncIterator[OurSession]:
    """A new thread of a customer, followed on a socket of its own."""
    answer = await client.post("/api/threads", headers={"Authorization": f"Bearer {token}"})
    thread_id = answer.raise_for_status().json()["id"]
    async with _connected(f"{address.replace('http', 'ws', 1)}/api/chat") as socket:
        session = OurSession(socket, thread_id, refused)
        await session.say(type="hello", token=token)
        await session.until("ready")
        await session.say(type="resume", thread_id=thread_id, last_seq=0)
        await session.until("resumed")
        yield session


@dataclass(frozen=True)
class Target:
    """A server under load."""

    pid: int
    postmaster: int | None
    session: Callable[[], AbstractAsyncContextManager[Session]]
    rests: float = 0.0
    """Seconds for which it may do nothing although work of its last turns is left."""


@dataclass(frozen=True)
class Scenario:
    """So many sessions at once, each with so many turns, one after the other, in a new thread."""

    sessions: int
    turns: int
    words: str = ""
    """What the customer adds, which says how fast the model is (`PACES`)."""
    before: int = 0
    """Turns that each thread has already when it begins; they are not measured."""
    patience: float = TURN_SECONDS
    """Seconds that each customer waits for an answer, all refusals included."""
    spread: float = 0.0
    """Seconds over which the sessions begin, evenly; 0: all in one moment."""
    lasting: float = 0.0
    """Seconds after which nobody asks again; 0: each asks as often as `turns` says. A turn
    that is not over by then counts by its part that is: nobody waits for the slowest."""

    @property
    def name(self) -> str:
        several = "" if self.sessions == 1 else "s"
        first, pause = PACES.get(self.words, (0.0, 0.0))
        pace = f", {pause * 1000:.0f} ms a token" if pause else ""
        pace += f" after {first * 1000:.0f} ms" if first else ""
        old = f", turn {self.before + 1} and on" if self.before else ""
        apart = f", {self.spread / self.sessions * 1000:.0f} ms apart" if self.spread else ""
        return f"{self.sessions} session{several}{apart}{pace}{old}"


@dataclass(frozen=True)
class Sample:
    """What one round of a scenario cost. CPU in milliseconds per turn."""

    walls: list[float]
    """Milliseconds of each turn, from the question to the end of the answer."""
    firsts: list[float]
    """Milliseconds of each turn until the first piece of its answer."""
    per_second: float
    cpu: float
    database_cpu: float | None
    pieces: float
    """Pieces of text per answer."""
    accepted: list[float]
    """Milliseconds of each turn from when the message was acknowledged to the end."""
    begun: list[float]
    """Milliseconds of each turn from when answering began to the end."""


async def run(target: Target, scenario: Scenario) -> Sample:
    """One round. Opening sockets and threads is not in it; work left over by its turns is."""
    text = f"{QUESTION} {scenario.words}".rstrip()
    walls: list[float] = []
    firsts: list[float] = []
    accepted: list[float] = []
    begun: list[float] = []
    pieces, in_time = 0, 0.0
    until = math.inf

    async def customer(session: Session, place: int) -> None:
        nonlocal pieces, in_time
        await asyncio.sleep(scenario.spread * place / scenario.sessions)
        for _ in range(scenario.turns):
            began = time.perf_counter()
            if began > until:
                break
            async with asyncio.timeout(scenario.patience):
                found = await session.turn(text)
            ended = time.perf_counter()
            in_time += min(1.0, (until - began) / (ended - began))
            pieces += found.pieces
            walls.append((ended - began) * 1000)
            accepted.append((ended - found.accepted) * 1000)
            begun.append((ended - found.begun) * 1000)
            firsts.append((found.first - began) * 1000)

    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(target.session()) for _ in range(scenario.sessions)
        ]
        for session in sessions:
            for _ in range(scenario.before):
                await session.turn(QUESTION)
        before = await _quiet(target, target.rests if scenario.before else 0.0)
        began = time.perf_counter()
        until = began + (scenario.lasting or math.inf)
        async with asyncio.TaskGroup() as group:
            for place, session in enumerate(sessions):
                group.create_task(customer(session, place))
        seconds = scenario.lasting or time.perf_counter() - began
        after = await _quiet(target, target.rests)
    count = len(walls)
    return Sample(
        walls=walls,
        firsts=firsts,
        per_second=in_time / seconds,
        cpu=(after[0] - before[0]) * 1000 / count,
        database_cpu=None if target.postmaster is None else (after[1] - before[1]) * 1000 / count,
        pieces=pieces / count,
        accepted=accepted,
        begun=begun,
    )


async def _quiet(target: Target, rests: float) -> tuple[float, float]:
    """CPU seconds of the server and its database, once neither works any more (or for 5 s)."""
    await asyncio.sleep(rests)
    found = _cpu(target)
    for _ in range(50):
        await asyncio.sleep(0.1)
        before, found = found, _cpu(target)
        if sum(found) - sum(before) < 0.015:  # a tick of the kernel's clock is 0.01
            break
    return found


def _cpu(target: Target) -> tuple[float, float]:
    database = 0.0 if target.postmaster is None else cpu_of_family(target.postmaster)
    return cpu_of(target.pid), database


async def ideal(model: str, company: str, words: str) -> tuple[float, float]:
    """A turn without anybody between: milliseconds to its first token, and to its end."""
    asked: list[dict[str, Any]] = [{"role": "user", "content": f"{QUESTION} {words}"}]
    result = {"role": "tool", "tool_call_id": "1", "content": orjson.dumps(ORDER).decode()}
    first = 0.0
    async with httpx.AsyncClient(trust_env=False, timeout=TURN_SECONDS) as client:
        began = time.perf_counter()
        for messages in (asked, [*asked, result]):
            body = {"model": "bench", "messages": messages, "stream": True}
            async with client.stream("POST", f"{model}/v1/chat/completions", json=body) as answer:
                async for piece in answer.aiter_bytes():
                    if b'"content":"Your ' in piece:
                        first = time.perf_counter()
            if messages is asked:
                await client.get(f"{company}/orders/1001")
        return (first - began) * 1000, (time.perf_counter() - began) * 1000


async def timed(work: Callable[[], Awaitable[object]], times: int) -> float:
    """Median milliseconds of `work`, done so many times."""
    walls = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        walls.append((time.perf_counter() - began) * 1000)
    return sorted(walls)[len(walls) // 2]
