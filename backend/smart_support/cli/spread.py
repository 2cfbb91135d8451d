"""Connections spread evenly over the processes that share a listening socket.

The kernel gives a connection to whichever process comes first, which mostly is the one that is
awake; chats stay open for hours, so that one process may have nearly all of them. Here each process
tells the others how many it has, and one that has more than another leaves a new connection to it
for a moment. It takes it all the same if nobody else does, so that a process that hangs stops
nobody.

Source: "Why does one NGINX worker take all the load?", Cloudflare, 2017.
"""

import asyncio
import mmap
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog

log = structlog.get_logger()

GIVE_WAY_SECONDS = 0.05
"""How long a connection is left to the others."""

LOOK_SECONDS = 0.001
"""How often it is looked in that time whether they have caught up."""

FREE_SECONDS = 1.0
"""How long nothing is left to them after they did not take what was."""

SPARE_SECONDS = 1.0
"""How long nothing is taken when the process can open no more files."""

_ABSENT = -1
_SLOT = 4


class Shares:
    """How many connections each process has, in memory that all of them see."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._memory = mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size)
        self._view = memoryview(self._memory)
        self._slots = self._view.cast("i")

    @classmethod
    @contextmanager
    def made(cls, count: int, folder: Path) -> Iterator["Shares"]:
        """For `count` processes, none of which serves yet; in a file of `folder` without a name."""
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(count * _SLOT)
            with closing(cls(file)) as shares:
                for number in range(count):
                    shares.leave(number)
                yield shares

    @classmethod
    @contextmanager
    def of(cls, descriptor: int) -> Iterator["Shares"]:
        """Those of another process, which gave us this descriptor."""
        with os.fdopen(descriptor, "r+b") as file, closing(cls(file)) as shares:
            yield shares

    def close(self) -> None:
        """Be done with them."""
        for part in (self._slots, self._view):
            part.release()
        self._memory.close()

    @property
    def descriptor(self) -> int:
        """What another process opens them with."""
        return self._file.fileno()

    def tell(self, number: int, connections: int) -> None:
        """Say how many connections the process with this number has."""
        self._slots[number] = connections

    def leave(self, number: int) -> None:
        """Say that this process takes none."""
        self._slots[number] = _ABSENT

    def least(self) -> int:
        """The fewest that any process has that takes some; 0 if none does."""
        return min((slot for slot in self._slots if slot != _ABSENT), default=0)


@dataclass(frozen=True, slots=True)
class Share:
    """One process's place among those that share a socket."""

    shares: Shares
    number: int


class Acceptor:
    """Takes in one process's share of the connections to a socket."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        share: Share,
        connections: Callable[[], int],
    ) -> None:
        """`connections` says how many this process has."""
        self._listener = listener
        self._protocol = protocol
        self._shares, self._number = share.shares, share.number
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._free_until = 0.0
        self._beginning: set[asyncio.Task[object]] = set()
        self._open = True
        listener.setblocking(False)
        self.tell()
        self._listen()

    def tell(self) -> None:
        """Say how many connections this process has; to be done now and then, since they end."""
        if self._open:
            self._shares.tell(self._number, self._mine())

    def close(self) -> None:
        """Take no more."""
        if not self._open:
            return
        self._open = False
        self._shares.leave(self._number)
        self._loop.remove_reader(self._listener)
        if self._later is not None:
            self._later.cancel()

    async def wait_closed(self) -> None:
        """Wait until those that were taken have begun."""
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _mine(self) -> int:
        return self._connections() + len(self._beginning)

    def _ahead(self) -> bool:
        """Whether this process has more than its share; of many, a few more are no more."""
        mine = self._mine()
        return mine > self._shares.least() + max(1, mine // 16) - 1

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._come)

    def _come(self) -> None:
        """Somebody wants to connect."""
        self.tell()
        if self._ahead() and self._loop.time() >= self._free_until:
            self._loop.remove_reader(self._listener)
            self._give_way(self._loop.time() + GIVE_WAY_SECONDS)
        else:
            self._accept()

    def _give_way(self, until: float) -> None:
        """Leave it to the others until then, or until they are ahead themselves."""
        if self._ahead() and self._loop.time() < until:
            self._later = self._loop.call_later(LOOK_SECONDS, self._give_way, until)
            return
        self._later = None
        if self._ahead() and self._accept():
            self._free_until = self._loop.time() + FREE_SECONDS
        if self._later is None:
            self._listen()

    def _accept(self) -> bool:
        """Take a connection, if there still is one; whether there was."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            # As asyncio's own servers do: it comes back at once, again and again.
            log.error("connection_not_accepted", error=str(error))
            self._loop.remove_reader(self._listener)
            self._later = self._loop.call_later(SPARE_SECONDS, self._resume)
            return False
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection), name="connection")
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        self.tell()
        return True

    def _resume(self) -> None:
        self._later = None
        self._listen()

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            log.info("connection_not_begun", error=str(error))
            connection.close()
