"""Statements on one connection: SQLAlchemy says what they are, asyncpg runs them.

SQLAlchemy's own sessions put several layers and a greenlet around each statement, which costs ten
times what the statement does (docs/benchmarks.md). Here its statements are compiled, and handed
to the driver as they are.
"""

import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio.engine import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import LRUCache

from smart_support.database.errors import map_database_error
from smart_support.telemetry.tracing import Span, begin_span, tracing

log = structlog.get_logger(__name__)


class Row(asyncpg.Record):  # type: ignore[misc]  # the driver has no types
    """A row; its columns are its attributes."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def _mapping(self) -> dict[str, Any]:
        """Column name -> value, as SQLAlchemy's rows have it."""
        return dict(self.items())


class Rows:
    """What a statement gave."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def all(self) -> list[Row]:
        """Every row."""
        return self._rows

    def one(self) -> Row:
        """The only row.

        Raises:
            NoResultFound, MultipleResultsFound: there is not exactly one.
        """
        if not self._rows:
            raise exc.NoResultFound("a row was required")
        return self._only()

    def one_or_none(self) -> Row | None:
        """The only row, if there is one.

        Raises:
            MultipleResultsFound: there are several.
        """
        return self._only() if self._rows else None

    def scalar_one(self) -> Any:
        """The first column of the only row; raises as `one`."""
        return self.one()[0]

    def _only(self) -> Row:
        if len(self._rows) > 1:
            raise exc.MultipleResultsFound(f"one row was required, there are {len(self._rows)}")
        return self._rows[0]


class Prepared:
    """A statement that is the same each time but for its values: it is put into SQL once.

    Made when a module is loaded, with a `bindparam` for each value that changes; a bare insert
    has one for each of `columns`. Values of the statement itself stay what they are.
    """

    __slots__ = ("_binds", "_columns", "_known", "_required", "_sql", "_statement")

    def __init__(self, statement: sa.Executable, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._sql = ""
        self._binds: list[tuple[str, Any, Any]] = []
        self._known: frozenset[str] = frozenset()
        self._required: frozenset[str] = frozenset()

    def filled(self, dialect: Dialect, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The SQL, and the values in the order in which the driver takes them.

        Raises:
            TypeError: a value is missing, or is none of the statement's.
        """
        if not self._sql:
            self._compile(dialect)
        if not self._required <= values.keys() <= self._known:
            missing = sorted(self._required - values.keys())
            unknown = sorted(values.keys() - self._known)
            raise TypeError(f"values are missing: {missing}, or not the statement's: {unknown}")
        return self._sql, [
            values.get(name, own) if processor is None else processor(values.get(name, own))
            for name, own, processor in self._binds
        ]

    def _compile(self, dialect: Dialect) -> None:
        statement: Any = self._statement
        compiled = statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)
        if compiled.post_compile_params:
            raise TypeError("a prepared statement takes an array, not a list of values for IN")
        self._binds = [
            (
                name,
                compiled.binds[name].effective_value,
                compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect),
            )
            for name in compiled.positiontup or ()
        ]
        self._known = frozenset(name for name, _, _ in self._binds)
        self._required = frozenset(name for name in self._known if compiled.binds[name].required)
        self._sql = str(compiled)


def upsert(table: sa.Table, columns: Sequence[str], *keys: str) -> Prepared:
    """Writes a row with these columns, also in the place of one with the same `keys`."""
    statement = insert(table)
    anew = {name: statement.excluded[name] for name in columns if name not in keys}
    return Prepared(statement.on_conflict_do_update(index_elements=list(keys), set_=anew), columns)


Statement: TypeAlias = sa.Executable | Prepared
Values: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Session:
    """One connection, for as long as a block lasts."""

    __slots__ = ("_dialect", "_sessions", "driver", "unanswered")

    def __init__(self, driver: asyncpg.Connection, dialect: Dialect, sessions: "Sessions") -> None:
        self.driver = driver
        """The connection itself, for what is no statement; gone after the block."""
        self.unanswered = 0
        """Statements whose answer was not read to its end: nobody knows what became of them."""
        self._dialect = dialect
        self._sessions = sessions

    async def execute(self, statement: Statement, values: Values | None = None) -> Rows:
        """Run a statement; `values` are those of its bind parameters, or of a bare insert.

        With a list it is run for each, all or none, and gives the rows of all; for none, it is
        not run.

        Raises:
            DatabaseUnavailable, InvalidInput: as `map_database_error` says.
            asyncpg.PostgresError: a broken constraint, or a bug of ours.
            TypeError: a value is missing or does not fit; or the statement is not the same for
                each of a list.
        """
        filled: list[tuple[str, list[Any]]] = [
            statement.filled(self._dialect, each)
            if isinstance(statement, Prepared)
            else _filled(statement, self._dialect, each)
            for each in (values if isinstance(values, Sequence) else [values or {}])
        ]
        if not filled:
            return Rows([])
        sql, arguments = filled[0]
        if len(filled) > 1 and any(other != sql for other, _ in filled):
            raise TypeError("the values of a list must make the same statement each")
        running = _begin_span(sql) if tracing() else None
        self.unanswered += 1
        try:
            if len(filled) > 1:
                many = [each for _, each in filled]
                rows = await self.driver.fetchmany(sql, many, record_class=Row)
            else:
                rows = await self.driver.fetch(sql, *arguments, record_class=Row)
            self._hear()
            return Rows(rows)
        except Exception as error:
            if running is not None:
                running.fail(type(error).__name__)
            self._fail(error)
            raise
        finally:
            if running is not None:
                running.end()

    async def run(self, word: str) -> str:
        """Run what begins or ends a transaction, or sets something; what PostgreSQL says it did.

        Raises:
            DatabaseUnavailable: as `map_database_error` says.
        """
        self.unanswered += 1
        try:
            done: str = await self.driver.execute(word)
            self._hear()
            return done
        except Exception as error:
            self._fail(error)
            raise

    def _hear(self) -> None:
        """Take note of a whole answer."""
        self.unanswered -= 1
        self._sessions.heard = time.monotonic()

    def _fail(self, error: Exception) -> None:
        """Take note of whether `error` was the whole answer, and raise it as ours if it is ours."""
        if isinstance(error, asyncpg.PostgresError) and error.severity_en == "ERROR":
            self.unanswered -= 1  # FATAL ends the connection; others are the driver's own
        if isinstance(error, asyncpg.DataError) and error.severity_en is None:
            # Not PostgreSQL's words but the driver's, which repeat the value.
            reason = type(error.__cause__).__name__
            raise TypeError(f"a value does not fit its parameter: {reason}") from None
        raise_ours(error)
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None  # the values of the row

    async def scalar(self, statement: Statement, values: Values | None = None) -> Any:
        """The first column of the first row; None if there is no row."""
        rows = (await self.execute(statement, values)).all()
        return rows[0][0] if rows else None

    async def scalars(self, statement: Statement, values: Values | None = None) -> list[Any]:
        """The first column of each row."""
        return [row[0] for row in await self.execute(statement, values)]


