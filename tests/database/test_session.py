"""Sessions against a real PostgreSQL: what is given back is whole, what is asked is answered."""

# ruff: noqa: PT012  # what a block of several statements does is what is tested

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.fault_proxy import FaultProxy, fault_proxy

from smart_support.database import Prepared, Session, Sessions, upsert
from smart_support.database.engine import open_engine, pool_in_use
from smart_support.database.schema import all_tables
from smart_support.database.session import _COMPILED
from smart_support.errors import DatabaseUnavailable, InvalidInput

SECRET = "hunter2"
SLOW = sa.text("SELECT pg_sleep(30)")
PID = sa.text("SELECT pg_backend_pid()")

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.Uuid(as_uuid=False)),
    sa.Column("name", sa.Text),
    sa.Column("size", sa.Numeric),
    sa.Column("weight", sa.Float),
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("data", postgresql.JSONB),
    sa.Column("strict", postgresql.JSONB(none_as_null=True)),
    sa.Column("words", sa.ARRAY(sa.Text)),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("yes", sa.Boolean),
)


@pytest.fixture(scope="module")
def url(databases: Any) -> Iterator[str]:
    """A database of this file's own, with the one table."""
    with databases.one() as made:
        engine = sa.create_engine(made.replace("postgresql:", "postgresql+psycopg:"))
        things.metadata.create_all(engine)
        engine.dispose()
        yield made


@contextlib.asynccontextmanager
async def opened(url: str, *, size: int = 2, **limits: float) -> AsyncIterator[AsyncEngine]:
    """An engine of `size` connections; at the end each must be back and able to work."""
    engine = open_engine(url, **limits)
    engine.pool._pool.maxsize = size  # type: ignore[attr-defined]
    engine.pool._overflow = -size  # type: ignore[attr-defined]
    try:
        yield engine
        await all_work(engine, size)
    finally:
        await engine.dispose()


async def all_work(engine: AsyncEngine, size: int = 2) -> None:
    """None is in use; each connection can be had at the same time, in no transaction, and works."""
    assert pool_in_use(engine) == 0
    async with contextlib.AsyncExitStack() as held:
        for _ in range(size):
            session = await held.enter_async_context(Sessions(engine)())
            assert not session.driver.is_in_transaction()
            assert await session.scalar(sa.select(sa.literal(7))) == 7
        assert pool_in_use(engine) == size
    assert pool_in_use(engine) == 0


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    async with opened(url) as made:
        yield made
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM things")


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    return Sessions(engine)


