"""Connections in a stack: the newest is used next, and none that may answer for another request."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpcore
import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.upstreams import LOOPBACK

from smart_support.resilience.transport import CheckedBackend, StackTransport

PATIENCE = 10.0
"""Seconds until a test gives up waiting for what happens at once."""


class Marking:
    """A server on loopback that marks each answer with the number of its connection.

    `/echo/TEXT` answers with the text, `/chunked/TEXT` in pieces, `/leave/TEXT` and closes without
    a word, `/hang/` never; each text as often as `?` says.
    """

    def __init__(self, numbers: Iterable[int] | None = None) -> None:
        self._numbers = iter(numbers or itertools.count(1))
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self.base = ""
        self.gone: dict[int, asyncio.Event] = {}
        self.hanging: asyncio.Queue[int] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        self._writers[number], self.gone[number] = writer, asyncio.Event()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, way, text = head.split(b" ", 2)[1].decode().split("/", 2)
                if way == "hang":
                    self.hanging.put_nowait(number)
                    await reader.read()
                    return
                text, _, times = text.partition("?")
                pieces = [text.encode()] * int(times or 1)
                length = b"Content-Length: %d" % sum(map(len, pieces))
                if way == "chunked":
                    length = b"Transfer-Encoding: chunked"
                    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
                    pieces.append(b"0\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nX-Connection: %d\r\n" % number)
                writer.write(length + b"\r\n\r\n" + b"".join(pieces))
                await writer.drain()
                if way == "leave":
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self.gone[number].set()

    async def leave(self, number: int) -> None:
        """Close a connection from this side."""
        self._writers[number].close()
        await self.gone[number].wait()
        await settled()

    async def left(self, number: int) -> None:
        """Wait until a connection is closed, by whomever."""
        async with asyncio.timeout(PATIENCE):
            await self.gone[number].wait()

    @property
    def open(self) -> set[int]:
        return {number for number, gone in self.gone.items() if not gone.is_set()}


async def settled() -> None:
    """Let everything happen that is about to."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def marking(numbers: Iterable[int] | None = None) -> AsyncIterator[Marking]:
    made = Marking(numbers)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[Marking]:
    async with marking() as made:
        yield made


def stack(**options: Any) -> StackTransport:
    return StackTransport(CheckedBackend(LOOPBACK), **options)


@pytest.fixture
async def transport() -> AsyncIterator[StackTransport]:
    async with stack() as made:
        yield made


async def ask(
    transport: StackTransport, server: Marking, path: str = "/echo/x"
) -> tuple[int, httpx.Response]:
    """Ask, and read the head only; on which connection, and the answer."""
    async with asyncio.timeout(PATIENCE):
        answer = await transport.handle_async_request(httpx.Request("GET", server.base + path))
    return int(answer.headers["x-connection"]), answer


async def have(transport: StackTransport, server: Marking, path: str = "/echo/x") -> int:
    """Ask, and read all; on which connection."""
    number, answer = await ask(transport, server, path)
    assert (await answer.aread()).decode() == path.split("/", 2)[2]
    return number


async def spread(transport: StackTransport, server: Marking, count: int) -> list[int]:
    """Have so many idle connections, the one used last at the end."""
    asked = [await ask(transport, server) for _ in range(count)]
    for _, answer in asked:
        await answer.aread()
    return [number for number, _ in asked]


