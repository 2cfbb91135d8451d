"""Who is gone keeps no lock: the server notices it while a statement still runs or waits."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa
from psycopg_pool import AsyncConnectionPool
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs
from tests.support.fault_proxy import FaultProxy, fault_proxy

from smart_support.agent.checkpoints import stored_checkpoints
from smart_support.database import Session, Sessions
from smart_support.database.engine import GONE_CLIENT, open_engine

LONG = 600.0
"""Seconds that a statement may take here: nothing but the server's look at us ends one sooner."""
PATIENCE = 10.0
"""Seconds until a test gives up: forty times as long as the server lets pass between two looks."""

RUNS = sa.text("SELECT pg_sleep(600)")
WAITS = sa.text("UPDATE things SET name = 'mine' WHERE id = 2")


@pytest.fixture
def url(fresh_database: Callable[[], str]) -> str:
    made = fresh_database()
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE things AS SELECT i AS id, 'x' AS name FROM (VALUES (1), (2)) v(i)"
        )
    return made


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(url) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(url, statement_timeout=LONG)
    try:
        yield engine
    finally:
        await engine.dispose()


@contextlib.contextmanager
def holding(url: str, id_: int) -> Iterator[None]:
    """A row that somebody else has locked inside the block."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1 FROM things WHERE id = %s FOR UPDATE", (id_,))
        yield
        connection.rollback()


async def hold(session: Session, then: sa.Executable) -> None:
    """Lock row 1, and be busy with `then`."""
    await session.execute(sa.text("UPDATE things SET name = 'mine' WHERE id = 1"))
    await session.execute(then)


async def busy(url: str) -> None:
    """Wait until the long statement is with the server."""
    asking = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND (wait_event = 'PgSleep' OR wait_event_type = 'Lock')"
    )
    async with asyncio.timeout(PATIENCE), await psycopg.AsyncConnection.connect(url) as connection:
        await connection.set_autocommit(True)
        while await (await connection.execute(asking)).fetchone() != (1,):
            await asyncio.sleep(0.01)


async def lock(url: str) -> None:
    """Get the lock of row 1, within the patience of a test."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(f"SET lock_timeout = '{PATIENCE:.0f}s'")
        await connection.execute("SELECT 1 FROM things WHERE id = 1 FOR UPDATE")


@pytest.mark.parametrize("then", [RUNS, WAITS], ids=["runs", "waits"])
async def test_a_statement_whose_connection_is_cut_gives_its_locks_back(
    url: str, proxy: FaultProxy, then: sa.Executable
) -> None:
    async with opened(proxy.url) as engine:

        async def writing() -> None:
            async with Sessions(engine).begin() as session:
                await hold(session, then)

        with holding(url, 2):
            task = asyncio.create_task(writing())
            await busy(url)
            proxy.cut()

            await lock(url)
            with pytest.raises(Exception, match="connection"):
                await task


@pytest.mark.parametrize("then", [RUNS, WAITS], ids=["runs", "waits"])
async def test_a_statement_that_is_abandoned_gives_its_locks_back(
    url: str, then: sa.Executable
) -> None:
    async with opened(url) as engine:

        async def writing() -> None:
            async with Sessions(engine).begin() as session:
                await hold(session, then)

        with holding(url, 2):
            task = asyncio.create_task(writing())
            await busy(url)
            task.cancel()

            await lock(url)
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_checkpoint_whose_connection_is_cut_gives_its_locks_back(
    url: str, proxy: FaultProxy
) -> None:
    async with stored_checkpoints(proxy.url) as stored:
        pool = (await stored.open()).conn
        assert isinstance(pool, AsyncConnectionPool)

        async def writing() -> None:
            async with pool.connection() as connection, connection.transaction():
                await connection.execute("SET LOCAL statement_timeout = 0")
                await connection.execute("UPDATE things SET name = 'mine' WHERE id = 1")
                await connection.execute("SELECT pg_sleep(600)")

        task = asyncio.create_task(writing())
        await busy(url)
        proxy.cut()

        await lock(url)
        with pytest.raises(psycopg.OperationalError):
            await task


@contextlib.asynccontextmanager
async def refusing(url: str, code: str, words: str) -> AsyncIterator[tuple[str, list[bool]]]:
    """A server that refuses whoever asks it to look for gone clients; and who asked for that."""
    asked: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = await reader.readexactly(4)
        start = size + await reader.readexactly(struct.unpack("!i", size)[0] - 4)
        asked.append(GONE_CLIENT.encode() in start)
        if asked[-1]:
            fields = f"SFATAL\0VFATAL\0C{code}\0M{words}\0\0".encode()
            writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
            writer.close()
            return
        inner = FaultProxy(target, "", "")
        prepended = asyncio.StreamReader()
        prepended.feed_data(start)
        feeding = asyncio.create_task(feed(reader, prepended))
        await inner.serve(prepended, writer)
        feeding.cancel()

    async def feed(reader: asyncio.StreamReader, to: asyncio.StreamReader) -> None:
        while piece := await reader.read(65_536):
            to.feed_data(piece)
        to.feed_eof()

    name, folder = url.split("postgres@/")[1].split("?host=")
    target = f"{folder}/.s.PGSQL.5432"
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable", asked


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("22023", f'invalid value for parameter "{GONE_CLIENT}": "250ms"'),
        ("08P01", f"unsupported startup parameter: {GONE_CLIENT}"),
    ],
    ids=["server", "pooler"],
)
async def test_a_server_that_cannot_tell_is_used_all_the_same_and_asked_once(
    url: str, code: str, words: str
) -> None:
    async with refusing(url, code, words) as (address, asked), opened(address) as engine:
        with capture_logs() as logged:
            async with Sessions(engine)() as one, Sessions(engine)() as two:
                assert await one.scalar(sa.text(f"SHOW {GONE_CLIENT}")) == "0"
                assert await two.scalar(sa.text("SELECT 1")) == 1

    assert asked == [True, False, False]
    assert [entry["event"] for entry in logged] == ["gone_clients_not_noticed"]
