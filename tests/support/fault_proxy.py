"""A TCP proxy in front of PostgreSQL that can do to connections what networks do.

    async with fault_proxy(url) as proxy:
        engine = open_engine(proxy.url)
        proxy.stall()      # nothing passes any more, nothing is closed
        proxy.mend()

`url` is that of a server on a Unix socket, as the tests have one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

Writer = asyncio.StreamWriter


class FaultProxy:
    """What happens to whom connects, and to whom is connected."""

    def __init__(self, target: str, database: str, user: str) -> None:
        self._target = target
        self._database = database
        self._user = user
        self._open: set[Writer] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._refuses = False
        self._delay = 0.0
        self._lose_reply_to: Callable[[bytes], bool] | None = None
        self.port = 0
        self.lost = 0
        """Replies that were cut off since they were to be lost."""

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self.port}/{self._database}"

    def cut(self) -> None:
        """End every connection there is; new ones are let in."""
        for writer in list(self._open):
            writer.transport.abort()

    def refuse(self) -> None:
        """End every connection, and let nobody in: a server that is down."""
        self._refuses = True
        self.cut()

    def stall(self) -> None:
        """Let nothing pass, and close nothing: a black hole."""
        self._passes.clear()

    def slow_down(self, seconds: float) -> None:
        """Hold up each piece on its way to the server."""
        self._delay = seconds

    def lose_reply_to(self, sent: Callable[[bytes], bool]) -> None:
        """Cut the connection once the server has answered a piece that `sent` is true of."""
        self._lose_reply_to = sent

    def mend(self) -> None:
        """Be a mere wire again; what was held up is thrown away with its connections."""
        if not self._passes.is_set():
            self.cut()
        self._refuses, self._delay = False, 0.0
        self._passes.set()

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._target)
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(to_server)
        marked = asyncio.Event()
        try:
            await asyncio.wait(
                {
                    asyncio.create_task(self._up(reader, to_server, marked)),
                    asyncio.create_task(self._down(from_server, writer, marked)),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for one in (writer, to_server):
                self._open.discard(one)
                one.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, to: Writer, marked: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65_536):
                await self._passes.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                if self._lose_reply_to is not None and self._lose_reply_to(piece):
                    self._lose_reply_to = None
                    marked.set()
                to.write(piece)
                await to.drain()

    async def _down(self, reader: asyncio.StreamReader, to: Writer, marked: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65_536):
                await self._passes.wait()
                if marked.is_set():
                    self.lost += 1
                    return
                to.write(piece)
                await to.drain()


@asynccontextmanager
async def fault_proxy(url: str) -> AsyncIterator[FaultProxy]:
    """A proxy in front of the server at `url`, on a port of its own."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    folder, port = options["host"][0], options.get("port", ["5432"])[0]
    proxy = FaultProxy(
        f"{folder}/.s.PGSQL.{port}", parts.path.lstrip("/"), parts.username or "postgres"
    )
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.mend()
        proxy.cut()
