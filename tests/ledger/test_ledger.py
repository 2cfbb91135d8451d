"""The ledger: every move once, in order, or not at all."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.support.histories import BEGINNING, asked, thread_id

from smart_support.conversations.postgres import PostgresConversations
from smart_support.database import Sessions
from smart_support.errors import NotFound
from smart_support.events.fence import Fence, WriterReplaced, fenced
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import ApprovalAsked, AttemptMade, ToolReturned
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.records import (
    ApprovalExpired,
    ApprovalMissing,
    ApprovalSettled,
    ApprovalState,
    Attempt,
    CallMade,
    CallMoved,
    CallState,
    PlannedCall,
    fingerprint_of,
)
from smart_support.ledger.tables import tool_attempts, tool_calls

THREAD, TURN, OPERATION = (thread_id(number) for number in (1, 2, 3))
NOW = BEGINNING
LATER = NOW + timedelta(hours=1)
ADA = "cus_ada"


def call(number: int = 1, access: str = "write", **arguments: Any) -> PlannedCall:
    return PlannedCall(
        id=thread_id(100 + number),
        thread_id=THREAD,
        turn_id=TURN,
        operation_id=OPERATION,
        operation="POST /refunds",
        access=access,
        arguments=arguments,
        fingerprint=fingerprint_of(OPERATION, "hash", arguments),
    )


def question(planned: PlannedCall, number: int = 1) -> ApprovalAsked:
    return replace(
        asked(TURN, planned.id),
        approval_id=thread_id(200 + number),
        expires_at=LATER.isoformat(),
    )


def attempt(number: int = 1, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "number": number,
        "started_at": NOW,
        "duration_ms": 12.5,
        "waited_ms": 0.0,
        "request": "POST http://127.0.0.1/refunds",
        "status": 200,
        "category": None,
        "outcome": "done",
        "error": None,
    }
    return Attempt(**values | changes)


def returned(planned: PlannedCall, outcome: Any = "done", content: str = "{}") -> ToolReturned:
    return ToolReturned(
        turn_id=TURN, tool_call_id=planned.id, outcome=outcome, content=content, code=None
    )


@pytest.fixture
async def ledger(sessions: Sessions) -> PostgresLedger:
    conversations = PostgresConversations(sessions, owner=1)
    await conversations.open_thread(
        THREAD, customer_id=ADA, customer_name="Ada", customer_email=None
    )
    return PostgresLedger(sessions)


async def state_of(ledger: PostgresLedger, planned: PlannedCall) -> CallState:
    found = await ledger.call_content(planned.id)
    assert found is not None
    return found[0]


async def answer(ledger: PostgresLedger, number: int = 1, approved: bool = True) -> Any:
    return await ledger.decide(
        thread_id(200 + number), actor=ADA, approved=approved, reason="because", now=NOW
    )


async def approved_call(ledger: PostgresLedger) -> PlannedCall:
    """A call that was asked about and has its yes."""
    planned = call(amount=5)
    await ledger.ask([(planned, question(planned))], actor=ADA)
    await answer(ledger)
    return planned


class TestAsking:
    async def test_plans_the_call_and_tells_of_it(
        self, ledger: PostgresLedger, sessions: Sessions
    ) -> None:
        planned = call(amount=5)

        events = await ledger.ask([(planned, question(planned))], actor=ADA)

        assert [event.fact for event in events] == [question(planned)]
        assert events == await PostgresEventLog(sessions).read(THREAD)
        assert await state_of(ledger, planned) is CallState.AWAITING_APPROVAL
        (approval,) = await ledger.approvals(actor=ADA, state=ApprovalState.PENDING, limit=10)
        assert (approval.fingerprint, approval.expires_at) == (planned.fingerprint, LATER)
        assert (approval.decided_by, approval.decided_at, approval.reason) == (None, None, None)

    async def test_is_all_or_nothing(self, ledger: PostgresLedger, sessions: Sessions) -> None:
        planned = call()
        await ledger.ask([(planned, question(planned))], actor=ADA)
        fresh = call(2)

        with pytest.raises(Exception, match="pk_tool_calls"):
            await ledger.ask(
                [(fresh, question(fresh, 2)), (planned, question(planned, 3))], actor=ADA
            )

        assert await ledger.call_content(fresh.id) is None
        assert len(await PostgresEventLog(sessions).read(THREAD)) == 1


class TestDeciding:
    @pytest.mark.parametrize(
        ("approved", "state", "moved"),
        [
            (True, ApprovalState.APPROVED, CallState.APPROVED),
            (False, ApprovalState.REJECTED, CallState.REJECTED),
        ],
    )
    async def test_moves_the_question_and_its_call(
        self, ledger: PostgresLedger, approved: bool, state: ApprovalState, moved: CallState
    ) -> None:
        planned = call()
        await ledger.ask([(planned, question(planned))], actor=ADA)

        decided = await answer(ledger, approved=approved)

        assert (decided.approval.state, decided.waiting) == (state, 0)
        assert (decided.approval.decided_by, decided.approval.reason) == (ADA, "because")
        assert [event.fact.decision for event in decided.events] == [state.value]
        assert await state_of(ledger, planned) is moved
        assert await ledger.decisions(TURN) == {planned.id: state.value}

    async def test_counts_once_however_many_try(self, ledger: PostgresLedger) -> None:
        planned = call()
        await ledger.ask([(planned, question(planned))], actor=ADA)

        outcomes = await asyncio.gather(
            *(answer(ledger, approved=number % 2 == 0) for number in range(8)),
            return_exceptions=True,
        )

        assert [type(each) for each in outcomes].count(ApprovalSettled) == 7

    async def test_tells_the_last_of_several_that_nothing_waits(
        self, ledger: PostgresLedger
    ) -> None:
        planned = [call(number) for number in range(4)]
        await ledger.ask([(each, question(each, n)) for n, each in enumerate(planned)], actor=ADA)

        decided = await asyncio.gather(*(answer(ledger, number) for number in range(4)))

        assert sorted(each.waiting for each in decided) == [0, 1, 2, 3]

    async def test_is_for_the_person_that_was_asked(self, ledger: PostgresLedger) -> None:
        planned = call()
        await ledger.ask([(planned, question(planned))], actor=ADA)

        with pytest.raises(NotFound):
            await ledger.decide(
                thread_id(201), actor="cus_bob", approved=True, reason=None, now=NOW
            )

        assert await state_of(ledger, planned) is CallState.AWAITING_APPROVAL

    async def test_too_late_is_expired(self, ledger: PostgresLedger) -> None:
        planned = call()
        await ledger.ask([(planned, question(planned))], actor=ADA)

        decided = await ledger.decide(
            thread_id(201), actor=ADA, approved=True, reason=None, now=LATER
        )

        assert decided.approval.state is ApprovalState.EXPIRED
        assert await state_of(ledger, planned) is CallState.EXPIRED

    async def test_by_the_clock_takes_only_what_is_over(self, ledger: PostgresLedger) -> None:
        first, second = call(1), call(2)
        longer = replace(question(second, 2), expires_at=(LATER + timedelta(seconds=1)).isoformat())
        await ledger.ask([(first, question(first)), (second, longer)], actor=ADA)

        expired = await ledger.expire(LATER)

        assert [each.approval.tool_call_id for each in expired] == [first.id]
        assert [each.waiting for each in expired] == [1]
        assert await ledger.expire(LATER) == ()

    async def test_what_is_withdrawn_cannot_be_answered(self, ledger: PostgresLedger) -> None:
        first, second = call(1), call(2)
        await ledger.ask([(first, question(first)), (second, question(second, 2))], actor=ADA)
        await answer(ledger, 1)

        events = await ledger.withdraw(TURN, now=NOW)

        assert [event.fact.decision for event in events] == ["expired"]  # type: ignore[union-attr]
        assert await state_of(ledger, first) is CallState.APPROVED
        with pytest.raises(ApprovalSettled):
            await answer(ledger, 2)
        assert await ledger.withdraw(TURN, now=NOW) == ()

    async def test_lists_the_newest_first_of_one_or_of_all(self, ledger: PostgresLedger) -> None:
        for number in range(3):
            planned = call(number)
            actor = "cus_bob" if number == 1 else ADA
            await ledger.ask([(planned, question(planned, number))], actor=actor)
        await answer(ledger, 0)

        async def listed(**which: Any) -> list[str]:
            every = {"actor": None, "state": None, "limit": 10} | which
            return [each.id for each in await ledger.approvals(**every)]

        assert await listed() == [thread_id(200 + number) for number in (2, 1, 0)]
        assert await listed(limit=1) == [thread_id(202)]
        assert await listed(actor=ADA) == [thread_id(202), thread_id(200)]
        assert await listed(actor=ADA, state=ApprovalState.APPROVED) == [thread_id(200)]


class TestSending:
    async def test_uses_the_approval_up(self, ledger: PostgresLedger) -> None:
        planned = await approved_call(ledger)

        await ledger.send_approved(planned, actor=ADA, now=NOW)

        assert await state_of(ledger, planned) is CallState.SENT
        with pytest.raises(CallMade) as made:
            await ledger.send_approved(planned, actor=ADA, now=NOW)
        assert made.value.known.state is CallState.SENT
        with pytest.raises(ApprovalMissing):
            await ledger.send_approved(replace(planned, thread_id=TURN), actor=ADA, now=NOW)

    async def test_of_many_one_is_let_through(self, ledger: PostgresLedger) -> None:
        planned = await approved_call(ledger)

        outcomes = await asyncio.gather(
            *(ledger.send_approved(planned, actor=ADA, now=NOW) for _ in range(8)),
            return_exceptions=True,
        )

        assert outcomes.count(None) == 1
        assert [type(each) for each in outcomes].count(CallMade) == 7

    async def test_needs_exactly_what_was_approved(self, ledger: PostgresLedger) -> None:
        planned = await approved_call(ledger)
        edited = replace(planned, fingerprint=fingerprint_of(OPERATION, "hash", {"amount": 500}))
        reviewed_since = replace(
            planned, fingerprint=fingerprint_of(OPERATION, "other", {"amount": 5})
        )
        elsewhere = replace(planned, thread_id=thread_id(9))

        for other in (edited, reviewed_since, elsewhere):
            with pytest.raises(ApprovalMissing):
                await ledger.send_approved(other, actor=ADA, now=NOW)
        with pytest.raises(ApprovalMissing):
            await ledger.send_approved(planned, actor="cus_bob", now=NOW)

        assert await state_of(ledger, planned) is CallState.APPROVED

    async def test_needs_a_yes_and_not_a_question(self, ledger: PostgresLedger) -> None:
        planned = call()
        await ledger.ask([(planned, question(planned))], actor=ADA)

        with pytest.raises(ApprovalMissing):
            await ledger.send_approved(planned, actor=ADA, now=NOW)

    async def test_too_late_changes_nothing(self, ledger: PostgresLedger) -> None:
        planned = await approved_call(ledger)

        with pytest.raises(ApprovalExpired):
            await ledger.send_approved(planned, actor=ADA, now=LATER)

        assert await state_of(ledger, planned) is CallState.APPROVED
        await ledger.send_approved(planned, actor=ADA, now=NOW)

    async def test_without_a_question_happens_once(self, ledger: PostgresLedger) -> None:
        planned = call()
        await ledger.send_unasked(planned, now=NOW)

        with pytest.raises(CallMade):
            await ledger.send_unasked(planned, now=NOW)

        assert await state_of(ledger, planned) is CallState.SENT

    async def test_of_two_calls_for_one_effect_one_is_let_through(
        self, ledger: PostgresLedger
    ) -> None:
        first, again = call(1, amount=5), call(2, amount=5)

        outcomes = await asyncio.gather(
            *(ledger.send_unasked(each, now=NOW) for each in (first, again)),
            return_exceptions=True,
        )

        (made,) = [each for each in outcomes if isinstance(each, CallMade)]
        assert made.known.effect_key == first.effect_key == again.effect_key

    async def test_what_failed_may_be_asked_for_again(self, ledger: PostgresLedger) -> None:
        first, again = call(1, amount=5), call(2, amount=5)
        await ledger.send_unasked(first, now=NOW)
        await ledger.finish(first, CallState.FAILED, [], returned(first, "failed"), now=NOW)

        await ledger.send_unasked(again, now=NOW)

        assert await state_of(ledger, again) is CallState.SENT

    async def test_other_arguments_or_another_turn_are_another_effect(
        self, ledger: PostgresLedger
    ) -> None:
        for each in (
            call(1, amount=5),
            call(2, amount=6),
            replace(call(3, amount=5), turn_id=THREAD),
        ):
            await ledger.send_unasked(each, now=NOW)

    async def test_the_same_call_with_other_arguments_is_refused(
        self, ledger: PostgresLedger
    ) -> None:
        await ledger.send_unasked(call(1, amount=5), now=NOW)

        with pytest.raises(CallMoved):
            await ledger.send_unasked(call(1, amount=6), now=NOW)

    def test_a_new_approval_is_a_new_effect(self) -> None:
        first, second = (replace(call(number, amount=5), asks=True) for number in (1, 2))

        assert first.effect_key != second.effect_key


class TestFinishing:
    async def test_a_read_is_written_down_with_its_attempts(
        self, ledger: PostgresLedger, sessions: Sessions
    ) -> None:
        planned = call(access="read")
        attempts = [
            attempt(1, status=503, outcome="rejected", category="retryable", error="E: 503"),
            attempt(2, waited_ms=100.0),
        ]

        events = await ledger.finish(
            planned, CallState.DONE, attempts, returned(planned), now=LATER
        )

        made = [event.fact for event in events if isinstance(event.fact, AttemptMade)]
        assert [(fact.number, fact.status, fact.waited_ms) for fact in made] == [
            (1, 503, 0.0),
            (2, 200, 100.0),
        ]
        assert made[0].started_at == NOW.isoformat()
        assert events[-1].fact == returned(planned)
        async with sessions() as session:
            rows = (
                await session.execute(sa.select(tool_attempts).order_by(tool_attempts.c.number))
            ).all()
            finished = await session.scalar(sa.select(tool_calls.c.finished_at))
        assert [(row.number, row.outcome, row.error) for row in rows] == [
            (1, "rejected", "E: 503"),
            (2, "done", None),
        ]
        assert finished == LATER

    async def test_of_two_who_made_a_read_one_writes_it_down(
        self, ledger: PostgresLedger, sessions: Sessions
    ) -> None:
        planned = call(access="read")

        outcomes = await asyncio.gather(
            *(
                ledger.finish(planned, CallState.DONE, [attempt()], returned(planned), now=NOW)
                for _ in range(4)
            ),
            return_exceptions=True,
        )

        known = [each.known.id for each in outcomes if isinstance(each, CallMade)]
        assert known == [planned.id] * 3
        log = await PostgresEventLog(sessions).read(THREAD)
        assert [type(event.fact) for event in log] == [AttemptMade, ToolReturned]
        assert await PostgresEventLog(sessions).last_seq(THREAD) == 2

    async def test_whose_turn_is_taken_over_writes_no_read_down(
        self, ledger: PostgresLedger, sessions: Sessions
    ) -> None:
        planned = call(access="read")

        with fenced(Fence(THREAD, 7, lambda: True)), pytest.raises(WriterReplaced):
            await ledger.finish(planned, CallState.DONE, [attempt()], returned(planned), now=NOW)

        assert await ledger.call_content(planned.id) is None
        assert await PostgresEventLog(sessions).last_seq(THREAD) == 0

    async def test_a_write_must_have_been_sent(self, ledger: PostgresLedger) -> None:
        planned = call()
        await ledger.ask([(planned, question(planned))], actor=ADA)

        with pytest.raises(CallMoved):
            await ledger.finish(planned, CallState.DONE, [attempt()], returned(planned), now=NOW)

        assert await state_of(ledger, planned) is CallState.AWAITING_APPROVAL

    async def test_a_call_without_an_attempt_has_a_result(self, ledger: PostgresLedger) -> None:
        planned = call(access="read")

        events = await ledger.finish(
            planned, CallState.FAILED, [], returned(planned, "failed"), now=NOW
        )

        assert [event.fact for event in events] == [returned(planned, "failed")]

    async def test_keeps_any_text(self, ledger: PostgresLedger) -> None:
        planned = call(access="read")
        odd = attempt(error="a\x00b \ud800", status=None)

        await ledger.finish(
            planned, CallState.FAILED, [odd], returned(planned, content="\x00 \udfff"), now=NOW
        )

        assert await ledger.call_content(planned.id) == (CallState.FAILED, "\ufffd \ufffd")

    async def test_what_was_never_written_is_not_there(self, ledger: PostgresLedger) -> None:
        assert await ledger.call_content(thread_id(999)) is None


class TestLosing:
    async def test_marks_what_was_sent_and_nothing_else(self, ledger: PostgresLedger) -> None:
        sent, done = call(1), call(2, amount=2)
        await ledger.send_unasked(sent, now=NOW)
        await ledger.send_unasked(done, now=NOW)
        await ledger.finish(done, CallState.DONE, [], returned(done), now=NOW)

        (event,) = await ledger.lose_sent(TURN, "who knows", now=NOW)

        assert isinstance(event.fact, ToolReturned)
        assert (event.fact.tool_call_id, event.fact.outcome) == (sent.id, "unknown")
        assert await ledger.call_content(sent.id) == (CallState.AMBIGUOUS, "who knows")
        assert await state_of(ledger, done) is CallState.DONE
        assert await ledger.lose_sent(TURN, "who knows", now=NOW) == ()

    async def test_an_answer_that_comes_after_it_changes_nothing(
        self, ledger: PostgresLedger
    ) -> None:
        planned = call()
        await ledger.send_unasked(planned, now=NOW)
        await ledger.lose_sent(TURN, "who knows", now=NOW)

        with pytest.raises(CallMoved):
            await ledger.finish(planned, CallState.DONE, [], returned(planned), now=NOW)

        assert await state_of(ledger, planned) is CallState.AMBIGUOUS


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(arguments=st.dictionaries(st.text(max_size=5), _json, max_size=4), data=st.data())
def test_a_fingerprint_depends_on_values_and_not_on_their_order(
    arguments: Mapping[str, Any], data: st.DataObject
) -> None:
    names = data.draw(st.permutations(list(arguments)))
    shuffled = {name: arguments[name] for name in names}

    found = fingerprint_of("op", "hash", arguments)

    assert fingerprint_of("op", "hash", shuffled) == found
    assert fingerprint_of("op", "hash", {**arguments, "one more": 1}) != found
    assert fingerprint_of("op2", "hash", arguments) != found
    assert fingerprint_of("op", "hash2", arguments) != found
    assert len(found) == 64
