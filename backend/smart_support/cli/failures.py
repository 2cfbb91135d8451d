"""What a command fails with goes the way of every error, and into the statistics if it can."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog

from smart_support.analytics.outside_postgres import OutsideErrors
from smart_support.app.parts import error_handler
from smart_support.database.embedded import embedded_postgres
from smart_support.database.engine import open_engine, sessions
from smart_support.errors import DatabaseUnavailable, InternalError, SetupError, SupportError
from smart_support.settings import Settings
from smart_support.telemetry.handler import ErrorContext

Result = TypeVar("Result")
log = structlog.get_logger()

STORE_SECONDS = 10.0
"""How long a command that has failed may take to be counted; an embedded database may start."""


async def run_command(work: Coroutine[Any, Any, Result], settings: Settings, name: str) -> Result:
    """Do `work`, a command called `name`. What it raises is handled and counted.

    Raises:
        SupportError: what went wrong, also if a library raised it that we know.
        Exception: anything else; it is in the log.
    """
    counted: list[tuple[SupportError, ErrorContext]] = []
    async with error_handler() as errors:
        errors.count_with(lambda error, context: counted.append((error, context)))
        try:
            return await work
        except Exception as error:
            handled = errors.handle(error, ErrorContext(place="cli", operation=name))
            await _store(counted, settings)
            if isinstance(handled.error, InternalError) or handled.error is error:
                raise
            raise handled.error from error


async def _store(counted: list[tuple[SupportError, ErrorContext]], settings: Settings) -> None:
    if settings.database_url is None and isinstance(counted[0][0], SetupError):
        return  # an embedded database that does not start is not started again to say so
    try:
        async with (
            asyncio.timeout(STORE_SECONDS),
            _reached(settings) as url,
            _outside(url) as outside,
        ):
            for error, context in counted:
                outside.count(error, context)
            await outside.store()
    except Exception as error:  # noqa: BLE001 - what the command failed with is what counts
        log.debug("command_failure_not_counted", error=type(error).__name__)


@asynccontextmanager
async def _reached(settings: Settings) -> AsyncIterator[str]:
    """The URL of the database, as it is: a command that fails migrates nothing."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    if not (settings.smart_support_data_dir / "postgres").exists():
        raise DatabaseUnavailable("there is no embedded database yet")
    async with embedded_postgres(settings.smart_support_data_dir) as url:
        yield url


@asynccontextmanager
async def _outside(url: str) -> AsyncIterator[OutsideErrors]:
    engine = open_engine(url, statement_timeout=2.0, connect_timeout=2.0)
    try:
        async with sessions(engine)():
            pass  # it can be reached, or this raises
        yield OutsideErrors(sessions(engine), clock=lambda: datetime.now(UTC))
    finally:
        await engine.dispose()