class TestAnIdleConnection:
    async def test_that_was_used_last_is_used_next(
        self, transport: StackTransport, server: Marking
    ) -> None:
        one, two, three = await spread(transport, server, 3)

        assert [await have(transport, server) for _ in range(2)] == [three, three]
        together = [await ask(transport, server) for _ in range(4)]
        assert [number for number, _ in together[:3]] == [three, two, one]
        assert together[3][0] not in {one, two, three}
        for _, answer in together:
            await answer.aread()

    @pytest.mark.parametrize("way", ["echo", "chunked"])
    async def test_answers_the_next_request_whole(
        self, transport: StackTransport, server: Marking, way: str
    ) -> None:
        numbers = [await have(transport, server, f"/{way}/{text * 50}") for text in "abc"]

        assert numbers == [1, 1, 1]

    async def test_that_has_expired_is_closed_and_not_used(self, server: Marking) -> None:
        async with stack(keepalive=0.05) as transport:
            first = await have(transport, server)
            await asyncio.sleep(0.06)
            assert await have(transport, server) != first
            await server.left(first)

    async def test_that_the_server_closed_is_closed_and_not_used(
        self, transport: StackTransport, server: Marking
    ) -> None:
        one, two, three = await spread(transport, server, 3)
        await server.leave(three)
        await server.leave(two)

        assert await have(transport, server) == one
        assert await have(transport, server) == one

    async def test_that_the_server_closes_after_its_answer_is_not_used(
        self, transport: StackTransport, server: Marking
    ) -> None:
        first = await have(transport, server, "/leave/x")
        await server.left(first)
        await settled()

        assert await have(transport, server) != first

    async def test_beyond_those_that_are_kept_is_closed_the_oldest_first(
        self, server: Marking
    ) -> None:
        async with stack(keep=2) as transport:
            numbers = await spread(transport, server, 4)
            for number in numbers[:2]:
                await server.left(number)
            await settled()
            assert server.open == set(numbers[2:])

    async def test_is_used_once_if_none_are_kept(self, server: Marking) -> None:
        async with stack(keep=0) as transport:
            numbers = [await have(transport, server) for _ in range(3)]

            assert len(set(numbers)) == 3
            for number in numbers:
                await server.left(number)

    async def test_of_another_origin_is_not_used(
        self, transport: StackTransport, server: Marking
    ) -> None:
        async with marking(itertools.count(101)) as other:
            here, there = await have(transport, server), await have(transport, other)

            assert [await have(transport, server), await have(transport, other)] == [here, there]
            assert [await have(transport, server), await have(transport, other)] == [here, there]
            assert here < 100 < there


class TestAConnectionIsClosedAndNotUsedAgain:
    @pytest.mark.parametrize("way", ["echo", "chunked"])
    @pytest.mark.parametrize("pieces", [0, 1])
    async def test_whose_answer_was_not_read_to_its_end(
        self, transport: StackTransport, server: Marking, way: str, pieces: int
    ) -> None:
        number, answer = await ask(transport, server, f"/{way}/0123456789?50000")
        body = aiter(answer.stream)  # type: ignore[arg-type]
        for _ in range(pieces):
            assert await anext(body)
        await answer.aclose()

        await server.left(number)
        assert await have(transport, server) != number

    @pytest.mark.parametrize("used_before", [False, True])
    async def test_whose_request_was_cancelled(
        self, transport: StackTransport, server: Marking, *, used_before: bool
    ) -> None:
        if used_before:
            await have(transport, server)
        asking = asyncio.create_task(ask(transport, server, "/hang/"))
        number = await server.hanging.get()
        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.left(number)
        assert await have(transport, server) != number

    @pytest.mark.parametrize("yields", range(8))
    async def test_whose_request_was_cancelled_again_as_it_was_closed(
        self, transport: StackTransport, server: Marking, yields: int
    ) -> None:
        asking = asyncio.create_task(ask(transport, server, "/hang/"))
        number = await server.hanging.get()
        asking.cancel()
        for _ in range(yields):
            await asyncio.sleep(0)
        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.left(number)
        assert await have(transport, server) != number

    async def test_whose_closing_was_cancelled(self, server: Marking) -> None:
        network = Lingering()
        async with StackTransport(network) as transport:
            number, answer = await ask(transport, server, "/echo/0123456789?50000")
            network.lingers = True
            closing = asyncio.create_task(answer.aclose())
            await network.closing.wait()
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(PATIENCE):
                    await closing

            await server.left(number)
            assert await have(transport, server) != number

    @pytest.mark.parametrize("yields", range(1, 6))
    async def test_whose_closing_was_cancelled_at_any_moment(
        self, transport: StackTransport, server: Marking, yields: int
    ) -> None:
        number, answer = await ask(transport, server, "/echo/0123456789?50000")
        closing = asyncio.create_task(answer.aclose())
        for _ in range(yields):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing], timeout=PATIENCE)

        await server.left(number)
        assert await have(transport, server) != number


