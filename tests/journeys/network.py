"""A way to the product that can be cut, as by a tunnel or a lost signal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Line:
    """Carries bytes between a browser and a server, until it is cut."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._up = True
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def through(self, link: str) -> str:
        """The same link, over this line."""
        return link.replace(self._target, self.address, 1)

    def cut(self) -> None:
        """Break every connection, and let no new one live."""
        self._up = False
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """Let new connections through again."""
        self._up = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if self._up:
                target = urlsplit(self._target)
                there, there_writer = await asyncio.open_connection(target.hostname, target.port)
                self._open.add(there_writer)
                try:
                    await asyncio.gather(_pipe(reader, there_writer), _pipe(there, writer))
                finally:
                    self._open.discard(there_writer)
                    there_writer.close()
        except OSError:
            pass  # cut, or nobody there: the browser is to see just that
        finally:
            self._open.discard(writer)
            writer.transport.abort()
            self._tasks.discard(task)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def line_to(address: str) -> AsyncIterator[Line]:
    """A line to the server at `address` (a URL without a path)."""
    line = Line(address)
    await line.open()
    try:
        yield line
    finally:
        await line.close()
