"""What every test may use: a real PostgreSQL, started once for the whole run."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.database import (
    FAST,
    Databases,
    delete_all_rows,
    name_of,
)

from smart_support.database import Sessions
from smart_support.database.embedded import EmbeddedServer
from smart_support.database.engine import open_engine
from smart_support.database.engine import sessions as sessions_on
from smart_support.database.schema import migrate

# By default an exception is drawn with every local variable, for which a lost database takes
# seconds; the product's own log has its own form.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

# How long an example takes says more about the machine than about the code.
settings.register_profile("ours", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ours"))


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The server of this run. Its folder is short, since a socket's path must be."""
    folder = Path(tempfile.mkdtemp(prefix="sst-"))
    server = EmbeddedServer(folder, options=FAST)
    try:
        yield Databases(server.start())
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def template(databases: Databases) -> str:
    """The name of a database with all our tables and no rows, to be copied."""
    url = databases.create()
    await migrate(url)
    return name_of(url)


@pytest.fixture(scope="session")
def database_url(databases: Databases, template: str) -> str:
    """The database most tests share; it has all our tables."""
    return databases.create(template)


@pytest.fixture(scope="session")
async def shared_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def engine(shared_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """An engine on the shared database; its rows are deleted after the test."""
    yield shared_engine
    await delete_all_rows(shared_engine)


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    """Sessions that really commit; the rows are deleted after the test."""
    return sessions_on(engine)


@pytest.fixture
def fresh_database(databases: Databases) -> Iterator[Callable[[], str]]:
    """Each call makes an empty database, without any table, and returns its URL."""
    with ExitStack() as made:
        yield lambda: made.enter_context(databases.one())


@pytest.fixture
def migrated_database(databases: Databases, template: str) -> Iterator[Callable[[], str]]:
    """Each call makes a database of its own with all our tables, and returns its URL."""
    with ExitStack() as made:
        yield lambda: made.enter_context(databases.one(template))