class Lingering(httpcore.AnyIOBackend):
    """Connections the next of which takes for ever to close, unless that is cut off."""

    def __init__(self) -> None:
        self.lingers = False
        self.closing = asyncio.Event()

    async def connect_tcp(self, *given: Any, **named: Any) -> httpcore.AsyncNetworkStream:
        return LingeringStream(await super().connect_tcp(*given, **named), self)


class Hesitant(httpcore.AnyIOBackend):
    """Connects when it may."""

    def __init__(self) -> None:
        self.connecting, self.go = asyncio.Event(), asyncio.Event()

    async def connect_tcp(self, *given: Any, **named: Any) -> httpcore.AsyncNetworkStream:
        self.connecting.set()
        await self.go.wait()
        return await super().connect_tcp(*given, **named)


class LingeringStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, network: Lingering) -> None:
        self._stream, self._network = stream, network

    async def read(self, *given: Any, **named: Any) -> bytes:
        return await self._stream.read(*given, **named)

    async def write(self, *given: Any, **named: Any) -> None:
        await self._stream.write(*given, **named)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def aclose(self) -> None:
        try:
            if self._network.lingers:
                self._network.lingers = False
                self._network.closing.set()
                await asyncio.Event().wait()
        finally:
            await self._stream.aclose()


class TestABody:
    async def test_that_was_closed_gives_nothing_to_who_asks_again(
        self, transport: StackTransport, server: Marking
    ) -> None:
        """Its connection answers somebody else already."""
        first, old = await ask(transport, server, "/echo/mine")
        body = old.stream
        assert isinstance(body, httpx.AsyncByteStream)
        await old.aread()
        second, new = await ask(transport, server, "/echo/another's")
        assert second == first

        assert [piece async for piece in body] == []
        await body.aclose()
        assert (await new.aread()).decode() == "another's"
        assert await have(transport, server) == first


class TestClosing:
    async def test_ends_idle_and_used_connections(self, server: Marking) -> None:
        transport = stack()
        idle = await spread(transport, server, 2)
        used = [await ask(transport, server, "/echo/0123456789?50000") for _ in range(4)]
        assert {number for number, _ in used} > set(idle)  # two are used again, two are new
        for number, answer in used[:1]:
            await answer.aread()
            assert number in idle

        await transport.aclose()

        for number in list(server.gone):
            await server.left(number)
        for _, answer in used[1:]:
            with pytest.raises(httpx.TransportError):
                await answer.aread()

    async def test_keeps_nothing_that_was_being_connected(self, server: Marking) -> None:
        network = Hesitant()
        transport = StackTransport(network)
        asking = asyncio.create_task(ask(transport, server))
        await network.connecting.wait()

        await transport.aclose()
        network.go.set()
        number, answer = await asking
        assert await answer.aread() == b"x"

        await server.left(number)

    async def test_keeps_nothing_that_is_given_back_later(self, server: Marking) -> None:
        transport = stack()
        number, answer = await ask(transport, server)
        body = b"".join([piece async for piece in answer.stream])  # type: ignore[union-attr]
        await transport.aclose()
        await answer.aclose()

        assert body == b"x"
        await server.left(number)


KEEP = 2


def _gone(origin: int) -> int:
    """Stands for the origin of a connection that the server has left."""
    return -1 - origin