def names(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM things ORDER BY id")]


async def add(session: Session, id_: int, name: str = "x") -> None:
    await session.execute(sa.insert(things), {"id": id_, "name": name})


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def statements(url: str) -> list[str]:
    """What runs now in this database, by sessions that are not the asking one."""
    with psycopg.connect(url) as connection:
        return [
            query
            for (query,) in connection.execute(
                "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
                " AND state <> 'idle' AND pid <> pg_backend_pid()"
            )
        ]


class TestATransaction:
    async def test_is_committed_at_the_end(self, sessions: Sessions, url: str) -> None:
        async with sessions.begin() as session:
            await add(session, 1)
            await add(session, 2)
            assert names(url) == []

        assert names(url) == ["x", "x"]

    async def test_is_rolled_back_by_an_error_on_a_connection_that_is_kept(
        self, sessions: Sessions, url: str
    ) -> None:
        async with sessions() as session:
            pid = await session.scalar(PID)
        with pytest.raises(KeyError, match="mine"):
            async with sessions.begin() as session:
                await add(session, 1)
                raise KeyError("mine")

        async with sessions() as session:
            assert await session.scalar(PID) == pid
        assert names(url) == []

    async def test_that_failed_is_not_committed_in_silence(
        self, sessions: Sessions, url: str
    ) -> None:
        """PostgreSQL answers COMMIT with ROLLBACK then, which is no error."""
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            async with sessions.begin() as session:
                await add(session, 1)
                with pytest.raises(asyncpg.UniqueViolationError):
                    await add(session, 1)

        assert names(url) == []

    async def test_that_is_left_open_by_a_statement_is_not_given_back(
        self, sessions: Sessions, engine: AsyncEngine
    ) -> None:
        async with sessions() as session:
            await session.execute(sa.text("BEGIN"))

        await all_work(engine)

    async def test_of_an_abandoned_generator_is_rolled_back(
        self, sessions: Sessions, engine: AsyncEngine, url: str
    ) -> None:
        async def each() -> AsyncIterator[int]:
            async with sessions.begin() as session:
                await add(session, 1)
                yield 1

        generator = each()
        assert await anext(generator) == 1
        await generator.aclose()  # type: ignore[attr-defined]

        await all_work(engine)
        assert names(url) == []

    async def test_why_it_failed_is_said_though_it_cannot_be_rolled_back(
        self, sessions: Sessions, engine: AsyncEngine, url: str
    ) -> None:
        with pytest.raises(KeyError, match="mine"):
            async with sessions.begin() as session:
                await add(session, 1)
                session.driver.terminate()
                raise KeyError("mine")
        with pytest.raises(DatabaseUnavailable):
            async with sessions.begin() as session:
                await add(session, 1)
                session.driver.terminate()

        await all_work(engine)
        assert names(url) == []

    async def test_two_at_once_in_one_task_are_apart(self, sessions: Sessions, url: str) -> None:
        with pytest.raises(KeyError):
            async with sessions.begin() as outer:
                await add(outer, 1, "outer")
                async with sessions.begin() as inner:
                    await add(inner, 2, "inner")
                raise KeyError

        assert names(url) == ["inner"]


async def slow(session: Session) -> None:
    await session.execute(SLOW)


Block = Callable[[Sessions], Awaitable[None]]


async def reading(sessions: Sessions) -> None:
    async with sessions() as session:
        await session.execute(SLOW)


async def writing(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await add(session, 1)
        await session.execute(SLOW)


async def many(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(sa.text("SELECT pg_sleep(:s)"), [{"s": 0.01}, {"s": 30.0}])


async def impatient(sessions: Sessions) -> None:
    """Its own timeout becomes an error of the block's, which leaves the statement running."""
    async with sessions() as session, asyncio.timeout(0.02):
        await session.execute(SLOW)


async def impatient_writing(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await add(session, 1)
        async with asyncio.timeout(0.02):
            await session.execute(SLOW)


async def held_back(sessions: Sessions) -> None:
    """As above, and nobody but the driver knows of it."""
    async with sessions() as session:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await session.execute(SLOW)


class TestACancellation:
    @pytest.mark.parametrize("block", [reading, writing, many])
    async def test_in_a_statement_passes(
        self, sessions: Sessions, engine: AsyncEngine, url: str, block: Block
    ) -> None:
        task = asyncio.create_task(block(sessions))
        await until(lambda: any("pg_sleep" in query for query in statements(url)))
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await all_work(engine)
        assert names(url) == []

    @pytest.mark.parametrize("block", [impatient, impatient_writing, held_back])
    async def test_by_a_timeout_in_the_block_leaves_nothing(
        self, sessions: Sessions, engine: AsyncEngine, url: str, block: Block
    ) -> None:
        with contextlib.nullcontext() if block is held_back else pytest.raises(TimeoutError):
            await block(sessions)

        await all_work(engine)
        assert names(url) == []

    async def test_by_a_timeout_around_the_block_leaves_nothing(
        self, sessions: Sessions, engine: AsyncEngine, url: str
    ) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await writing(sessions)

        await all_work(engine)
        assert names(url) == []

    async def test_between_two_statements_rolls_back(
        self, sessions: Sessions, engine: AsyncEngine, url: str
    ) -> None:
        async def thinking() -> None:
            async with sessions.begin() as session:
                await add(session, 1)
                reached.set()
                await asyncio.Event().wait()

        reached = asyncio.Event()
        task = asyncio.create_task(thinking())
        await reached.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await all_work(engine)
        assert names(url) == []

    async def test_while_waiting_for_a_connection_takes_none(
        self, sessions: Sessions, engine: AsyncEngine
    ) -> None:
        async with sessions(), sessions():
            waiting = [asyncio.create_task(reading(sessions)) for _ in range(3)]
            await asyncio.sleep(0.01)
            for task in waiting:
                task.cancel()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in done] == [asyncio.CancelledError] * 3
            assert pool_in_use(engine) == 2

    @pytest.mark.parametrize("yields", range(12))
    async def test_just_when_a_connection_becomes_free_passes(
        self, sessions: Sessions, engine: AsyncEngine, yields: int
    ) -> None:
        async with sessions():
            async with sessions():
                waiting = asyncio.create_task(reading(sessions))
                await asyncio.sleep(0.005)
            for _ in range(yields):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert pool_in_use(engine) == 1

    async def test_at_any_moment_passes_and_leaves_every_connection_whole(self, url: str) -> None:
        """Connecting, BEGIN, statements, COMMIT, ROLLBACK: wherever the event loop may be."""

        async def writing(number: int, *, fails: bool) -> None:
            async with sessions.begin() as session:
                await add(session, 3 * number)
                await session.execute(
                    sa.insert(things),
                    [{"id": 3 * number + n, "name": "x"} for n in (1, 2)],
                )
                if fails:
                    raise KeyError

        cancelled, ended = 0, 0
        async with opened(url, size=2) as engine:
            sessions = Sessions(engine)
            await all_work(engine)
            begun = time.perf_counter()
            await writing(0, fails=False)
            usual = time.perf_counter() - begun
            for number in range(1, 241):  # from its begin until long after its usual end
                if number % 4:  # the others have to connect first
                    await all_work(engine)
                until = time.perf_counter() + usual * (number % 60) / 40
                task = asyncio.create_task(writing(number, fails=number % 3 == 0))
                while time.perf_counter() < until:
                    await asyncio.sleep(0)
                task.cancel()
                done = (await asyncio.gather(task, return_exceptions=True))[0]
                cancelled += isinstance(done, asyncio.CancelledError)
                ended += done is None or isinstance(done, KeyError)
                assert pool_in_use(engine) == 0
        with psycopg.connect(url) as connection:
            stored = connection.execute("SELECT id / 3, count(*) FROM things GROUP BY 1").fetchall()
            connection.execute("DELETE FROM things")

        assert cancelled + ended == 240
        assert cancelled > 5
        assert len(stored) > 1
        assert all(count == 3 for _, count in stored)  # all of it, or nothing
        assert all(number % 3 for number, _ in stored if number)

    @pytest.mark.parametrize(
        ("word", "fails"), [(b"BEGIN", False), (b"COMMIT", False), (b"ROLLBACK", True)]
    )
    async def test_while_a_word_of_the_transaction_is_unanswered_passes(
        self, url: str, word: bytes, *, fails: bool
    ) -> None:
        async with fault_proxy(url) as proxy, opened(proxy.url) as engine:
            stalled = asyncio.Event()

            def reached(piece: bytes) -> bool:
                if word in piece:
                    proxy.stall()
                    stalled.set()
                return False

            async def writing() -> None:
                async with Sessions(engine).begin() as session:
                    await add(session, 1)
                    if fails:
                        raise KeyError

            await all_work(engine)
            proxy.lose_reply_to(reached)
            task = asyncio.create_task(writing())
            await stalled.wait()
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert pool_in_use(engine) == 0
            proxy.lose_reply_to(lambda _: False)
            proxy.mend()
            await all_work(engine)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DELETE FROM things")


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(url) as made:
        yield made
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM things")


class TestAConnection:
    @pytest.mark.parametrize("begin", [False, True])
    async def test_that_is_cut_is_not_used_again(self, proxy: FaultProxy, *, begin: bool) -> None:
        async with opened(proxy.url) as engine:
            sessions = Sessions(engine)
            with pytest.raises(DatabaseUnavailable):
                async with sessions.begin() if begin else sessions() as session:
                    before = await session.scalar(PID)
                    task = asyncio.create_task(slow(session))
                    await asyncio.sleep(0.02)
                    proxy.cut()
                    await task
            assert pool_in_use(engine) == 0
            async with sessions() as session:
                assert await session.scalar(PID) != before

    @pytest.mark.parametrize("begin", [False, True])
    async def test_that_the_server_ends_is_not_used_again(
        self, sessions: Sessions, engine: AsyncEngine, *, begin: bool
    ) -> None:
        """The error comes before the end of the connection: it is not closed yet."""
        ending = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(DatabaseUnavailable, match="terminating connection"):
            async with sessions.begin() if begin else sessions() as session:
                await session.execute(ending)

        await all_work(engine)

    async def test_is_not_lost_with_an_error_that_was_held_back(
        self, sessions: Sessions, engine: AsyncEngine
    ) -> None:
        async with sessions() as session:
            with pytest.raises(DatabaseUnavailable):
                await session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

        await all_work(engine)

    @pytest.mark.parametrize("by", ["the server", "the driver"])
    async def test_that_has_ended_is_never_in_the_pool(
        self, sessions: Sessions, engine: AsyncEngine, by: str
    ) -> None:
        """There it would be found closed one day, and every other taken for closed as well."""
        thrown_away: list[object] = []
        sa.event.listen(engine.sync_engine, "invalidate", lambda *event: thrown_away.append(event))
        async with sessions() as session:
            if by == "the driver":
                session.driver.terminate()
            else:
                with pytest.raises(DatabaseUnavailable):
                    await session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

        assert len(thrown_away) == 1

    async def test_whose_commit_is_not_acknowledged_is_unavailable(
        self, proxy: FaultProxy, url: str
    ) -> None:
        async with opened(proxy.url) as engine:
            await all_work(engine)
            proxy.lose_reply_to(lambda piece: b"COMMIT" in piece)
            with pytest.raises(DatabaseUnavailable):
                async with Sessions(engine).begin() as session:
                    await add(session, 1)
            assert pool_in_use(engine) == 0

        assert proxy.lost == 1
        assert names(url) == ["x"]  # which nobody here could know

    async def test_with_a_statement_stopped_by_the_server_is_kept(self, url: str) -> None:
        """Waits for the server's limit of 0.9 s."""
        async with opened(url, statement_timeout=1.0) as engine:
            sessions = Sessions(engine)
            async with sessions() as session:
                pid = await session.scalar(PID)
            with pytest.raises(DatabaseUnavailable, match="statement timeout"):
                async with sessions.begin() as session:
                    await session.execute(SLOW)
            async with sessions() as session:
                assert await session.scalar(PID) == pid

    @pytest.mark.parametrize("begin", [False, True])
    async def test_with_a_statement_that_is_never_answered_is_thrown_away(
        self, proxy: FaultProxy, *, begin: bool
    ) -> None:
        """Waits for our limit of a second."""
        async with opened(proxy.url, statement_timeout=1.0) as engine:
            await all_work(engine)
            sessions = Sessions(engine)
            with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
                async with sessions.begin() if begin else sessions() as session:
                    proxy.stall()
                    await session.execute(PID)
            assert pool_in_use(engine) == 0
            proxy.mend()

    async def test_with_a_statement_of_another_task_is_not_given_back(
        self, sessions: Sessions, engine: AsyncEngine
    ) -> None:
        async with sessions() as session:
            left = asyncio.create_task(slow(session))
            await asyncio.sleep(0.02)

        with pytest.raises(DatabaseUnavailable):
            await left
        await all_work(engine)

    async def test_cannot_be_reached_after_the_block(self, sessions: Sessions) -> None:
        async with sessions() as session:
            pass

        with pytest.raises(AttributeError, match="driver"):
            await session.execute(PID)

    async def test_that_is_not_free_in_time_is_unavailable(self, url: str) -> None:
        async with opened(url, pool_timeout=0.02) as engine:
            sessions = Sessions(engine)
            async with sessions(), sessions():
                with pytest.raises(DatabaseUnavailable, match="every connection is in use"):
                    await reading(sessions)
                assert pool_in_use(engine) == 2

    async def test_that_cannot_be_made_is_unavailable(self, proxy: FaultProxy) -> None:
        async with opened(proxy.url) as engine:
            proxy.refuse()
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    await reading(Sessions(engine))
                assert pool_in_use(engine) == 0
            proxy.mend()


class TestWhatIsRaised:
    async def test_a_broken_constraint_shows_no_values(self, sessions: Sessions) -> None:
        with pytest.raises(asyncpg.NotNullViolationError) as raised:
            async with sessions.begin() as session:
                await session.execute(sa.insert(things), {"id": None, "name": SECRET})

        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None

    @pytest.mark.parametrize(
        "values",
        [
            {"id": 1, "owner": SECRET},
            {"id": SECRET},
            {"id": 2**40},
            {"id": 1, "name": f"{SECRET}\ud800"},
            {"id": 1, "at": SECRET},
        ],
    )
    async def test_a_value_that_does_not_fit_is_a_bug_and_not_shown(
        self, sessions: Sessions, values: dict[str, Any]
    ) -> None:
        for many in (values, [{**values}, {**values}]):
            with pytest.raises(TypeError, match="does not fit") as raised:
                async with sessions.begin() as session:
                    await session.execute(sa.insert(things), many)
            assert SECRET not in str(raised.value)
            assert raised.value.__suppress_context__

    async def test_text_that_cannot_be_stored_is_bad_input(self, sessions: Sessions) -> None:
        with pytest.raises(InvalidInput) as raised:
            async with sessions.begin() as session:
                await add(session, 1, f"{SECRET}\x00")

        assert SECRET not in str(raised.value)

    async def test_a_bug_in_a_statement_stays_what_it_is(self, sessions: Sessions) -> None:
        with pytest.raises(asyncpg.UndefinedTableError) as raised:
            async with sessions() as session:
                await session.execute(sa.text("SELECT :v FROM nowhere"), {"v": SECRET})

        assert SECRET not in str(raised.value)


class TestManyAtOnce:
    @pytest.mark.parametrize("prepared", [False, True])
    async def test_give_the_rows_of_all_in_their_order(
        self, sessions: Sessions, *, prepared: bool
    ) -> None:
        bare = sa.insert(things).returning(things.c.id, things.c.name)
        statement = Prepared(bare, ("id", "name")) if prepared else bare
        async with sessions.begin() as session:
            one = await session.execute(statement, [{"id": 9, "name": "one"}])
            several = await session.execute(
                statement, [{"id": id_, "name": f"n{id_}"} for id_ in (5, 3, 4)]
            )
            none = await session.execute(statement, [])

        assert [tuple(row) for row in one] == [(9, "one")]
        assert [tuple(row) for row in several] == [(5, "n5"), (3, "n3"), (4, "n4")]
        assert none.all() == []

    async def test_are_one_statement_each_or_an_error(self, sessions: Sessions, url: str) -> None:
        async with sessions() as session:
            with pytest.raises(TypeError, match="the same statement"):
                await session.execute(sa.insert(things), [{"id": 1, "name": "a"}, {"id": 2}])
            among = sa.delete(things).where(things.c.id.in_(sa.bindparam("ids", expanding=True)))
            with pytest.raises(TypeError, match="the same statement"):
                await session.execute(among, [{"ids": [1]}, {"ids": [1, 2]}])

        assert names(url) == []

    async def test_are_all_or_none_without_a_transaction_too(
        self, sessions: Sessions, url: str
    ) -> None:
        with pytest.raises(asyncpg.UniqueViolationError):
            async with sessions() as session:
                await session.execute(
                    sa.insert(things), [{"id": n, "name": "a"} for n in (1, 2, 1)]
                )

        assert names(url) == []


class TestPrepared:
    WITH_OWN = Prepared(
        sa.select(things.c.id).where(
            things.c.name == sa.bindparam("name"), things.c.yes == sa.bindparam("yes", True)
        )
    )

    async def test_values_that_are_missing_or_too_many_are_an_error(
        self, sessions: Sessions
    ) -> None:
        put = Prepared(sa.insert(things), ("id", "name"))
        keep = upsert(things, ("id", "name"), "id")
        text = Prepared(sa.text("SELECT CAST(:a AS text)"))
        async with sessions() as session:
            for statement, values in [
                (put, {"id": 1}),
                (put, {"id": 1, "name": "x", "size": Decimal(1)}),
                (keep, {"name": "x"}),
                (keep, {"id": 1, "name": "x", "nmae": "y"}),
                (self.WITH_OWN, {}),
                (self.WITH_OWN, {"name": "x", "yess": False}),
                (text, {}),
                (text, {"a": "x", "b": "y"}),
            ]:
                with pytest.raises(TypeError, match="missing"):
                    await session.execute(statement, values)
                with pytest.raises(TypeError, match="missing"):
                    await session.execute(statement, [values])
            with pytest.raises(exc.InvalidRequestError):
                await session.execute(sa.text("SELECT CAST(:a AS text)"), {})

    async def test_none_is_a_value_and_what_the_statement_has_need_not_be_given(
        self, sessions: Sessions
    ) -> None:
        async with sessions.begin() as session:
            await session.execute(
                sa.insert(things),
                [{"id": n, "name": "a", "yes": yes} for n, yes in enumerate((True, False, None))],
            )
            assert await session.scalars(self.WITH_OWN, {"name": "a"}) == [0]
            assert await session.scalars(self.WITH_OWN, {"name": "a", "yes": False}) == [1]
            assert await session.scalars(self.WITH_OWN, {"name": None}) == []

    async def test_an_upsert_writes_a_row_once(self, sessions: Sessions) -> None:
        statement = upsert(things, ("id", "name", "data"), "id")
        async with sessions.begin() as session:
            for name, data in (("a", {"n": 1}), ("b", None)):
                await session.execute(statement, {"id": 1, "name": name, "data": data})
            rows = (await session.execute(sa.select(things.c.name, things.c.data))).all()

        assert [tuple(row) for row in rows] == [("b", None)]

    async def test_a_list_for_in_is_refused(self, sessions: Sessions) -> None:
        async with sessions() as session:
            with pytest.raises(TypeError, match="takes an array"):
                await session.execute(
                    Prepared(sa.select(things).where(things.c.id.in_([1, 2]))), {}
                )


class TestRows:
    async def test_one_is_exactly_one(self, sessions: Sessions) -> None:
        numbers = sa.text("SELECT n FROM generate_series(1, CAST(:upto AS int)) n")
        async with sessions() as session:
            none, one, two = [await session.execute(numbers, {"upto": n}) for n in (0, 1, 2)]

        assert none.one_or_none() is None
        assert one.one().n == one.scalar_one() == 1
        assert one.one()._mapping == {"n": 1}
        for rows in (none.one, none.scalar_one):
            with pytest.raises(exc.NoResultFound):
                rows()
        for rows in (two.one, two.scalar_one, two.one_or_none):
            with pytest.raises(exc.MultipleResultsFound):
                rows()
        with pytest.raises(AttributeError, match="m"):
            _ = one.one().m

    def test_no_table_asks_for_what_sessions_do_not_do(self) -> None:
        """A default of Python's would be left out, and a type with results of its own as well."""
        columns = [column for table in all_tables().sorted_tables for column in table.columns]

        assert [c for c in columns if c.default is not None or c.onupdate is not None] == []
        own = {
            type(column.type).__name__
            for column in columns
            if isinstance(column.type, sa.types.TypeDecorator)
            or (isinstance(column.type, sa.Numeric) and not isinstance(column.type, sa.Float))
        }
        assert own == set()
        # These are methods of the driver's rows: such a column is read as row["keys"].
        hidden = {c.name for c in columns} & {"get", "items", "keys", "values"}
        assert hidden <= {"keys"}


# What SQLAlchemy's own connection gives for the same statement is what ours must give.

IDS = [str(UUID(int=n)) for n in range(4)]
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
times = st.datetimes(timezones=st.just(UTC))
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "owner": st.sampled_from(IDS),
    "name": texts,
    "size": st.decimals(-1000, 1000, allow_nan=False, places=3),
    "weight": st.floats(allow_nan=False),
    "at": times,
    "data": jsons,
    "strict": jsons,
    "words": st.lists(texts, max_size=3),
    "raw": st.binary(max_size=5),
    "yes": st.booleans(),
}


@st.composite
def inserts(draw: st.DrawFn) -> tuple[sa.Executable, list[dict[str, Any]]]:
    """Several rows with the same columns, and how they are to be written."""
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True))
    rows = [
        {"id": n, **{name: draw(st.none() | COLUMNS[name]) for name in names}}
        for n in range(draw(st.integers(1, 3)))
    ]
    statement: Any = postgresql.insert(things)
    if draw(st.booleans()):
        statement = statement.on_conflict_do_nothing()
    return statement.returning(things), rows


