"""Statements on one connection: SQLAlchemy says what they are, asyncpg runs them.

SQLAlchemy's own sessions put several layers and a greenlet around each statement, which costs ten
times what the statement does (docs/benchmarks.md). Here its statements are compiled, and handed
to the driver as they are.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import LRUCache

from smart_support.database.errors import map_database_error
from smart_support.telemetry.tracing import Span, begin_span, tracing


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

    __slots__ = ("_binds", "_columns", "_sql", "_statement")

    def __init__(self, statement: sa.Executable, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._sql = ""
        self._binds: list[tuple[str, Any, Any]] = []

    def filled(self, dialect: Dialect, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The SQL, and the values in the order in which the driver takes them."""
        if not self._sql:
            self._compile(dialect)
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

    __slots__ = ("_dialect", "driver")

    def __init__(self, driver: asyncpg.Connection, dialect: Dialect) -> None:
        self.driver = driver
        """The connection itself, for what is no statement."""
        self._dialect = dialect

    async def execute(self, statement: Statement, values: Values | None = None) -> Rows:
        """Run a statement; `values` are those of its bind parameters, or of a bare insert.

        With a list of several it is run for each, and gives no rows.

        Raises:
            DatabaseUnavailable, InvalidInput: as `map_database_error` says.
            asyncpg.PostgresError: a broken constraint, or a bug of ours.
        """
        filled: list[tuple[str, list[Any]]] = [
            statement.filled(self._dialect, each)
            if isinstance(statement, Prepared)
            else _filled(statement, self._dialect, each)
            for each in (values if isinstance(values, Sequence) else [values or {}])
        ]
        sql, arguments = filled[0]
        running = _begin_span(sql) if tracing() else None
        try:
            if len(filled) > 1:
                await self.driver.executemany(sql, [each for _, each in filled])
                return Rows([])
            return Rows(await self.driver.fetch(sql, *arguments, record_class=Row))
        except Exception as error:
            if running is not None:
                running.fail(type(error).__name__)
            raise_ours(error)
            raise
        finally:
            if running is not None:
                running.end()

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

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Session]:
        """A session whose statements stand for themselves."""
        connection = await self._connected()
        driver = connection.driver_connection
        assert driver is not None
        try:
            yield Session(driver, self._engine.dialect)
        except BaseException as error:
            _give_back(connection, whole=isinstance(error, Exception))
            raise
        else:
            _give_back(connection, whole=True)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Session]:
        """A session whose statements are committed together at the end of the block."""
        connection = await self._connected()
        driver = connection.driver_connection
        assert driver is not None
        whole = False
        try:
            await _run(driver, "BEGIN")
            try:
                yield Session(driver, self._engine.dialect)
            except Exception:
                if not driver.is_closed():
                    await _run(driver, "ROLLBACK")
                whole = True
                raise
            await _run(driver, "COMMIT")
            whole = True
        finally:
            # Cut off half way, nobody knows what the connection is at.
            _give_back(connection, whole=whole)

    async def _connected(self) -> PoolProxiedConnection:
        try:
            return await self._engine.raw_connection()
        except Exception as error:
            raise_ours(error)
            raise


def raise_ours(error: Exception) -> None:
    """Raise what `error` is in our catalogue; return if it is nothing there."""
    ours = map_database_error(error)
    if ours is not None and ours is not error:
        raise ours from error


async def _run(driver: asyncpg.Connection, word: str) -> None:
    try:
        await driver.execute(word)
    except Exception as error:
        raise_ours(error)
        raise


def _give_back(connection: PoolProxiedConnection, *, whole: bool) -> None:
    driver = connection.driver_connection
    if whole and driver is not None and not driver.is_closed():
        connection.close()
    else:
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
