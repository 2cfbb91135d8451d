"""The engine against a real PostgreSQL: what fails is said in our own words."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from smart_support.database import Sessions
from smart_support.database.engine import check_writable, open_engine, psycopg_dsn
from smart_support.database.errors import map_database_error
from smart_support.database.tables import readiness
from smart_support.errors import DatabaseUnavailable, InvalidInput, SetupError, SupportError


@contextlib.asynccontextmanager
async def opened(url: str, **limits: float) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(url, **limits)
    try:
        yield engine
    finally:
        await engine.dispose()


async def scalar(engine: AsyncEngine, statement: str) -> object:
    async with engine.connect() as connection:
        return (await connection.execute(sa.text(statement))).scalar_one()


async def test_a_writable_database_is_ready_again_and_again(engine: AsyncEngine) -> None:
    await check_writable(engine)
    await asyncio.gather(*(check_writable(engine) for _ in range(5)))

    assert await scalar(engine, "SELECT count(*) FROM readiness") == 1


async def test_a_read_only_database_is_not_ready(migrated_database: Callable[[], str]) -> None:
    url = migrated_database()
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    async with opened(url) as engine:
        assert await scalar(engine, "SELECT 1") == 1
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await check_writable(engine)


async def test_a_database_without_tables_is_not_ready(fresh_database: Callable[[], str]) -> None:
    async with opened(fresh_database()) as engine:
        with pytest.raises(DatabaseUnavailable, match='relation "readiness" does not exist'):
            await check_writable(engine)


async def test_a_blocked_write_is_not_ready_in_time(engine: AsyncEngine) -> None:
    async with engine.connect() as other:
        await other.execute(sa.text("LOCK TABLE readiness"))

        with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
            await check_writable(engine, within=0.05)


async def test_json_keeps_its_values(sessions: Sessions) -> None:
    value = {"name": "Zoë", "n": 1, "deep": [None, True, 1.5]}

    async with sessions() as session:
        statement = sa.select(sa.cast(sa.literal(value, sa.JSON), sa.JSON))
        back = (await session.execute(statement)).scalar_one()

    assert back == value


async def test_times_are_in_utc_and_statements_have_a_limit(engine: AsyncEngine) -> None:
    assert await scalar(engine, "SHOW timezone") == "UTC"
    assert await scalar(engine, "SHOW statement_timeout") == "3600ms"
    assert await scalar(engine, "SHOW application_name") == "smart-support"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_every_usual_form_of_an_address_works(scheme: str, database_url: str) -> None:
    async with opened(database_url.replace("postgresql:", f"{scheme}:")) as engine:
        assert await scalar(engine, "SELECT 1") == 1


@pytest.mark.parametrize(
    "url", ["", "mysql://u:hunter2@h/db", "localhost:5432/hunter2", "http://hunter2"]
)
def test_another_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SetupError, match="DATABASE_URL must be") as refused:
        open_engine(url)

    assert "hunter2" not in str(refused.value)


def test_an_address_for_psycopg_has_its_plain_form(database_url: str) -> None:
    dsn = psycopg_dsn(database_url.replace("postgresql:", "postgresql+asyncpg:"))

    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_a_statement_that_takes_too_long_is_unavailable(database_url: str) -> None:
    async with opened(database_url, statement_timeout=0.1) as engine:
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            await scalar(engine, "SELECT 1 FROM pg_sleep(20)")
        assert await scalar(engine, "SELECT 1") == 1


async def test_a_pool_without_a_free_connection_is_unavailable(database_url: str) -> None:
    async with (
        opened(database_url, pool_timeout=0.05) as engine,
        contextlib.AsyncExitStack() as held,
    ):
        for _ in range(20):
            await held.enter_async_context(engine.connect())

        with pytest.raises(sa.exc.TimeoutError) as refused:
            await scalar(engine, "SELECT 1")

    mapped = map_database_error(refused.value)
    assert isinstance(mapped, DatabaseUnavailable)
    assert "every connection is in use" in str(mapped)


async def test_connections_that_died_while_idle_are_replaced_unnoticed(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    async with opened(url) as engine:
        async with engine.connect() as one, engine.connect() as two:
            pids = {
                (await each.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
                for each in (one, two)
            }
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(p, 5000) FROM unnest(%s) p", [list(pids)]
            )
        for _ in range(20):  # until the event loop has read that they ended
            await asyncio.sleep(0)

        assert await scalar(engine, "SELECT pg_backend_pid()") not in pids


async def test_a_connection_that_dies_at_work_is_unavailable_and_the_next_works(
    migrated_database: Callable[[], str],
) -> None:
    async with opened(migrated_database()) as engine:
        with pytest.raises(DatabaseUnavailable, match="terminating connection"):
            await scalar(engine, "SELECT pg_terminate_backend(pg_backend_pid())")

        assert await scalar(engine, "SELECT 1") == 1


async def test_nobody_listening_is_unavailable(unused_tcp_port: int) -> None:
    async with opened(f"postgresql://u:hunter2@127.0.0.1:{unused_tcp_port}/db") as engine:
        with pytest.raises(DatabaseUnavailable, match="no connection to PostgreSQL") as refused:
            await check_writable(engine)

    assert "hunter2" not in str(refused.value)


async def test_a_database_that_is_not_there_is_unavailable(database_url: str) -> None:
    async with opened(database_url.replace("/test_", "/missing_")) as engine:
        with pytest.raises(DatabaseUnavailable, match="does not exist"):
            await scalar(engine, "SELECT 1")


@contextlib.asynccontextmanager
async def proxy(socket: str) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A way to the PostgreSQL behind `socket` that swallows all answers once the event is clear."""
    flows, ends = asyncio.Event(), list[asyncio.StreamWriter]()
    flows.set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await flows.wait()
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_unix_connection(f"{socket}/.s.PGSQL.5432")
        ends.extend((writer, to_upstream))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(copy(reader, to_upstream), copy(upstream, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], flows
    finally:
        flows.set()
        for end in ends:
            end.close()
        server.close()
        await server.wait_closed()


async def test_a_server_that_falls_silent_is_unavailable_in_time(database_url: str) -> None:
    name, socket = database_url.split("postgres@/")[1].split("?host=")
    async with (
        proxy(socket) as (port, flows),
        opened(
            f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable",
            statement_timeout=0.2,
            connect_timeout=0.2,
        ) as engine,
    ):
        assert await scalar(engine, "SELECT 1") == 1
        flows.clear()

        with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
            await scalar(engine, "SELECT 1")
        with pytest.raises(DatabaseUnavailable):
            await check_writable(engine)


async def test_a_server_that_never_greets_is_unavailable_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(f"postgresql://u@127.0.0.1:{port}/d", connect_timeout=0.1) as engine:
        with pytest.raises(DatabaseUnavailable, match=r"no connection to PostgreSQL within 0\.1 s"):
            await scalar(engine, "SELECT 1")


async def test_text_that_postgresql_cannot_hold_is_bad_input(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(InvalidInput, match="cannot be stored"):
            await connection.execute(sa.text("SELECT CAST(:t AS text)"), {"t": "a\x00b"})
        await connection.rollback()
        with pytest.raises(InvalidInput, match="cannot be stored"):
            await connection.execute(
                sa.select(
                    sa.cast(sa.literal({"t": "\x00"}, sa.JSON), sa.Text).op("::")(sa.text("jsonb"))
                )
            )


async def test_a_broken_constraint_stays_what_it_is(engine: AsyncEngine) -> None:
    statement = sa.insert(readiness).values(id=2, checked_at=sa.func.now())

    async with engine.connect() as connection:
        with pytest.raises(IntegrityError, match="ck_readiness_one_row"):
            await connection.execute(statement)


async def test_a_bug_stays_what_it_is_and_shows_no_values(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(ProgrammingError) as raised:
            await connection.execute(sa.text("SELECT :secret FROM nowhere"), {"secret": "hunter2"})

    assert map_database_error(raised.value) is None
    assert "hunter2" not in str(raised.value)


def test_other_errors_are_not_ours_to_name() -> None:
    known = SupportError("x")

    assert map_database_error(ValueError("x")) is None
    assert map_database_error(known) is known
    assert isinstance(map_database_error(ConnectionResetError()), DatabaseUnavailable)
