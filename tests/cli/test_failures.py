"""What commands fail with is in the statistics, beside the errors of requests, sockets and jobs."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import psycopg
import pytest
from pydantic import SecretStr
from tests.support.server import settings_of

from smart_support.analytics.outside_postgres import OutsideErrors
from smart_support.cli.failures import run_command
from smart_support.database.embedded import embedded_postgres
from smart_support.database.engine import open_engine, sessions
from smart_support.database.schema import migrate
from smart_support.errors import DatabaseUnavailable, InvalidInput, SetupError
from smart_support.settings import Settings


async def failing(error: Exception) -> None:
    raise error


def at(url: str) -> Settings:
    return settings_of(database_url=SecretStr(url))


async def places(url: str) -> list[tuple[str, str, int]]:
    """Where errors were counted, as a dashboard shows it."""
    engine, now = open_engine(url), datetime.now(UTC)
    outside = OutsideErrors(sessions(engine), clock=lambda: now)
    found = await outside.summary(now - timedelta(hours=2), now + timedelta(hours=2))
    await engine.dispose()
    return [(one.place, one.operation, one.errors) for one in found.by_place]


async def codes(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT code FROM outside_errors ORDER BY code")
        return [code for (code,) in rows]


async def test_a_failure_is_counted_under_the_command_and_told(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()

    for _ in range(2):
        with pytest.raises(InvalidInput, match="no such scheme"):
            await run_command(failing(InvalidInput("no such scheme")), at(url), "credentials set")

    assert await places(url) == [("cli", "credentials set", 2)]
    assert await codes(url) == ["VAL_INVALID_INPUT"]


async def test_what_nobody_foresaw_is_counted_and_stays_what_it_is(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()

    with pytest.raises(ZeroDivisionError):
        await run_command(failing(ZeroDivisionError()), at(url), "decide")

    assert await codes(url) == ["SYS_INTERNAL"]


async def test_what_a_library_raises_is_told_as_what_it_is(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()

    with pytest.raises(DatabaseUnavailable):
        await run_command(failing(asyncpg.CannotConnectNowError("starting")), at(url), "decide")

    assert await codes(url) == ["DB_UNAVAILABLE"]


async def test_a_command_that_works_is_not_counted(migrated_database: Callable[[], str]) -> None:
    url = migrated_database()

    async def work() -> int:
        return 7

    assert await run_command(work(), at(url), "decide") == 7
    assert await codes(url) == []


async def test_an_order_to_stop_is_no_error(migrated_database: Callable[[], str]) -> None:
    url = migrated_database()
    command = asyncio.create_task(run_command(asyncio.Event().wait(), at(url), "serve"))
    await asyncio.sleep(0)
    command.cancel()

    with pytest.raises(asyncio.CancelledError):
        await command
    assert await codes(url) == []


@pytest.mark.parametrize("where", ["nobody listens", "no tables"])
async def test_without_a_database_the_failure_is_told_all_the_same(
    where: str, unused_tcp_port: int, fresh_database: Callable[[], str]
) -> None:
    nowhere = f"postgresql://u:hunter2@127.0.0.1:{unused_tcp_port}/d"
    url = nowhere if where == "nobody listens" else fresh_database()

    with pytest.raises(InvalidInput, match="as it was"):
        await run_command(failing(InvalidInput("as it was")), at(url), "decide")


async def test_a_failure_is_counted_in_the_embedded_database(tmp_path: Path) -> None:
    settings = settings_of(smart_support_data_dir=tmp_path)

    with pytest.raises(InvalidInput):  # there is none yet, and none is made for that
        await run_command(failing(InvalidInput("x")), settings, "decide")
    assert list(tmp_path.iterdir()) == []
    async with embedded_postgres(tmp_path) as url:
        await migrate(url)
    with pytest.raises(InvalidInput):
        await run_command(failing(InvalidInput("x")), settings, "decide")
    with pytest.raises(SetupError):  # as if it did not start: it is not started again
        await run_command(failing(SetupError("x")), settings, "decide")

    async with embedded_postgres(tmp_path) as url:
        assert await codes(url) == ["VAL_INVALID_INPUT"]