@st.composite
def conditions(draw: st.DrawFn) -> sa.ColumnElement[bool]:
    name = draw(st.sampled_from(sorted(set(COLUMNS) - {"data", "strict", "words"})))
    column, values = things.c[name], COLUMNS[name]
    match draw(st.sampled_from(["equal", "null", "in", "not in", "tuples", "array", "json"])):
        case "equal":
            return column == draw(values)
        case "null":
            return draw(st.sampled_from([column == None, column != None]))  # noqa: E711
        case "in":
            return column.in_(draw(st.lists(values, max_size=3)))
        case "not in":
            return column.not_in(draw(st.lists(values, max_size=3)))
        case "tuples":
            pair = st.tuples(st.integers(0, 2), values)
            return sa.tuple_(things.c.id, column).in_(draw(st.lists(pair, max_size=3)))
        case "array":
            return things.c.words == draw(st.none() | st.lists(texts, max_size=2))
        case _:
            return things.c.data == sa.literal(draw(jsons), things.c.data.type)


@st.composite
def selects(draw: st.DrawFn) -> sa.Select[Any]:
    statement = sa.select(
        things, sa.literal(draw(st.integers(-9, 9))).label("n"), sa.func.length(things.c.name)
    ).order_by(things.c.id)
    for condition in draw(st.lists(conditions(), max_size=2)):
        statement = statement.where(condition)
    if draw(st.booleans()):
        statement = statement.limit(draw(st.none() | st.integers(0, 3)))
    if draw(st.booleans()):
        statement = statement.offset(draw(st.integers(0, 2)))
    return statement


