"""LangGraph's own tables: whether they are there, and made where they are not."""

import asyncio
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio.engine import AsyncEngine

from smart_support.agent.checkpoints import TABLES_VERSION, prepare_checkpoints
from smart_support.database import Sessions

if TYPE_CHECKING:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

_SETUP_SECONDS = 120.0
_SETUP_LOCK = 0x534D5351  # any number that nothing else of ours uses


async def checkpoints_stand(connected: Sessions) -> bool:
    """Whether LangGraph's tables are there, as its saver would make them."""
    async with connected() as session:
        there = await session.scalar(sa.select(sa.func.to_regclass("checkpoint_migrations")))
        if there is None:
            return False
        version = await session.scalar(sa.text("SELECT max(v) FROM checkpoint_migrations"))
    return version is not None and version >= TABLES_VERSION


async def make_tables(engine: AsyncEngine, saver: "AsyncPostgresSaver") -> None:
    """Have LangGraph's tables in place; of several processes at once, one after the other."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        # Asked for again and again: the index that LangGraph builds concurrently waits for every
        # statement that runs, and so for one that would wait here for the index.
        taken = sa.text("SELECT pg_try_advisory_lock(:key)")
        async with asyncio.timeout(_SETUP_SECONDS):
            while not await connection.scalar(taken, {"key": _SETUP_LOCK}):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        try:
            await prepare_checkpoints(saver)
        finally:
            await connection.execute(
                sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _SETUP_LOCK}
            )
