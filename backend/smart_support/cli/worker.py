"""One of several processes that serve behind one port."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable

from smart_support.cli.serve import stopped_by_signals, work
from smart_support.cli.spread import Share, Shares
from smart_support.cli.workers import READY
from smart_support.errors import SetupError
from smart_support.settings import Settings


async def serve_as_worker(
    settings: Settings,
    descriptor: int,
    shares: int,
    number: int,
    first: bool,
    document: str | None,
    *,
    say: Callable[[str], None],
) -> None:
    """Serve on the socket with this descriptor until a signal, or until standard input ends.

    `shares` is the descriptor of what is known of all of them, and `number` this one's place in it.

    Raises:
        SetupError: the parent gave no database.
    """
    if settings.database_url is None:
        raise SetupError("A worker is started by `smart-support serve --workers`, not by hand.")
    stop = stopped_by_signals()
    loop = asyncio.get_running_loop()
    # The parent holds the other end, so that nobody is left when it is killed.
    parent = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent), sys.stdin)
    watching = asyncio.create_task(_until_gone(parent, stop), name="parent")
    with socket.socket(fileno=descriptor) as listener, Shares.of(shares) as known:
        try:
            await work(
                settings,
                settings.database_url.get_secret_value(),
                listener,
                stop=stop,
                say=lambda line: _repeat(say, line),
                ready=lambda: _repeat(say, READY),
                first=first,
                document=document,
                share=Share(known, number),
            )
        finally:
            watching.cancel()


def _repeat(say: Callable[[str], None], line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
        say(line)


async def _until_gone(parent: asyncio.StreamReader, stop: asyncio.Event) -> None:
    await parent.read()
    stop.set()
