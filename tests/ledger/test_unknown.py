"""Calls whose outcome is unknown: each looked after in turn, and resolved once."""

import asyncio
from typing import Any

import pytest
from tests.ledger.test_ledger import (
    NOW,
    TURN,
    approved_call,
    attempt,
    call,
    ledger,
    returned,
    state_of,
)

from smart_support.database import Sessions
from smart_support.errors import NotFound
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import AttemptMade, CallResolved, ToolReturned
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.records import CallSettled, CallState, PlannedCall
from smart_support.ledger.unknown_postgres import FIRST_CHECK, LAST_CHECK, PostgresUnknownCalls

__all__ = ["ledger"]


@pytest.fixture
def unknown(sessions: Sessions) -> PostgresUnknownCalls:
    return PostgresUnknownCalls(sessions)


def resolved(planned: PlannedCall, resolution: Any = "done", **changes: Any) -> CallResolved:
    values: dict[str, Any] = {
        "how": "person",
        "by": "lead",
        "remark": "seen in the back office",
        "content": '{"result":"it is"}',
    }
    return CallResolved(
        turn_id=TURN, tool_call_id=planned.id, resolution=resolution, **values | changes
    )


async def lost(ledger: PostgresLedger, number: int = 1) -> PlannedCall:
    planned = call(number, amount=number)
    await ledger.send_unasked(planned, now=NOW)
    await ledger.lose_sent(TURN, "who knows", now=NOW)
    return planned


class TestLookingAfter:
    async def test_gives_each_call_to_one(
        self, ledger: PostgresLedger, unknown: PostgresUnknownCalls
    ) -> None:
        planned = [await lost(ledger, number) for number in range(1, 6)]

        taken = await asyncio.gather(*(unknown.take_due(NOW, 2) for _ in range(4)))

        ids = [known.id for batch in taken for known in batch]
        assert len(ids) == len(set(ids)) <= 5
        left = await unknown.take_due(NOW, 10)
        assert sorted([*ids, *(known.id for known in left)]) == sorted(one.id for one in planned)
        assert await unknown.take_due(NOW, 10) == ()

    async def test_waits_longer_each_time(
        self, ledger: PostgresLedger, unknown: PostgresUnknownCalls
    ) -> None:
        await lost(ledger)
        now, pauses = NOW, []
        for _ in range(15):
            (known,) = await unknown.take_due(now, 1)
            assert known.check_at is not None
            pauses.append(known.check_at - now)
            now = known.check_at

        assert pauses[:3] == [FIRST_CHECK, FIRST_CHECK * 2, FIRST_CHECK * 4]
        assert pauses == sorted(pauses)
        assert pauses[-1] == LAST_CHECK

    async def test_of_one_turn_leaves_the_others(
        self, ledger: PostgresLedger, unknown: PostgresUnknownCalls
    ) -> None:
        planned = await lost(ledger)

        assert await unknown.take_due(NOW, 5, call(9).id) == ()
        (known,) = await unknown.take_due(NOW, 5, TURN)

        assert (known.id, known.state, known.arguments) == (
            planned.id,
            CallState.AMBIGUOUS,
            {"amount": 1},
        )
        assert known.pointers()["key"] == planned.effect_key


class TestResolving:
    @pytest.mark.parametrize(
        ("resolution", "state"),
        [("done", CallState.RESOLVED_DONE), ("not_done", CallState.RESOLVED_NOT_DONE)],
    )
    async def test_moves_the_call_and_tells_of_it(
        self,
        resolution: str,
        state: CallState,
        ledger: PostgresLedger,
        unknown: PostgresUnknownCalls,
        sessions: Sessions,
    ) -> None:
        planned = await lost(ledger)

        events = await unknown.resolve(resolved(planned, resolution), now=NOW)

        assert [event.fact for event in events] == [resolved(planned, resolution)]
        assert (await PostgresEventLog(sessions).read(planned.thread_id))[-1:] == events
        known = await ledger.call(planned.id)
        assert (known.state, known.content) == (state, '{"result":"it is"}')
        assert (known.resolved_by, known.remark) == ("lead", "seen in the back office")
        assert await unknown.waiting(10) == ()
        assert await unknown.take_due(NOW + LAST_CHECK, 10) == ()

    async def test_happens_once(
        self, ledger: PostgresLedger, unknown: PostgresUnknownCalls
    ) -> None:
        planned = await lost(ledger)

        outcomes = await asyncio.gather(
            *(unknown.resolve(resolved(planned), now=NOW) for _ in range(5)),
            return_exceptions=True,
        )

        assert [type(each) for each in outcomes].count(CallSettled) == 4

    @pytest.mark.parametrize("state", [CallState.DONE, CallState.FAILED])
    async def test_of_what_is_known_is_refused(
        self, state: CallState, ledger: PostgresLedger, unknown: PostgresUnknownCalls
    ) -> None:
        planned = call()
        await ledger.send_unasked(planned, now=NOW)
        await ledger.finish(planned, state, [], returned(planned), now=NOW)

        with pytest.raises(CallSettled):
            await unknown.resolve(resolved(planned), now=NOW)

        assert await state_of(ledger, planned) is state

    async def test_of_what_is_not_there_is_refused(self, unknown: PostgresUnknownCalls) -> None:
        with pytest.raises(NotFound):
            await unknown.resolve(resolved(call()), now=NOW)

    async def test_counts_the_attempts_on(
        self, ledger: PostgresLedger, unknown: PostgresUnknownCalls
    ) -> None:
        planned = call()
        await ledger.send_unasked(planned, now=NOW)
        tried = attempt(1, outcome="unknown", status=503)
        gone = returned(planned, "unknown")
        await ledger.finish(planned, CallState.AMBIGUOUS, [tried], gone, now=NOW)

        events = await unknown.resolve(resolved(planned, how="key"), [attempt(1)], now=NOW)

        made, last = (event.fact for event in events)
        assert isinstance(made, AttemptMade)
        assert (made.number, made.outcome) == (2, "done")
        assert isinstance(last, CallResolved)

    async def test_not_done_lets_the_effect_be_asked_for_again(
        self, ledger: PostgresLedger, unknown: PostgresUnknownCalls
    ) -> None:
        planned = await lost(ledger)
        await unknown.resolve(resolved(planned, "not_done"), now=NOW)

        await ledger.send_unasked(call(2, amount=1), now=NOW)


class TestWhatWasNotSent:
    async def test_has_failed_when_its_turn_is_over(self, ledger: PostgresLedger) -> None:
        planned = await approved_call(ledger)

        (event,) = await ledger.close_unsent(TURN, "not sent", now=NOW)

        assert isinstance(event.fact, ToolReturned)
        assert (event.fact.outcome, event.fact.code) == ("failed", "TOOL_NOT_SENT")
        assert await state_of(ledger, planned) is CallState.FAILED
        assert await ledger.close_unsent(TURN, "not sent", now=NOW) == ()

    async def test_leaves_what_was_sent(self, ledger: PostgresLedger) -> None:
        await ledger.send_unasked(call(), now=NOW)

        assert await ledger.close_unsent(TURN, "not sent", now=NOW) == ()

        assert await state_of(ledger, call()) is CallState.SENT
