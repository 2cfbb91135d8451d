"""Writes that need a yes: asked, decided, sent once."""

import asyncio
from datetime import timedelta

import pytest
from tests.support.model_endpoint import calls, fails, says, stalled
from tests.support.turns import ADA, BOB, NOTE, ORDER_1, REFUND, START, Desk, wire_problems
from tests.support.upstream import answers, waits

from smart_support.conversations.records import TurnStatus
from smart_support.errors import NotFound
from smart_support.events.records import (
    ApprovalAsked,
    ApprovalDecided,
    MessageReceived,
    ToolReturned,
    TurnOpened,
    TurnParked,
)
from smart_support.ledger.records import ApprovalSettled, ApprovalState

REFUND_2 = ("createRefund", {"order_id": "1003", "body": {"amount": 7}})


class TestAsking:
    async def test_shows_exactly_what_will_be_sent_and_sends_nothing(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))

        accepted = await desk.say("Refund order 1002")

        facts = await desk.facts()
        (asked,) = desk.of(facts, ApprovalAsked)
        assert (asked.title, asked.method) == ("Refund an order", "POST")
        assert asked.url == f"{desk.api.base_url}/orders/1002/refunds"
        assert asked.fields == [
            {"name": "order_id", "value": "1002"},
            {"name": "amount", "value": "20"},
            {"name": "reason", "value": "torn"},
            {"name": "customer_id", "value": "cus_ada"},
        ]
        assert asked.expires_at == (START + timedelta(days=1)).isoformat()
        (parked,) = desk.of(facts, TurnParked)
        assert parked.approval_ids == [asked.approval_id]
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.PARKED
        assert desk.api.requests == []
        assert await desk.calls() == [("POST /orders/{order_id}/refunds", "awaiting_approval")]

    async def test_a_parked_turn_frees_the_thread(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("We are open until six."))
        await desk.say("Refund order 1002")

        accepted = await desk.say("When do you close?")

        assert accepted.status == "open"
        assert desk.said(await desk.facts()) == ["We are open until six."]
        assert wire_problems(desk.told()) == []
        assert await desk.questions() == ["pending"]

    async def test_keeps_the_checkpoint_of_what_waits(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))

        await desk.say("Refund order 1002")

        assert await desk.checkpoints() > 0

    async def test_a_write_that_needs_no_yes_is_sent_at_once(self, desk: Desk) -> None:
        desk.model.queue(calls(NOTE), says("Noted."))

        await desk.say("Leave it at the door")

        assert [request.body for request in desk.api.requests] == [NOTE[1]["body"]]
        assert await desk.calls() == [("POST /notes", "done")]
        assert await desk.questions() == []


