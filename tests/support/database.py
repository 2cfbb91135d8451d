"""Databases for tests, on one embedded PostgreSQL."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine

from smart_support.database.schema import all_tables

# Durability is what a test run does not need; everything else is as in earnest.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Rows only, whatever the tables are and in whatever order: as a replica, PostgreSQL checks no
# foreign keys and fires no triggers. LangGraph's tables are emptied too where they exist.
_EMPTY = """
DO $$ DECLARE name text; BEGIN
  SET LOCAL session_replication_role = replica;
  FOR name IN
    SELECT oid::regclass FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
      AND relname NOT IN ('alembic_version', 'checkpoint_migrations')
  LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
END $$
"""


@dataclass
class Databases:
    """Makes databases on the server at `url`, each with a name of its own."""

    url: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create(self, template: str = "template1") -> str:
        """A new database, a copy of the database `template`; its URL."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.url.replace("/postgres?", f"/{name}?")

    def drop(self, url: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name_of(url)))
            )

    @contextmanager
    def unreachable(self, url: str) -> Iterator[None]:
        """Nobody is connected to this database inside the block, nor can be."""
        name = sql.Identifier(name_of(url))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            try:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (name_of(url),),
                )
                yield
            finally:
                connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))

    @contextmanager
    def one(self, template: str = "template1") -> Iterator[str]:
        """A new database that is removed at the end."""
        url = self.create(template)
        try:
            yield url
        finally:
            self.drop(url)


def name_of(url: str) -> str:
    return url.split("?", maxsplit=1)[0].rpartition("/")[2]


def create_all(url: str) -> None:
    """Make every table of ours as the models say, without migrations."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        all_tables().create_all(connection)
    engine.dispose()


async def delete_all_rows(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql(_EMPTY)