@pytest.fixture(scope="module")
async def both(url: str) -> AsyncIterator[tuple[AsyncEngine, Session]]:
    engine = open_engine(url)
    async with Sessions(engine)() as session:
        yield engine, session
    await engine.dispose()


@given(insert=inserts(), asked=st.lists(selects(), min_size=1, max_size=4))
@example(
    insert=(
        sa.insert(things).returning(things),
        [{"id": 0, "data": None, "strict": None}, {"id": 1, "data": [None], "strict": [None]}],
    ),
    asked=[
        sa.select(things).where(things.c.data == sa.null()),
        sa.select(things).where(things.c.data == sa.JSON.NULL),
        sa.select(things).where(things.c.id.in_([])),
        sa.select(things).where(things.c.id.in_([0])),
        sa.select(things).where(things.c.id.in_([0, 1])),
    ],
)
async def test_the_same_comes_back_as_by_sqlalchemy(
    both: tuple[AsyncEngine, Session],
    insert: tuple[sa.Executable, list[dict[str, Any]]],
    asked: list[sa.Select[Any]],
) -> None:
    engine, session = both
    statement, rows = insert

    # Each on a connection and in a transaction of its own, which leaves nothing behind.
    await session.execute(sa.text("BEGIN"))
    try:
        ours = [(await session.execute(statement, rows)).all()]
        ours += [(await session.execute(select)).all() for select in asked]
    finally:
        await session.execute(sa.text("ROLLBACK"))

    async with engine.connect() as connection:
        each = [(await connection.execute(statement, row)).all() for row in rows]
        theirs = [[row for rows_of_one in each for row in rows_of_one]]
        theirs += [(await connection.execute(select)).all() for select in asked]
        await connection.rollback()

    assert [[tuple(row) for row in result] for result in ours] == [
        [tuple(row) for row in result] for result in theirs
    ]