class TestYes:
    async def test_sends_the_write_once_and_goes_on(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Refunded."))
        desk.api.queue(answers({"refund": 5}, status=201))
        accepted = await desk.say("Refund order 1002")

        decided = await desk.decide()
        await desk.settled()

        assert (decided.approval.state, decided.waiting) == (ApprovalState.APPROVED, 0)
        (request,) = desk.api.requests
        assert (request.method, request.path) == ("POST", "/orders/1002/refunds")
        assert request.query == {"customer_id": ["cus_ada"]}
        assert request.body == {"amount": 20, "reason": "torn"}
        facts = await desk.facts()
        assert desk.said(facts) == ["Refunded."]
        assert [fact.run for fact in desk.of(facts, TurnOpened)] == [1, 2]
        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.DONE
        assert await desk.calls() == [("POST /orders/{order_id}/refunds", "done")]
        assert await desk.questions() == ["used"]
        assert await desk.checkpoints() == 0

    async def test_the_model_goes_on_from_its_own_question(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Refunded."))
        await desk.say("Refund order 1002")

        await desk.decide()
        await desk.settled()

        messages = desk.told()
        assert wire_problems(messages) == []
        assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
        assert messages[0]["content"] == "Refund order 1002"
        assert messages[-1]["content"] == '{"ok":true}'

    async def test_reads_of_the_same_reply_are_not_made_again(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1, REFUND, ids=("a", "b")), says("Refunded."))
        await desk.say("Look up 1001 and refund 1002")
        assert [request.method for request in desk.api.requests] == ["GET"]

        await desk.decide()
        await desk.settled()

        assert [request.method for request in desk.api.requests] == ["GET", "POST"]
        messages = desk.told()
        assert wire_problems(messages) == []
        assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]

    async def test_reads_of_earlier_replies_are_not_made_again(self, desk: Desk) -> None:
        desk.model.queue(calls(ORDER_1), calls(REFUND), says("Refunded."))
        await desk.say("Look it up and refund it")

        await desk.decide()
        await desk.settled()

        assert [request.method for request in desk.api.requests] == ["GET", "POST"]
        assert wire_problems(desk.told()) == []

    async def test_two_writes_wait_for_two_answers(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND, REFUND_2, ids=("a", "b")), says("One of two."))
        await desk.say("Refund both")
        first = await desk.decide(place=0)
        await desk.settled()
        assert first.waiting == 1
        assert desk.api.requests == []

        last = await desk.decide(approved=False, place=1)
        await desk.settled()

        assert last.waiting == 0
        assert len(desk.api.requests) == 1
        assert sorted(await desk.questions()) == ["rejected", "used"]
        outcomes = [fact.outcome for fact in desk.of(await desk.facts(), ToolReturned)]
        assert sorted(outcomes) == ["declined", "done"]
        assert wire_problems(desk.told()) == []

    async def test_a_broken_write_does_not_hold_up_a_good_one(self, desk: Desk) -> None:
        desk.model.queue(calls(("createRefund", "{"), REFUND, ids=("a", "b")), says("Refunded."))

        await desk.say("Refund order 1002")

        assert len(desk.of(await desk.facts(), ApprovalAsked)) == 1
        await desk.decide()
        await desk.settled()
        outcomes = [fact.outcome for fact in desk.of(await desk.facts(), ToolReturned)]
        assert outcomes == ["failed", "done"]

    async def test_a_second_write_of_the_turn_is_asked_for_again(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), calls(REFUND), says("Both done."))
        await desk.say("Refund it twice")
        await desk.decide()
        await desk.settled()

        await desk.decide()
        await desk.settled()

        facts = await desk.facts()
        assert len({fact.approval_id for fact in desk.of(facts, ApprovalAsked)}) == 2
        assert [fact.run for fact in desk.of(facts, TurnOpened)] == [1, 2, 3]
        assert len(desk.api.requests) == 2
        assert await desk.questions() == ["used", "used"]
        assert wire_problems(desk.told()) == []

    async def test_a_turn_that_goes_on_waits_for_its_place(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(calls(REFUND), stalled(says("Six."), until), says("Refunded."))
        accepted = await desk.say("Refund order 1002")
        await desk.send("When do you close?")
        await desk.model.received(2)

        await desk.decide()

        assert (await desk.turn(accepted.turn_id)).status is TurnStatus.QUEUED
        assert desk.api.requests == []
        until.set()
        await desk.settled()
        assert desk.said(await desk.facts()) == ["Six.", "Refunded."]

    async def test_the_message_is_known_however_much_was_said_since(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Refunded."))
        accepted = await desk.say("Refund order 1002")
        chatter = [
            MessageReceived(turn_id=accepted.turn_id[:-4] + f"{n:04}", message_id=f"x{n}", text="?")
            for n in range(301)
        ]
        await desk.log.append(desk.thread_id, chatter)

        await desk.decide()
        await desk.settled()

        messages = desk.told()
        assert {"role": "user", "content": "Refund order 1002"} in messages
        assert wire_problems(messages) == []


class TestOnce:
    async def test_two_clicks_at_once_give_one_call(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Refunded."))
        await desk.say("Refund order 1002")

        outcomes = await asyncio.gather(*(desk.decide() for _ in range(6)), return_exceptions=True)
        await desk.settled()

        assert [type(each) for each in outcomes].count(ApprovalSettled) == 5
        assert len(desk.api.requests) == 1
        assert len(desk.of(await desk.facts(), ApprovalDecided)) == 1

    async def test_the_last_two_answers_at_once_let_the_turn_go_on_once(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND, REFUND_2, ids=("a", "b")), says("Both."))
        await desk.say("Refund both")

        decided = await asyncio.gather(desk.decide(place=0), desk.decide(place=1))
        await desk.settled()

        assert sorted(each.waiting for each in decided) == [0, 1]
        assert len(desk.api.requests) == 2
        assert desk.said(await desk.facts()) == ["Both."]

    async def test_an_answer_before_the_turn_is_parked_is_not_lost(self, desk: Desk) -> None:
        """The click comes between asking and parking: followers hear of the question at once."""
        desk.model.queue(calls(REFUND), says("Refunded."))
        with desk.first.followers.follow(desk.thread_id) as follower:
            await desk.send("Refund order 1002")
            while True:
                item = await follower.next()
                fact = getattr(item, "fact", None)
                if isinstance(fact, ApprovalAsked):
                    break
            await desk.runner.decide(ADA, fact.approval_id, approved=True, reason=None)
        await desk.settled()

        assert len(desk.api.requests) == 1
        facts = await desk.facts()
        assert desk.said(facts) == ["Refunded."]
        assert desk.closings(facts) == [("done", None)]

    async def test_a_turn_that_goes_on_at_once_can_be_waited_for_and_stopped(
        self, desk: Desk
    ) -> None:
        until = asyncio.Event()
        desk.model.queue(calls(REFUND), stalled(says("Refunded."), until))
        with desk.first.followers.follow(desk.thread_id) as follower:
            await desk.send("Refund order 1002")
            while not isinstance(getattr(await follower.next(), "fact", None), ApprovalAsked):
                pass
            await desk.decide()
        await desk.model.received(2)

        assert await desk.runner.cancel(ADA, desk.thread_id)
        await desk.settled()

        assert desk.closings(await desk.facts()) == [("cancelled", None)]


class TestNo:
    async def test_nothing_is_sent_and_the_model_is_told(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("All right, no refund."))
        await desk.say("Refund order 1002")

        await desk.decide(approved=False)
        await desk.settled()

        assert desk.api.requests == []
        facts = await desk.facts()
        (returned,) = desk.of(facts, ToolReturned)
        assert (returned.outcome, returned.code) == ("declined", "TOOL_DECLINED")
        assert '"outcome":"declined"' in desk.told()[-1]["content"]
        assert "said no" in desk.told()[-1]["content"]
        assert desk.said(facts) == ["All right, no refund."]
        assert await desk.calls() == [("POST /orders/{order_id}/refunds", "rejected")]

    async def test_a_yes_after_the_time_is_none(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("That took too long."))
        await desk.say("Refund order 1002")
        desk.clock.pass_by(86_400)

        decided = await desk.decide()
        await desk.settled()

        assert decided.approval.state is ApprovalState.EXPIRED
        assert desk.api.requests == []
        assert "did not answer in time" in desk.told()[-1]["content"]
        assert await desk.calls() == [("POST /orders/{order_id}/refunds", "expired")]

    async def test_a_yes_that_is_used_too_late_sends_nothing(self, desk: Desk) -> None:
        until = asyncio.Event()
        desk.model.queue(calls(REFUND), stalled(says("Six."), until), says("Too late."))
        await desk.say("Refund order 1002")
        await desk.send("When do you close?")
        await desk.model.received(2)
        await desk.decide()
        desk.clock.pass_by(86_400)

        until.set()
        await desk.settled()

        assert desk.api.requests == []
        (returned,) = desk.of(await desk.facts(), ToolReturned)
        assert (returned.outcome, returned.code) == ("failed", "CONV_APPROVAL_EXPIRED")

    async def test_another_customer_finds_no_question(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")

        with pytest.raises(NotFound):
            await desk.decide(by=BOB)

        assert await desk.questions() == ["pending"]

    async def test_an_unknown_question_is_not_found(self, desk: Desk) -> None:
        with pytest.raises(NotFound):
            await desk.runner.decide(ADA, desk.thread_id, approved=True, reason=None)

    async def test_an_operation_that_is_approved_no_more_is_not_called(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("I cannot any more."))
        await desk.say("Refund order 1002")
        await reject(desk, "createRefund")

        await desk.decide()
        await desk.settled()

        assert desk.api.requests == []
        (returned,) = desk.of(await desk.facts(), ToolReturned)
        assert (returned.outcome, returned.code) == ("failed", "TOOL_UNKNOWN")
        assert desk.said(await desk.facts()) == ["I cannot any more."]


class TestAnUnknownOutcome:
    async def test_is_never_hidden_and_never_repeated(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("I do not know whether it worked."))
        desk.api.queue(*[answers({"error": "later"}, status=503)] * 3)
        await desk.say("Refund order 1002")

        await desk.decide()
        await desk.settled()

        # It takes a key: what is sent again is the same effect, and after three it is given up.
        assert len({request.headers["idempotency-key"] for request in desk.api.requests}) == 1
        assert len(desk.api.requests) == 3
        (returned,) = desk.of(await desk.facts(), ToolReturned)
        assert (returned.outcome, returned.code) == ("unknown", "TOOL_OUTCOME_UNKNOWN")
        assert '"outcome":"unknown"' in desk.told()[-1]["content"]
        assert await desk.calls() == [("POST /orders/{order_id}/refunds", "ambiguous")]

    async def test_stays_known_when_the_model_fails_after_it(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), fails(500))
        await desk.say("Refund order 1002")

        await desk.decide()
        await desk.settled()

        facts = await desk.facts()
        assert desk.closings(facts) == [("failed", "MODEL_UNAVAILABLE")]
        assert [fact.outcome for fact in desk.of(facts, ToolReturned)] == ["done"]
        assert await desk.checkpoints() == 0


class TestWithdrawn:
    async def test_questions_of_a_turn_that_was_stopped_are_taken_back(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("Hello."))
        with desk.first.followers.follow(desk.thread_id) as follower:
            await desk.send("Refund order 1002")
            while not isinstance(getattr(await follower.next(), "fact", None), ApprovalAsked):
                pass
            stopped = await desk.runner.cancel(ADA, desk.thread_id)
        await desk.settled()

        expected = ["expired"] if stopped else ["pending"]
        assert await desk.questions() == expected

    async def test_a_call_that_is_on_its_way_is_not_forgotten(self, desk: Desk) -> None:
        """The customer presses stop while the refund is being made."""
        until = asyncio.Event()
        desk.model.queue(calls(REFUND), says("Hello again."))
        desk.api.queue(waits(until))
        await desk.say("Refund order 1002")
        await desk.decide()
        await desk.api.received(1)

        assert await desk.runner.cancel(ADA, desk.thread_id)
        await desk.settled()

        facts = await desk.facts()
        (returned,) = desk.of(facts, ToolReturned)
        assert (returned.outcome, returned.code) == ("unknown", "TOOL_CANCELLED")
        assert desk.closings(facts) == [("cancelled", None)]
        assert await desk.calls() == [("POST /orders/{order_id}/refunds", "ambiguous")]
        await desk.say("Did it work?")
        assert wire_problems(desk.told()) == []
        assert "unknown" in desk.told()[-2]["content"]


async def reject(desk: Desk, name: str) -> None:
    """Take back an operator's approval."""
    from smart_support.operations.records import ReviewState

    operation = desk.shop[name]
    await desk.operations.decide(
        operation.id,
        version=operation.version,
        state=ReviewState.REJECTED,
        classification=operation.classification,
        by="op",
        reason=None,
    )