class Sessions:
    """Sessions on an engine's pool of connections.

    `begin()` gives one with a transaction. Called, it gives one to read with: each statement
    stands for itself, without the two more that would begin and end a transaction.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.heard = -math.inf
        """When PostgreSQL answered last, whoever asked, by the clock of `time.monotonic`."""

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Session]:
        """A session whose statements stand for themselves."""
        connection, session = await self._connected()
        try:
            yield session
        finally:
            _give_back(connection, session)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Session]:
        """A session whose statements are committed together at the end of the block.

        Raises:
            DatabaseUnavailable: as `map_database_error` says; whether it was committed is not
                known when the answer to that did not come.
            asyncpg.InFailedSQLTransactionError: the block held back the error of a statement, so
                that nothing could be committed.
        """
        async with self._transaction("BEGIN") as session:
            yield session

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Session]:
        """A session that only reads, and sees one moment in all of its statements.

        Raises:
            DatabaseUnavailable: as `map_database_error` says.
        """
        word = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        async with self._transaction(word) as session:
            yield session

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[Session]:
        connection, session = await self._connected()
        try:
            await session.run(begin)
            try:
                yield session
            except Exception:
                await _roll_back(session)
                raise
            if await session.run("COMMIT") != "COMMIT":
                raise asyncpg.InFailedSQLTransactionError("rolled back: a statement had failed")
        finally:
            _give_back(connection, session)

    async def _connected(self) -> tuple[PoolProxiedConnection, Session]:
        try:
            connection = await self._engine.raw_connection()
        except Exception as error:
            raise_ours(error)
            raise
        driver = connection.driver_connection
        assert driver is not None
        return connection, Session(driver, self._engine.dialect, self)


def raise_ours(error: Exception) -> None:
    """Raise what `error` is in our catalogue; return if it is nothing there."""
    ours = map_database_error(error)
    if ours is not None and ours is not error:
        raise ours from error


async def _roll_back(session: Session) -> None:
    """Roll back, if that can be said; a connection that is closed instead does it as well."""
    if session.unanswered:
        return
    try:
        await session.run("ROLLBACK")
    except Exception as error:  # noqa: BLE001  # why the block failed is what counts
        log.warning("rollback_failed", error=type(error).__name__)


def _give_back(connection: PoolProxiedConnection, session: Session) -> None:
    """Let others use the connection, if nothing of ours is left on it; else close it.

    Neither waits: outside of SQLAlchemy's greenlets a connection is closed at once.
    """
    driver = session.driver
    del session.driver  # a session that outlives its block must not reach into another's
    if session.unanswered or driver.is_closed() or driver.is_in_transaction():
        connection.invalidate()
    connection.close()


_COMPILED: MutableMapping[Any, Any] = LRUCache(500)
"""Statements by their form, as SQLAlchemy's engines keep them."""


def _filled(
    statement: sa.Executable, dialect: Dialect, values: Mapping[str, Any]
) -> tuple[str, list[Any]]:
    """The SQL of a statement, and its values in the order in which the driver takes them.

    What an engine does with a statement before it runs it, by the same functions: SQLAlchemy has
    no public ones that know the cache.
    """
    found: Any = statement
    compiled, extracted, collected, _ = found._compile_w_cache(  # noqa: SLF001
        dialect, compiled_cache=_COMPILED, column_keys=sorted(values)
    )
    parameters = compiled.construct_params(
        values,
        extracted_parameters=extracted,
        escape_names=False,
        _collected_params=collected,
        _no_postcompile=True,
    )
    sql, names = compiled.string, compiled.positiontup or ()
    processors = compiled._bind_processors  # noqa: SLF001
    if compiled.post_compile_params:
        expanded = compiled._process_parameters_for_postcompile(parameters)  # noqa: SLF001
        sql, names = expanded.statement, expanded.positiontup
        parameters = expanded.parameters
        processors = {**processors, **expanded.processors}
    return sql, [
        processors[name](parameters[name]) if name in processors else parameters[name]
        for name in names
    ]


def _begin_span(sql: str) -> Span:
    # The word alone: a statement may hold values that somebody wrote.
    word = sql.lstrip().partition(" ")[0].upper()[:20]
    return begin_span("sql", {"db.system.name": "postgresql", "db.operation.name": word})