async def test_a_form_is_compiled_once_whatever_its_values(sessions: Sessions) -> None:
    def asking(ids: list[int], name: str | None, limit: int) -> sa.Select[Any]:
        return (
            sa.select(things.c.id, sa.literal(limit).label("own"))
            .where(things.c.id.in_(ids), things.c.name == name)
            .limit(limit)
        )

    async with sessions() as session:
        await session.execute(asking([1], "a", 1))
        before = len(_COMPILED)
        for n in range(5):
            await session.execute(asking(list(range(n)), f"a{n}", n))
        assert len(_COMPILED) == before
        await session.execute(asking([1], None, 1))  # IS NULL is another form
        assert len(_COMPILED) == before + 1


async def test_values_come_back_as_what_they_are(sessions: Sessions) -> None:
    given = {
        "id": 1,
        "owner": uuid4(),
        "name": "Zoë",
        "size": Decimal("12.500"),
        "weight": 0.1,
        "at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC) + timedelta(hours=1),
        "data": {"deep": [None, 1.5, "é"]},
        "strict": None,
        "words": ["a", ""],
        "raw": b"\x00\xff",
        "yes": False,
    }
    async with sessions.begin() as session:
        await session.execute(sa.insert(things), given)
        row = (await session.execute(sa.select(things))).one()
        for owner in (given["owner"], str(given["owner"])):
            found = sa.select(things.c.id).where(things.c.owner == sa.bindparam("o"))
            assert await session.scalars(found, {"o": owner}) == [1]

    assert row._mapping == {**given, "owner": str(given["owner"])}


async def test_nothing_in_json_is_not_nothing_in_sql(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(sa.insert(things), {"id": 1, "data": None, "strict": None})
        await session.execute(sa.insert(things).values(id=2, data=sa.null()))
        found = await session.execute(
            sa.text("SELECT data IS NULL, strict IS NULL FROM things ORDER BY id")
        )

    assert [tuple(row) for row in found] == [(False, True), (True, True)]
