import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from smart_support.database.engine import check_writable


async def test_a_writable_database_is_ready(engine: AsyncEngine) -> None:
    await check_writable(engine)
    await check_writable(engine)

    async with engine.connect() as connection:
        assert (
            await connection.execute(sa.text("SELECT count(*) FROM readiness"))
        ).scalar_one() == 1
