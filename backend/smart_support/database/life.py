"""That this process lives, for the others to see, and what they tell each other.

An advisory lock on a connection of its own says so. The lock is free as soon as the process or
its connection is gone; the keepalives of the server see to it within ten seconds when a machine
vanishes without a word. Notifications come over the same connection.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog

from smart_support.database.engine import psycopg_dsn
from smart_support.errors import DatabaseUnavailable

log = structlog.get_logger()

CHANNEL = "smart_support"
BEAT_SECONDS = 2.0
PATIENCE_SECONDS = 3.0
RETRY_SECONDS = 0.5

_KEEPALIVE = {
    # On the server: a client whose machine is gone is noticed after 4 + 3 * 2 seconds.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


class Life:
    """One process's lock. Lost when PostgreSQL restarts or is cut off, and taken again."""

    def __init__(
        self,
        url: str,
        *,
        beat: float = BEAT_SECONDS,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`beat`: seconds between signs of life; `patience`: how long one may take."""
        self.owner = secrets.randbits(62)
        self._dsn = psycopg_dsn(url)
        self._beat = beat
        self._patience = patience
        self._sleep = sleep
        self._connection: asyncpg.Connection | None = None
        self._backend: int | None = None
        self._busy = asyncio.Lock()
        self._gone = asyncio.Event()
        self._told: list[Callable[[str], None]] = []
        self._regained: list[Callable[[], None]] = []

    @property
    def held(self) -> bool:
        """Whether this process may count on its turns being its own."""
        return self._connection is not None and not self._connection.is_closed()

    def when_told(self, take: Callable[[str], None]) -> None:
        """Have `take` called with each notification of any process, this one included."""
        self._told.append(take)

    def when_regained(self, act: Callable[[], None]) -> None:
        """Have `act` called when the lock is held again; notifications were missed meanwhile."""
        self._regained.append(act)

    async def take(self) -> None:
        """Connect and take the lock.

        Raises:
            DatabaseUnavailable: it cannot be had now.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._take()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable(f"no lock: {error or type(error).__name__}") from error

    async def _take(self) -> None:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=self._patience,
            command_timeout=self._patience,
            server_settings={"application_name": "smart-support life", **_KEEPALIVE},
        )
        try:
            if self._backend is not None:
                # The server may not know yet that the connection before is gone.
                await connection.execute("SELECT pg_terminate_backend($1)", self._backend)
            await connection.execute("SELECT pg_advisory_lock($1)", self.owner)
            await connection.add_listener(CHANNEL, self._hear)
            connection.add_termination_listener(lambda _: self._gone.set())
        except BaseException:
            connection.terminate()
            raise
        self._backend = connection.get_server_pid()
        self._connection = connection

    async def keep(self) -> None:
        """Give signs of life, and take the lock again when it is lost, until cancelled."""
        while True:
            await self._pause()
            if await self._answers():
                continue
            if self._connection is not None:
                log.warning("life_lost", owner=self.owner)
                self._drop()
            try:
                await self.take()
            except DatabaseUnavailable as error:
                log.info("life_not_regained", error=str(error))
                continue
            log.warning("life_regained", owner=self.owner)
            for act in self._regained:
                act()

    async def _pause(self) -> None:
        """Wait for the next sign of life to be due, or for the connection to be closed."""
        if not self.held:
            await self._sleep(0.0 if self._gone.is_set() else RETRY_SECONDS)
            self._gone.clear()
            return
        beat = asyncio.ensure_future(self._sleep(self._beat))
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({beat, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            beat.cancel()
            gone.cancel()
        self._gone.clear()

    async def notify(self, payloads: Sequence[str]) -> bool:
        """Tell every process, each payload at most 7,999 bytes; False if that was not possible."""
        return await self._execute(
            "SELECT pg_notify($1, told) FROM unnest($2::text[]) told", CHANNEL, list(payloads)
        )

    async def _answers(self) -> bool:
        return await self._execute("SELECT 1")

    async def _execute(self, statement: str, *arguments: Any) -> bool:
        connection = self._connection
        if connection is None or connection.is_closed():
            return False
        try:
            async with asyncio.timeout(self._patience), self._busy:
                await connection.execute(statement, *arguments)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("life_does_not_answer", error=str(error) or type(error).__name__)
            if connection is self._connection:
                self._drop()
                log.warning("life_lost", owner=self.owner)
            return False
        return True

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        for take in self._told:
            take(str(payload))

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def end(self) -> None:
        """Let the lock go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=self._patience)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()


@asynccontextmanager
async def living(url: str) -> AsyncIterator[Life]:
    """A life that is kept for as long as the block lasts.

    Raises:
        DatabaseUnavailable: the lock cannot be had at the beginning.
    """
    life = Life(url)
    await life.take()
    keeping = asyncio.create_task(life.keep(), name="life")
    try:
        yield life
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await life.end()