class AnyOrder(RuleBasedStateMachine):
    """Requests of two origins in any order, beside a model of which connection is where."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.open_them = AsyncExitStack()
        self.numbers = itertools.count(1)
        self.servers = [
            self.run(self.open_them.enter_async_context(marking(self.numbers))) for _ in range(2)
        ]
        self.transport = stack(keep=KEEP, keepalive=600.0)
        self.idle: list[tuple[int, int]] = []
        """Origin and number, the newest last."""
        self.used: dict[int, tuple[int, str, httpx.Response]] = {}
        self.dead: set[int] = set()
        self.closed: list[httpx.AsyncByteStream] = []
        self.texts = itertools.count(1)

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def expected(self, origin: int) -> int | None:
        """The connection that a request must use now; it is not idle any more."""
        for gone_or_not in list(reversed(self.idle)):
            if gone_or_not[0] in {origin, _gone(origin)}:
                self.idle.remove(gone_or_not)
                if gone_or_not[0] == origin:
                    return gone_or_not[1]
        return None

    def new_or(self, expected: int | None, number: int) -> None:
        if expected is not None:
            assert number == expected
        assert number not in self.dead
        assert number not in self.used
        assert number not in {each for _, each in self.idle}

    @rule(origin=st.integers(0, 1), way=st.sampled_from(["echo", "chunked"]))
    def ask(self, origin: int, way: str) -> None:
        text = f"{next(self.texts)}." * 30
        expected = self.expected(origin)
        number, answer = self.run(ask(self.transport, self.servers[origin], f"/{way}/{text}"))
        self.new_or(expected, number)
        self.used[number] = origin, text, answer

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def read_to_the_end(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.used)))
        origin, text, answer = self.used.pop(number)
        self.closed.append(answer.stream)  # type: ignore[arg-type]
        assert self.run(answer.aread()).decode() == text
        self.idle.append((origin, number))
        while len(self.idle) > KEEP:
            self.die(*self.idle.pop(0))

    @precondition(lambda self: self.used)
    @rule(data=st.data(), pieces=st.integers(0, 1))
    def give_up_reading(self, data: st.DataObject, pieces: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.used)))
        origin, _, answer = self.used.pop(number)
        self.closed.append(answer.stream)  # type: ignore[arg-type]

        async def work() -> None:
            body = aiter(answer.stream)  # type: ignore[arg-type]
            for _ in range(pieces):
                await anext(body)
            await answer.aclose()

        self.run(work())
        self.die(origin, number)

    @rule(origin=st.integers(0, 1), again=st.none() | st.integers(0, 5))
    def cancel(self, origin: int, again: int | None) -> None:
        expected, server = self.expected(origin), self.servers[origin]

        async def work() -> int:
            asking = asyncio.create_task(ask(self.transport, server, "/hang/"))
            number: int = await server.hanging.get()
            asking.cancel()
            if again is not None:
                for _ in range(again):
                    await asyncio.sleep(0)
                asking.cancel()
            await asyncio.wait([asking], timeout=PATIENCE)
            assert asking.cancelled()
            return number

        number = self.run(work())
        self.new_or(expected, number)
        self.die(origin, number)

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def the_server_leaves(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(range(len(self.idle))))
        origin, number = self.idle[place]
        if origin < 0:
            return
        self.run(self.servers[origin].leave(number))
        # It keeps its place among the idle ones until it is come upon, or is the oldest.
        self.idle[place] = (_gone(origin), number)
        self.dead.add(number)

    @precondition(lambda self: self.closed)
    @rule(data=st.data())
    def ask_a_closed_body_again(self, data: st.DataObject) -> None:
        body = data.draw(st.sampled_from(self.closed))

        async def work() -> list[bytes]:
            return [piece async for piece in body]

        assert self.run(work()) == []
        self.run(body.aclose())

    def die(self, origin: int, number: int) -> None:
        """It is closed, which the server sees."""
        self.dead.add(number)
        if origin >= 0:
            self.run(self.servers[origin].left(number))

    @invariant()
    def what_is_open_is_used_or_idle(self) -> None:
        known = {number for origin, number in self.idle if origin >= 0} | self.used.keys()
        assert {number for server in self.servers for number in server.open} == known

    def teardown(self) -> None:
        async def work() -> None:
            await self.transport.aclose()
            for server in self.servers:
                for number in list(server.gone):
                    await server.left(number)
            await self.open_them.aclose()

        try:
            self.run(work())
        finally:
            self.loop.close()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=max(settings().max_examples // 4, 25), stateful_step_count=30, deadline=None
)
