"""The database of an installation: the one that is configured, or one of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from smart_support.database.embedded import embedded_postgres
from smart_support.database.schema import migrate
from smart_support.settings import Settings

Progress = Callable[[str], None]


@asynccontextmanager
async def open_database(settings: Settings, progress: Progress) -> AsyncIterator[str]:
    """The URL of a migrated database: the configured one, or an embedded one that is started.

    Raises:
        SetupError: it cannot be had; the text says what to do.
    """
    async with AsyncExitStack() as stack:
        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
        else:
            progress("Starting the embedded PostgreSQL")
            url = await stack.enter_async_context(
                embedded_postgres(settings.smart_support_data_dir)
            )
        progress("Bringing the database up to date")
        await migrate(url)
        yield url
