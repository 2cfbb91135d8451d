"""The ledger is slow, or is cut off, in the very moment before a call leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest
import sqlalchemy as sa
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.model_endpoint import calls, says
from tests.support.turns import NOTE, REFUND, Desk, open_desk
from tests.support.upstream import answers, waits
from tests.tools.test_call import LIMITS, until_blocked, write

from smart_support.chat.answering import TurnInterrupted
from smart_support.conversations.tables import turns
from smart_support.database.engine import open_engine, psycopg_dsn
from smart_support.database.engine import sessions as sessions_on
from smart_support.errors import DatabaseUnavailable
from smart_support.events.records import Fact, ToolReturned, TurnClosed
from smart_support.ledger.tables import tool_calls
from smart_support.tools.call import CallResult

LOCK = 4_711
SLOW = f"PERFORM pg_advisory_xact_lock({LOCK});"
CUT_OFF = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(3);"

WHEN = {"at the statement": "IMMEDIATE", "at the commit": "DEFERRED"}


@pytest.fixture
async def desk(migrated_database: Callable[[], str]) -> AsyncIterator[Desk]:
    """A desk on a database of its own: what happens to it must happen to nobody else."""
    url = migrated_database()
    engine = open_engine(url)
    try:
        async with open_desk(sessions_on(engine), url, call_limits=LIMITS) as opened:
            yield opened
    finally:
        await engine.dispose()


@pytest.fixture
async def far(migrated_database: Callable[[], str]) -> AsyncIterator[tuple[Desk, FaultProxy]]:
    """A desk whose database is reached over a wire that can lose what is said."""
    url = migrated_database()
    async with fault_proxy(url) as proxy:
        engine = open_engine(proxy.url)
        try:
            async with open_desk(sessions_on(engine), url, call_limits=LIMITS) as opened:
                yield opened, proxy
        finally:
            await engine.dispose()


AS_SENT = b"\x00\x00\x00\x04sent"  # the state as a parameter of a statement


def lose_commit_of(proxy: FaultProxy, said: bytes) -> None:
    """Lose the acknowledgement of the commit of the transaction in which this is said."""
    begun = False

    def is_its_commit(piece: bytes) -> bool:
        nonlocal begun
        begun = begun or said in piece
        return begun and b"COMMIT" in piece

    proxy.lose_reply_to(is_its_commit)


async def upon(desk: Desk, state: str, what: str, initially: str = "DEFERRED") -> None:
    """Have the database do `what` whenever a call comes into `state`, by default at the commit."""
    function = (
        "CREATE FUNCTION upon_state() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {what} RETURN NULL; END $$"
    )
    trigger = (
        "CREATE CONSTRAINT TRIGGER upon_state AFTER INSERT OR UPDATE ON tool_calls"
        f" DEFERRABLE INITIALLY {initially} FOR EACH ROW"
        f" WHEN (NEW.state = '{state}') EXECUTE FUNCTION upon_state()"
    )
    async with desk.sessions.begin() as session:
        await session.execute(sa.text(function))
        await session.execute(sa.text(trigger))


async def mend(desk: Desk) -> None:
    async with desk.sessions.begin() as session:
        await session.execute(sa.text("DROP FUNCTION upon_state CASCADE"))


@asynccontextmanager
async def locked(desk: Desk) -> AsyncIterator[None]:
    """Hold what SLOW waits for."""
    connection = await psycopg.AsyncConnection.connect(psycopg_dsn(desk.url), autocommit=True)
    async with connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield


async def stop(work: asyncio.Task[CallResult], times: int) -> bool:
    """Cancel `work` so often; whether it goes on nevertheless."""
    for _ in range(times):
        work.cancel()
        await asyncio.wait([work], timeout=0.1)
    return not work.done()


def returned(facts: Sequence[Fact]) -> list[tuple[str, str | None]]:
    return [(fact.outcome, fact.code) for fact in facts if isinstance(fact, ToolReturned)]


class TestStoppedWhileTheLedgerWrites:
    @pytest.mark.parametrize("times", [1, 3])
    async def test_that_it_leaves_is_written_to_the_end_and_undone(
        self, desk: Desk, times: int
    ) -> None:
        await upon(desk, "sent", SLOW)
        async with locked(desk):
            writing = asyncio.create_task(write(desk))
            await until_blocked(desk)
            went_on = await stop(writing, times)
        with pytest.raises(asyncio.CancelledError):
            await writing

        assert went_on
        assert desk.api.requests == []
        (row,) = await desk.rows(tool_calls)
        assert row.sent_at is not None  # the commit was not broken off
        assert (row.state, row.code) == ("failed", "TOOL_CANCELLED")
        assert returned(await desk.facts()) == [("failed", "TOOL_CANCELLED")]

    async def test_a_commit_that_fails_then_leaves_a_call_that_was_not_sent(
        self, desk: Desk
    ) -> None:
        await upon(desk, "sent", SLOW + CUT_OFF)
        async with locked(desk):
            writing = asyncio.create_task(write(desk))
            await until_blocked(desk)
            assert await stop(writing, 1)
        with pytest.raises(asyncio.CancelledError):
            await writing

        assert desk.api.requests == []
        (row,) = await desk.rows(tool_calls)
        assert row.sent_at is None
        assert (row.state, row.code) == ("failed", "TOOL_CANCELLED")

    @pytest.mark.parametrize("times", [1, 3])
    async def test_that_its_end_is_unknown_is_written_to_the_end(
        self, desk: Desk, times: int
    ) -> None:
        await upon(desk, "ambiguous", SLOW)
        desk.api.queue(waits(asyncio.Event()))
        writing = asyncio.create_task(write(desk))
        await desk.api.received(1)
        async with locked(desk):
            writing.cancel()
            await until_blocked(desk)
            went_on = await stop(writing, times - 1)
        with pytest.raises(asyncio.CancelledError):
            await writing

        assert went_on
        assert await desk.calls() == [("POST /notes", "ambiguous")]
        assert returned(await desk.facts()) == [("unknown", "TOOL_CANCELLED")]


@pytest.mark.parametrize("when", WHEN)
class TestCutOffBeforeItLeaves:
    async def test_nothing_is_sent_and_nothing_says_so(self, desk: Desk, when: str) -> None:
        await upon(desk, "sent", CUT_OFF, WHEN[when])

        with pytest.raises(DatabaseUnavailable):
            await write(desk)

        assert desk.api.requests == []
        assert await desk.calls() == []

    async def test_it_is_sent_once_when_the_ledger_is_back(self, desk: Desk, when: str) -> None:
        await upon(desk, "sent", CUT_OFF, WHEN[when])
        desk.model.queue(calls(NOTE), says("I have left the note."))
        desk.api.queue(answers({"note": 7}))
        await desk.say("Leave it at the door")
        # The customer is told neither that it is done nor that it is not.
        assert desk.api.requests == []
        assert desk.said(await desk.facts()) == []
        assert desk.closings(await desk.facts()) == []

        await mend(desk)
        await desk.first.recovery.sweep()
        await desk.settled()

        assert len(desk.api.requests) == 1
        assert await desk.calls() == [("POST /notes", "done")]
        assert desk.said(await desk.facts()) == ["I have left the note."]

    @pytest.mark.parametrize(
        ("asked", "operation"),
        [(NOTE, "POST /notes"), (REFUND, "POST /orders/{order_id}/refunds")],
    )
    async def test_it_has_failed_when_the_turn_is_over_before(
        self, desk: Desk, when: str, asked: tuple[str, dict[str, object]], operation: str
    ) -> None:
        await upon(desk, "sent", CUT_OFF, WHEN[when])
        desk.model.queue(calls(asked))
        await desk.say("Please")
        if asked is REFUND:
            await desk.decide()
            await desk.settled()
        await desk.first.recovery.sweep()  # as cut off as before
        await desk.settled()
        async with desk.sessions.begin() as session:
            long_ago = sa.func.now() - sa.text("interval '1 hour'")
            await session.execute(sa.update(turns).values(opened_at=long_ago))

        await desk.first.recovery.sweep()
        await desk.settled()

        facts = await desk.facts()
        assert desk.api.requests == []
        assert returned(facts) == [("failed", "TOOL_NOT_SENT")]
        assert [state for name, state in await desk.calls() if name == operation] == (
            ["failed"] if asked is REFUND else []
        )
        (closed,) = desk.of(facts, TurnClosed)
        assert (closed.status, closed.code) == ("failed", TurnInterrupted.code)
        assert closed.message == TurnInterrupted.user_message


class TestTheAcknowledgementIsLost:
    """The ledger says `sent`, and whoever wrote it was not told so, and sent nothing."""

    @pytest.mark.parametrize(
        ("asked", "operation"),
        [(NOTE, "POST /notes"), (REFUND, "POST /orders/{order_id}/refunds")],
    )
    async def test_it_is_taken_back_and_sent_once_when_the_ledger_is_back(
        self,
        far: tuple[Desk, FaultProxy],
        asked: tuple[str, dict[str, object]],
        operation: str,
    ) -> None:
        desk, proxy = far
        desk.model.queue(calls(asked), says("It is done."))
        desk.api.queue(answers({"number": 7}))
        if asked is NOTE:
            lose_commit_of(proxy, AS_SENT)
        await desk.say("Please")
        if asked is REFUND:
            lose_commit_of(proxy, AS_SENT)
            await desk.decide()
            await desk.settled()
        assert proxy.lost == 1
        assert await desk.calls() == [(operation, "sent")]
        assert desk.api.requests == []

        await desk.first.recovery.sweep()
        await desk.settled()

        assert len(desk.api.requests) == 1
        assert await desk.calls() == [(operation, "done")]
        facts = await desk.facts()
        assert returned(facts) == [("done", None)]
        assert desk.said(facts) == ["It is done."]

    async def test_nothing_is_gone_on_with_before_that_is_certain(
        self, far: tuple[Desk, FaultProxy]
    ) -> None:
        desk, proxy = far
        desk.model.queue(calls(NOTE), says("It is done."))
        desk.api.queue(answers({"number": 7}))
        lose_commit_of(proxy, AS_SENT)
        await desk.say("Please")

        lose_commit_of(proxy, b"DELETE FROM tool_calls")
        await desk.first.recovery.sweep()
        assert proxy.lost == 2
        assert desk.closings(await desk.facts()) == []
        await desk.first.recovery.sweep()
        await desk.settled()

        assert len(desk.api.requests) == 1
        assert returned(await desk.facts()) == [("done", None)]

    async def test_a_process_that_stops_takes_it_back_before(
        self, far: tuple[Desk, FaultProxy]
    ) -> None:
        desk, proxy = far
        desk.model.queue(calls(NOTE))
        lose_commit_of(proxy, AS_SENT)
        await desk.say("Please")

        await desk.runner.close(0.0)

        assert await desk.calls() == []
        assert desk.api.requests == []

    @pytest.mark.parametrize(
        ("asked", "operation"),
        [(NOTE, "POST /notes"), (REFUND, "POST /orders/{order_id}/refunds")],
    )
    async def test_who_comes_after_a_dead_process_on_its_machine_sends_it(
        self,
        far: tuple[Desk, FaultProxy],
        asked: tuple[str, dict[str, object]],
        operation: str,
    ) -> None:
        desk, proxy = far
        desk.model.queue(calls(asked), says("It is done."))
        desk.api.queue(answers({"number": 7}))
        if asked is NOTE:
            lose_commit_of(proxy, AS_SENT)
        await desk.say("Please")
        if asked is REFUND:
            lose_commit_of(proxy, AS_SENT)
            await desk.decide()
            await desk.settled()
        assert await desk.calls() == [(operation, "sent")]

        await (await desk.kill()).recovery.sweep()
        await desk.settled()

        assert len(desk.api.requests) == 1
        assert await desk.calls() == [(operation, "done")]
        assert returned(await desk.facts()) == [("done", None)]

    async def test_who_comes_after_it_elsewhere_cannot_know(
        self, far: tuple[Desk, FaultProxy]
    ) -> None:
        desk, proxy = far
        desk.model.queue(calls(NOTE), says("I do not know whether it was left."))
        lose_commit_of(proxy, AS_SENT)
        await desk.say("Please")
        slow, quick = desk.first, await desk.kill()
        for file in desk.folder.iterdir():  # another machine has other files
            file.unlink()
        await quick.recovery.sweep()
        await desk.settled()

        await slow.recovery.sweep()

        # It cannot know what the one before it knew, and says so.
        assert await desk.calls() == [("POST /notes", "ambiguous")]
        assert returned(await desk.facts()) == [("unknown", "TOOL_OUTCOME_UNKNOWN")]
        assert desk.api.requests == []
