"""Runs the migrations: for the program on its own connection, for a developer on DATABASE_URL."""

import sqlalchemy as sa
from alembic import context

from smart_support.database.engine import psycopg_dsn
from smart_support.database.schema import all_tables
from smart_support.errors import SetupError
from smart_support.settings import read_settings


def run(connection: sa.Connection) -> None:
    """Run what was asked for on `connection`, each migration in a transaction of its own."""
    context.configure(
        connection=connection,
        target_metadata=all_tables(),
        transaction_per_migration=True,
        compare_server_default=True,
        include_name=_is_ours,
    )
    with context.begin_transaction():
        context.run_migrations()


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out the tables that LangGraph makes for its checkpoints."""
    return kind != "table" or not (name or "").startswith("checkpoint")


def _address() -> sa.URL:
    url = read_settings().database_url
    if url is None:
        raise SetupError("Set DATABASE_URL to the database the migrations shall run on.")
    return sa.make_url(psycopg_dsn(url.get_secret_value())).set(drivername="postgresql+psycopg")


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=all_tables(), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    engine = sa.create_engine(_address(), poolclass=sa.NullPool)
    with engine.connect() as opened:
        run(opened)
