"""The call: tried again only where that is safe, recorded in every case."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.turns import ADA, Desk, open_desk
from tests.support.upstream import Answer, answers, breaks_off, drops, garbage, waits

from smart_support.database import Sessions
from smart_support.events.records import AttemptMade, ToolReturned
from smart_support.ledger.records import ApprovalMissing, PlannedCall
from smart_support.ledger.tables import tool_calls
from smart_support.tools.build import Tool
from smart_support.tools.call import CallResult, Limits, complete_arguments, plan_call

TURN = "01900000-0000-7000-8000-00000000000a"
CALL = "01900000-0000-7000-8000-00000000000b"
OTHER = "01900000-0000-7000-8000-00000000000c"
LIMITS = Limits(total=5.0, attempt=0.3, max_bytes=1_000)


@pytest.fixture
async def desk(sessions: Sessions, database_url: str) -> AsyncIterator[Desk]:
    async with open_desk(sessions, database_url, call_limits=LIMITS) as opened:
        yield opened


def plan(desk: Desk, tool: Tool, arguments: dict[str, Any]) -> PlannedCall:
    complete = complete_arguments(tool, arguments, ADA.claims())
    return plan_call(tool, complete, call_id=CALL, thread_id=desk.thread_id, turn_id=TURN)


async def read(desk: Desk) -> CallResult:
    tool = await desk.tool("getOrder")
    return await desk.caller.call(
        tool, plan(desk, tool, {"order_id": "1"}), actor=ADA.id, correlation_id="c-1"
    )


async def write(desk: Desk) -> CallResult:
    tool = await desk.tool("addNote")
    return await desk.caller.call(
        tool, plan(desk, tool, {"body": {"text": "hi"}}), actor=ADA.id, correlation_id="c-1"
    )


def unasked(tool: Tool) -> Tool:
    """The same tool, reviewed as one that needs no yes."""
    free = replace(tool.operation.classification, confirm=False)
    return replace(tool, operation=replace(tool.operation, classification=free))


async def until_blocked(desk: Desk) -> None:
    """Wait until somebody waits for a lock in the database."""
    blocked = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(10), desk.sessions() as session:
        while not await session.scalar(blocked):
            await asyncio.sleep(0.01)


def made(result: CallResult) -> list[AttemptMade]:
    return [event.fact for event in result.events if isinstance(event.fact, AttemptMade)]


class TestReads:
    async def test_are_tried_again_when_the_api_is_unwell(self, desk: Desk) -> None:
        desk.api.queue(answers({}, status=503), answers({}, status=502), answers({"id": "1"}))

        result = await read(desk)

        assert (result.outcome, result.content, result.code) == ("done", '{"id":"1"}', None)
        attempts = made(result)
        assert [(each.number, each.status, each.outcome) for each in attempts] == [
            (1, 503, "rejected"),
            (2, 502, "rejected"),
            (3, 200, "done"),
        ]
        # Half of what backoff allows, since chance says 0.5: of 0.2 s, and of 0.4 s.
        assert [each.waited_ms for each in attempts] == [0.0, 100.0, 200.0]
        assert [each.category for each in attempts] == ["retryable", "retryable", None]
        assert [row.number for row in await desk.attempts()] == [1, 2, 3]
        assert [row.waited_ms for row in await desk.attempts()] == [0.0, 100.0, 200.0]

    async def test_give_up_after_three(self, desk: Desk) -> None:
        desk.api.queue(*[answers({"detail": "tired"}, status=503)] * 4)

        result = await read(desk)

        assert (result.outcome, result.code) == ("failed", "API_UNAVAILABLE")
        assert len(desk.api.requests) == 3
        assert "tired" in result.content
        assert await desk.calls() == [("GET /orders/{order_id}", "failed")]

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, "API_REJECTED"),
            (401, "API_AUTH"),
            (403, "API_AUTH"),
            (404, "API_NOT_FOUND"),
            (422, "API_REJECTED"),
            (501, "API_REJECTED"),
            (302, "API_REDIRECTED"),
        ],
    )
    async def test_are_not_tried_again_when_that_cannot_help(
        self, desk: Desk, status: int, code: str
    ) -> None:
        desk.api.queue(answers({}, status=status, headers={"location": "/elsewhere"}))

        result = await read(desk)

        assert (result.outcome, result.code) == ("failed", code)
        assert len(desk.api.requests) == 1

    async def test_wait_as_long_as_the_api_asks(self, desk: Desk) -> None:
        busy = answers({}, status=429, headers={"retry-after": "2"})
        desk.api.queue(busy, answers({"id": "1"}))

        result = await read(desk)

        assert result.outcome == "done"
        # A little later than asked, lest all who were asked the same come together.
        assert desk.clock.waits == [pytest.approx(2.1)]

    async def test_do_not_wait_beyond_the_deadline(self, desk: Desk) -> None:
        desk.api.queue(answers({}, status=429, headers={"retry-after": "9"}))

        result = await read(desk)

        assert (result.outcome, result.code) == ("failed", "API_RATE_LIMITED")
        assert desk.clock.waits == []

    async def test_of_a_dropped_connection_say_so(self, desk: Desk) -> None:
        desk.api.queue(drops(), drops(), drops())

        result = await read(desk)

        assert (result.outcome, result.code) == ("failed", "API_UNREACHABLE")
        attempt, *_ = made(result)
        assert (attempt.category, attempt.outcome, attempt.status) == ("network", "rejected", None)
        assert attempt.error == "CallFailed: The connection to the API failed."
        said = json.loads(result.content)["error"]["say"]
        assert said.startswith("The service behind this does not answer just now.")

    async def test_made_again_by_a_turn_that_goes_on_count_once(self, desk: Desk) -> None:
        desk.api.queue(answers({"id": "1"}), answers({"id": "changed"}))
        first = await read(desk)

        again = await read(desk)

        assert (again.content, again.events) == (first.content, ())
        assert len(await desk.attempts()) == 1

    async def test_name_the_request_without_its_query(self, desk: Desk) -> None:
        (attempt,) = made(await read(desk))

        assert attempt.request == f"GET {desk.api.base_url}/orders/1"

    async def test_carry_who_asked_and_the_correlation(self, desk: Desk) -> None:
        await read(desk)

        (request,) = desk.api.requests
        assert request.query == {"customer_id": ["cus_ada"]}
        assert request.headers["x-correlation-id"] == "c-1"


UNCLEAR: dict[str, Answer] = {
    "503": answers({}, status=503),
    "500": answers({}, status=500),
    "408": answers({}, status=408),
    "redirect": answers({}, status=307, headers={"location": "/elsewhere"}),
    "dropped": drops(),
    "broken off": breaks_off(),
    "garbage": garbage(),
    "stalled": waits(asyncio.Event()),
    "too large": answers(b"x" * 1_001),
}


class TakenBack(Exception):
    """What a transaction did is undone."""


class TestWrites:
    @pytest.mark.parametrize("how", UNCLEAR)
    async def test_get_one_attempt_and_an_unclear_end_is_unknown(
        self, desk: Desk, how: str
    ) -> None:
        desk.api.queue(UNCLEAR[how])

        result = await write(desk)

        assert (result.outcome, result.code) == ("unknown", "TOOL_OUTCOME_UNKNOWN")
        assert "must not be repeated" in result.content
        assert len(desk.api.requests) == 1
        assert [each.outcome for each in made(result)] == ["unknown"]
        assert await desk.calls() == [("POST /notes", "ambiguous")]

    @pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
    async def test_that_are_refused_have_failed(self, desk: Desk, status: int) -> None:
        desk.api.queue(answers({"detail": "no"}, status=status))

        result = await write(desk)

        assert result.outcome == "failed"
        assert [each.outcome for each in made(result)] == ["rejected"]
        assert len(desk.api.requests) == 1
        assert await desk.calls() == [("POST /notes", "failed")]

    async def test_that_never_left_have_failed(self, desk: Desk) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{unused.getsockname()[1]}"
            await desk.operations.set_base_url(desk.shop["addNote"].spec_id, address)

            result = await write(desk)

        assert (result.outcome, result.code) == ("failed", "API_UNREACHABLE")
        assert {each.outcome for each in made(result)} == {"not_sent"}
        assert await desk.calls() == [("POST /notes", "failed")]
        (row,) = await desk.rows(tool_calls)
        assert row.sent_at is None

    async def test_are_in_the_ledger_before_they_are_sent(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.api.queue(waits(until, answers({})))
        writing = asyncio.create_task(write(desk))
        await desk.api.received(1)

        assert await desk.calls() == [("POST /notes", "sent")]
        until.set()
        assert (await writing).outcome == "done"

    async def test_need_a_yes_that_no_caller_can_leave_out(self, desk: Desk) -> None:
        tool = await desk.tool("createRefund")
        planned = plan(desk, tool, {"order_id": "1", "body": {"amount": 5}})

        with pytest.raises(ApprovalMissing):
            await desk.caller.call(tool, planned, actor=ADA.id, correlation_id="c-1")

        assert desk.api.requests == []
        assert await desk.calls() == []

    async def test_carry_a_key_that_belongs_to_the_effect(self, desk: Desk) -> None:
        tool = unasked(await desk.tool("createRefund"))
        planned = plan(desk, tool, {"order_id": "1", "body": {"amount": 5}})
        other = replace(plan(desk, tool, {"order_id": "1", "body": {"amount": 6}}), id=TURN)

        for each in (planned, other):
            await desk.caller.call(tool, each, actor=ADA.id, correlation_id="c-1")

        first, second = (each.headers["idempotency-key"] for each in desk.api.requests)
        assert first == planned.effect_key != second == other.effect_key

    async def test_said_twice_in_a_turn_are_made_once(self, desk: Desk) -> None:
        desk.api.queue(answers({"note": 7}))
        tool = await desk.tool("addNote")
        planned = plan(desk, tool, {"body": {"text": "hi"}})
        await desk.caller.call(tool, planned, actor=ADA.id, correlation_id="c-1")

        result = await desk.caller.call(
            tool, replace(planned, id=OTHER), actor=ADA.id, correlation_id="c-1"
        )

        assert len(desk.api.requests) == 1
        assert (result.outcome, result.code) == ("done", None)
        assert json.loads(result.content)["answer"] == {"note": 7}
        assert "not done a second time" in result.content
        (returned,) = [event.fact for event in result.events]
        assert isinstance(returned, ToolReturned)
        assert (returned.tool_call_id, returned.outcome) == (OTHER, "done")

    async def test_said_twice_at_once_are_made_once(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.api.queue(waits(until, answers({"note": 7})))
        tool = await desk.tool("addNote")
        planned = plan(desk, tool, {"body": {"text": "hi"}})
        calls = [
            asyncio.create_task(desk.caller.call(tool, each, actor=ADA.id, correlation_id="c-1"))
            for each in (planned, replace(planned, id=OTHER))
        ]
        await desk.api.received(1)
        until.set()

        assert [(await each).outcome for each in calls] == ["done", "done"]
        assert len(desk.api.requests) == 1

    async def test_made_already_are_answered_from_the_ledger(self, desk: Desk) -> None:
        desk.api.queue(answers({"note": 7}))
        first = await write(desk)

        again = await write(desk)

        assert (again.outcome, again.content, again.events) == ("done", first.content, ())
        assert len(desk.api.requests) == 1

    async def test_that_the_api_wants_later_are_sent_later(self, desk: Desk) -> None:
        """429 says that nothing was done; a keyless write may then be sent again."""
        desk.api.queue(answers({}, status=429, headers={"retry-after": "1"}), answers({"note": 1}))

        result = await write(desk)

        assert result.outcome == "done"
        assert [each.outcome for each in made(result)] == ["rejected", "done"]

    async def test_cost_two_commits_and_a_read_one(self, desk: Desk) -> None:
        async def commits(work: Callable[[Desk], Awaitable[CallResult]]) -> int:
            before = await written(desk)
            assert (await work(desk)).outcome == "done"
            return await written(desk) - before

        async def written(desk: Desk) -> int:
            """Transactions that wrote, so far."""
            newest = sa.text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            async with desk.sessions() as session:
                return int(await session.scalar(newest))

        assert await commits(write) == 2
        await desk.forget_calls()
        assert await commits(read) == 1

    async def test_that_are_stopped_on_their_way_are_unknown(self, desk: Desk) -> None:
        desk.api.queue(waits(asyncio.Event()))
        writing = asyncio.create_task(write(desk))
        await desk.api.received(1)

        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

        (attempt,) = await desk.attempts()
        assert (attempt.category, attempt.outcome) == ("cancelled", "unknown")
        assert await desk.calls() == [("POST /notes", "ambiguous")]

    async def test_that_are_stopped_before_they_were_sent_have_failed(self, desk: Desk) -> None:
        """The process is told to stop while the ledger still writes that the call leaves."""
        planned = plan(desk, await desk.tool("addNote"), {"body": {"text": "hi"}})
        with contextlib.suppress(TakenBack):
            async with desk.sessions.begin() as blocking:
                await blocking.execute(
                    sa.insert(tool_calls).values(
                        id=OTHER,
                        thread_id=desk.thread_id,
                        turn_id=TURN,
                        operation_id=planned.operation_id,
                        operation=planned.operation,
                        access="write",
                        arguments={},
                        fingerprint="",
                        state="sent",
                        effect_key=planned.effect_key,
                    )
                )
                writing = asyncio.create_task(write(desk))
                await until_blocked(desk)
                writing.cancel()
                raise TakenBack
        with pytest.raises(asyncio.CancelledError):
            await writing

        assert desk.api.requests == []
        assert await desk.calls() == [("POST /notes", "failed")]


class TestBounds:
    async def test_an_attempt_ends_in_time(self, desk: Desk) -> None:
        desk.api.queue(*[waits(asyncio.Event())] * 3)

        result = await read(desk)

        assert (result.outcome, result.code) == ("failed", "API_TIMEOUT")
        assert [each.category for each in made(result)] == ["timeout"] * 3

    async def test_a_huge_answer_is_not_read_to_its_end(self, desk: Desk) -> None:
        desk.api.queue(answers(b"x" * 5_000_000, content_type="text/plain"))

        result = await read(desk)

        assert (result.outcome, result.code) == ("failed", "API_ANSWER_TOO_LARGE")
        assert len(result.content) < 500

    async def test_an_answer_as_large_as_allowed_is_read(self, desk: Desk) -> None:
        desk.api.queue(answers(b"x" * 1_000, content_type="text/plain"))

        assert (await read(desk)).outcome == "done"


class TestPlanning:
    async def test_bound_arguments_win_over_the_models(self, desk: Desk) -> None:
        tool = await desk.tool("getOrder")

        given = complete_arguments(tool, {"order_id": "1", "customer_id": "cus_bob"}, ADA.claims())

        assert given == {"order_id": "1", "customer_id": "cus_ada"}

    async def test_two_calls_alike_have_one_fingerprint(self, desk: Desk) -> None:
        tool = await desk.tool("getOrder")

        first, second = (plan(desk, tool, {"order_id": "1"}) for _ in range(2))
        other = plan(desk, tool, {"order_id": "2"})

        assert first.fingerprint == second.fingerprint != other.fingerprint
        assert (first.operation, first.access) == ("GET /orders/{order_id}", "read")


async def test_the_result_is_the_last_event(desk: Desk) -> None:
    result = await read(desk)

    assert result.events == await desk.log.read(desk.thread_id)
    assert isinstance(result.events[-1].fact, ToolReturned)
