"""Who must say yes, to what, and for how long: rules, changes, messages, standing consent."""

import asyncio
import json
from typing import Any

import pytest
from tests.support.model_endpoint import calls, says
from tests.support.turns import ADA, BOB, LEAD, NOTE, REFUND, Desk, wire_problems
from tests.support.upstream import answers

from smart_support.chat.questions import NoStandingConsent
from smart_support.errors import InvalidInput, NotFound
from smart_support.events.records import (
    ApprovalAsked,
    ApprovalDecided,
    ConsentGiven,
    ConsentRevoked,
    ToolReturned,
    TurnOpened,
)
from smart_support.ledger.records import ApprovalSettled, ApprovalState
from smart_support.operations.approval_rules import ApprovalRules, CumulativeLimit, Threshold
from smart_support.operations.records import ReviewState, Risk
from smart_support.operations.review import Correction, decide

OVER_100 = Threshold(argument="/body/amount", comparison="gt", value=100)
STANDING = Correction(
    confirm=True, risk=Risk.LOW, approval_rules=ApprovalRules(standing_consent=True)
)


async def reviewed(desk: Desk, name: str, correction: Correction) -> None:
    """Let the operator say something else of an operation."""
    desk.shop[name] = await decide(
        desk.operations,
        desk.shop[name],
        state=ReviewState.APPROVED,
        correction=correction,
        by="op",
        reason=None,
        version=desk.shop[name].version,
    )


async def ruled(desk: Desk, **rules: Any) -> None:
    await reviewed(desk, "createRefund", Correction(approval_rules=ApprovalRules(**rules)))


def refund(amount: float, order: str = "1002") -> tuple[str, dict[str, Any]]:
    return "createRefund", {"order_id": order, "body": {"amount": amount}}


async def asked(desk: Desk) -> list[ApprovalAsked]:
    return desk.of(await desk.facts(), ApprovalAsked)


class TestChanging:
    CHANGED = {"order_id": "1002", "body": {"amount": 15, "reason": "torn"}}  # noqa: RUF012

    async def test_asks_again_with_what_would_be_sent_now(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        (first,) = await asked(desk)

        approval = await desk.runner.change(ADA, first.approval_id, self.CHANGED)

        assert desk.api.requests == []
        assert sorted(await desk.questions()) == ["edited", "pending"]
        again = (await asked(desk))[-1]
        assert (approval.id, approval.state) == (again.approval_id, ApprovalState.PENDING)
        assert {"name": "amount", "value": "15"} in again.fields
        assert {"name": "customer_id", "value": "cus_ada"} in again.fields
        (decided,) = desk.of(await desk.facts(), ApprovalDecided)
        assert (decided.approval_id, decided.decision) == (first.approval_id, "edited")

    async def test_sends_the_changed_request_after_the_yes_and_tells_the_model(
        self, desk: Desk
    ) -> None:
        desk.model.queue(calls(REFUND), says("Refunded 15."), says("You got 15."))
        await desk.say("Refund order 1002")
        (first,) = await asked(desk)
        await desk.runner.change(ADA, first.approval_id, self.CHANGED)

        await desk.decide()
        await desk.settled()

        (request,) = desk.api.requests
        assert request.body == {"amount": 15, "reason": "torn"}
        assert request.query == {"customer_id": ["cus_ada"]}
        (wire,) = desk.told()[1]["tool_calls"]
        assert json.loads(wire["function"]["arguments"]) == self.CHANGED
        assert wire_problems(desk.told()) == []
        await desk.say("How much was it?")
        (wire,) = desk.told()[1]["tool_calls"]
        assert json.loads(wire["function"]["arguments"]) == self.CHANGED

    async def test_the_old_question_counts_no_more(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        (first,) = await asked(desk)
        await desk.runner.change(ADA, first.approval_id, self.CHANGED)

        with pytest.raises(ApprovalSettled):
            await desk.decide(place=0)
        with pytest.raises(ApprovalSettled):
            await desk.runner.change(ADA, first.approval_id, self.CHANGED)
        assert desk.api.requests == []

    @pytest.mark.parametrize(
        "arguments",
        [
            {"order_id": "1002"},
            {"order_id": "1002", "body": {"amount": "much"}},
            {"order_id": "1002", "body": {"amount": 15}, "customer_id": "cus_bob"},
        ],
        ids=["missing", "wrong type", "somebody else's"],
    )
    async def test_what_does_not_fit_changes_nothing(
        self, desk: Desk, arguments: dict[str, Any]
    ) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        (first,) = await asked(desk)

        with pytest.raises(InvalidInput):
            await desk.runner.change(ADA, first.approval_id, arguments)

        assert await desk.questions() == ["pending"]

    async def test_is_the_customers_alone(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        (first,) = await asked(desk)

        for person in (BOB, LEAD):
            with pytest.raises(NotFound):
                await desk.runner.change(person, first.approval_id, self.CHANGED)

    async def test_two_changes_at_once_give_one_question(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        (first,) = await asked(desk)

        outcomes = await asyncio.gather(
            *(desk.runner.change(ADA, first.approval_id, self.CHANGED) for _ in range(3)),
            return_exceptions=True,
        )

        assert [type(each).__name__ for each in outcomes].count("ApprovalSettled") == 2
        assert (await desk.questions()).count("pending") == 1

    async def test_can_bring_a_lead_in(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        (first,) = await asked(desk)
        assert first.audience == "customer"

        await desk.runner.change(
            ADA, first.approval_id, {"order_id": "1002", "body": {"amount": 500}}
        )

        assert [one.audience for one in (await asked(desk))[1:]] == ["customer", "lead"]

    async def test_leaves_no_question_open_that_counts_no_more(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(refund(150)), says("Refunded 50."))
        await desk.say("Refund 150")
        customers, leads = await asked(desk)
        await desk.decide(by=LEAD, place=1)
        changed = {"order_id": "1002", "body": {"amount": 50}}

        await desk.runner.change(ADA, customers.approval_id, changed)
        await desk.decide()
        await desk.settled()

        decided = [
            (fact.approval_id, fact.decision)
            for fact in desk.of(await desk.facts(), ApprovalDecided)
        ]
        assert set(decided[1:3]) == {
            (customers.approval_id, "edited"),
            (leads.approval_id, "edited"),
        }
        assert sorted(await desk.questions()) == ["edited", "edited", "used"]
        assert [request.body for request in desk.api.requests] == [{"amount": 50}]


class TestAMessage:
    async def test_instead_of_yes_or_no_goes_to_the_model(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND), says("I will look at 1003."))
        await desk.say("Refund order 1002")
        (question,) = await asked(desk)

        decided = await desk.runner.decide(
            ADA, question.approval_id, approved=False, answered=True, reason="Sorry, I meant 1003"
        )
        await desk.settled()

        assert decided.approval.state is ApprovalState.ANSWERED
        assert desk.api.requests == []
        assert "Sorry, I meant 1003" in desk.told()[-1]["content"]
        assert '"outcome":"declined"' in desk.told()[-1]["content"]
        (fact,) = desk.of(await desk.facts(), ApprovalDecided)
        assert (fact.decision, fact.reason) == ("answered", "Sorry, I meant 1003")
        assert await desk.calls() == [("POST /orders/{order_id}/refunds", "rejected")]
        assert desk.said(await desk.facts()) == ["I will look at 1003."]


class TestAThreshold:
    async def test_above_it_both_must_say_yes(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(refund(150)), says("Refunded."))
        await desk.say("Refund 150")
        customers, leads = await asked(desk)
        assert (customers.audience, leads.audience) == ("customer", "lead")
        assert leads.why == "/body/amount > 100"

        first = await desk.decide(place=0)
        await desk.settled()
        assert (first.waiting, desk.api.requests) == (1, [])

        await desk.decide(by=LEAD, place=1)
        await desk.settled()

        (request,) = desk.api.requests
        assert request.body == {"amount": 150}
        assert await desk.questions() == ["used", "used"]
        assert desk.said(await desk.facts()) == ["Refunded."]

    async def test_at_it_the_customer_is_enough(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(refund(100)), says("Refunded."))
        await desk.say("Refund 100")

        await desk.decide()
        await desk.settled()

        assert len(desk.api.requests) == 1

    async def test_a_leads_no_is_a_no(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(refund(150)), says("My colleague says no."))
        await desk.say("Refund 150")
        _, leads = await asked(desk)

        await desk.runner.decide(LEAD, leads.approval_id, approved=False, reason="Not again")
        await desk.settled()

        assert desk.api.requests == []
        assert sorted(await desk.questions()) == ["expired", "rejected"]
        assert "A support lead said no: Not again" in desk.told()[-1]["content"]
        with pytest.raises(ApprovalSettled):
            await desk.decide(place=0)

    async def test_nobody_answers_for_another(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(refund(150)))
        await desk.say("Refund 150")

        for person, place in ((ADA, 1), (LEAD, 0), (BOB, 0), (BOB, 1)):
            with pytest.raises(NotFound):
                await desk.decide(by=person, place=place)
        assert await desk.questions() == ["pending", "pending"]

    async def test_two_leads_at_once_give_one_call(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(refund(150)), says("Refunded."))
        await desk.say("Refund 150")

        outcomes = await asyncio.gather(
            desk.decide(place=0),
            *(desk.decide(by=LEAD, place=1) for _ in range(3)),
            return_exceptions=True,
        )
        await desk.settled()

        assert [type(each).__name__ for each in outcomes].count("ApprovalSettled") == 2
        assert len(desk.api.requests) == 1
        assert [one.run for one in desk.of(await desk.facts(), TurnOpened)] == [1, 2]

    async def test_a_rule_that_came_after_the_question_holds(self, desk: Desk) -> None:
        """The executor asks the rules as they are, not as they were when the question was put."""
        desk.model.queue(calls(refund(150)), says("It did not work."))
        await desk.say("Refund 150")
        await ruled(desk, thresholds=(OVER_100,))

        await desk.decide()
        await desk.settled()

        assert desk.api.requests == []
        (returned,) = desk.of(await desk.facts(), ToolReturned)
        assert (returned.outcome, returned.code) == ("failed", "TOOL_APPROVAL_MISSING")

    async def test_expires_for_all_at_once(self, desk: Desk) -> None:
        await ruled(desk, thresholds=(OVER_100,))
        desk.model.queue(calls(refund(150)), says("Too late."))
        await desk.say("Refund 150")
        await desk.decide(place=0)
        desk.clock.pass_by(86_400)

        await desk.first.recovery.sweep()
        await desk.settled()

        assert desk.api.requests == []
        assert desk.said(await desk.facts()) == ["Too late."]


class TestALimit:
    async def test_ten_refunds_of_99_are_caught(self, desk: Desk) -> None:
        limit = CumulativeLimit(argument="/body/amount", limit=500, window_hours=24)
        await ruled(desk, thresholds=(OVER_100,), limits=(limit,))
        audiences = []
        for number in range(7):
            desk.model.queue(calls(refund(99, f"10{number:02}")))
            await desk.say(f"Refund 99 for order 10{number:02}")
            new = (await asked(desk))[len(audiences) :]
            audiences += [one.audience for one in new]
            if len(new) == 1:
                desk.model.queue(says("Done."))
            await desk.runner.decide(ADA, new[0].approval_id, approved=True, reason=None)
            await desk.settled()

        # 5 × 99 is below 500; the sixth passes it, and every one after.
        assert audiences == ["customer"] * 5 + ["customer", "lead"] * 2
        assert len(desk.api.requests) == 5

    async def test_is_of_one_customer_and_of_its_window(self, desk: Desk) -> None:
        await ruled(desk, limits=(CumulativeLimit(limit=1, window_hours=1),))
        desk.model.queue(calls(refund(5)), says("Done."))
        await desk.say("Refund 5")
        await desk.decide()
        await desk.settled()
        desk.clock.pass_by(3_601)

        desk.model.queue(calls(refund(6)), says("Done."))
        await desk.say("Refund 6")

        assert [one.audience for one in await asked(desk)] == ["customer", "customer"]

    async def test_holds_for_calls_that_were_asked_about_side_by_side(self, desk: Desk) -> None:
        """Both were small enough when they were asked; what counts is when they are sent."""
        limit = CumulativeLimit(argument="/body/amount", limit=150, window_hours=24)
        desk.model.queue(calls(refund(99)), says("Next?"), calls(refund(98)), says("Half."))
        await desk.say("Refund 99")
        await desk.decide()
        await desk.settled()
        await desk.say("Refund 98")
        await ruled(desk, limits=(limit,))

        await desk.decide()
        await desk.settled()

        assert len(desk.api.requests) == 1
        returned = desk.of(await desk.facts(), ToolReturned)[-1]
        assert (returned.outcome, returned.code) == ("failed", "TOOL_LIMIT_REACHED")

    async def test_what_may_have_happened_counts(self, desk: Desk) -> None:
        await ruled(desk, limits=(CumulativeLimit(limit=1, window_hours=24),))
        desk.api.queue(answers({}, status=503))
        desk.model.queue(calls(refund(5)), says("Unclear."), calls(refund(6)))
        await desk.say("Refund 5")
        await desk.decide()
        await desk.settled()

        await desk.say("Refund 6")

        assert [one.audience for one in await asked(desk)] == ["customer", "customer", "lead"]

    async def test_an_amount_that_is_left_out_may_be_any(self, desk: Desk) -> None:
        limit = CumulativeLimit(argument="/body/reason", limit=1e12, window_hours=24)
        await ruled(desk, limits=(limit,))
        desk.model.queue(calls(refund(5)))

        await desk.say("Refund 5")

        assert [one.audience for one in await asked(desk)] == ["customer", "lead"]


class TestStandingConsent:
    async def test_is_asked_for_once_and_then_stands(self, desk: Desk) -> None:
        await reviewed(desk, "addNote", STANDING)
        other = ("addNote", {"body": {"text": "Ring twice"}})
        desk.model.queue(calls(NOTE), says("Noted."), calls(other), says("Noted too."))
        await desk.say("Leave it at the door")
        (question,) = await asked(desk)
        assert question.standing

        await desk.runner.decide(
            ADA, question.approval_id, approved=True, reason=None, standing=True
        )
        await desk.settled()
        await desk.say("And ring twice")

        facts = await desk.facts()
        assert [request.body["text"] for request in desk.api.requests] == [
            "Leave it at the door",
            "Ring twice",
        ]
        assert [one.by for one in desk.of(facts, ApprovalDecided)] == [
            "cus_ada",
            "standing_consent",
        ]
        (given,) = desk.of(facts, ConsentGiven)
        assert given.title == "Leave a note"
        assert desk.said(facts) == ["Noted.", "Noted too."]
        assert await desk.questions() == ["used", "used"]

    async def test_can_be_revoked_and_then_is_asked_again(self, desk: Desk) -> None:
        await self._given(desk)
        (consent,) = await desk.ledger.consents(desk.thread_id, now=desk.clock())

        await desk.runner.revoke_consent(ADA, desk.thread_id, consent.id)
        await desk.runner.revoke_consent(ADA, desk.thread_id, consent.id)

        assert len(desk.of(await desk.facts(), ConsentRevoked)) == 1
        await self._asked_again(desk)

    async def test_ends_with_its_time(self, desk: Desk) -> None:
        await self._given(desk)
        desk.clock.pass_by(86_400)

        await self._asked_again(desk)

    async def test_ends_when_the_operator_takes_the_rule_back(self, desk: Desk) -> None:
        await self._given(desk)
        await reviewed(desk, "addNote", Correction(approval_rules=ApprovalRules()))

        await self._asked_again(desk)

    async def test_is_of_one_conversation(self, desk: Desk) -> None:
        await self._given(desk)
        desk.thread_id = (await desk.runner.open_thread(ADA)).id

        await self._asked_again(desk, waiting=1)

    async def test_is_not_for_what_asks_each_time(self, desk: Desk) -> None:
        desk.model.queue(calls(REFUND))
        await desk.say("Refund order 1002")
        (question,) = await asked(desk)
        assert not question.standing

        with pytest.raises(NoStandingConsent):
            await desk.runner.decide(
                ADA, question.approval_id, approved=True, reason=None, standing=True
            )
        assert await desk.questions() == ["pending"]

    async def test_does_not_cover_what_a_rule_asks_about(self, desk: Desk) -> None:
        await self._given(desk)
        own = Threshold(argument="/body/text", comparison="eq", value="Ring twice", who="customer")
        rules = ApprovalRules(standing_consent=True, thresholds=(own,))
        await reviewed(desk, "addNote", Correction(approval_rules=rules))

        await self._asked_again(desk)

    async def test_the_same_write_twice_in_a_turn_is_made_once(self, desk: Desk) -> None:
        """Nobody looks at it any more, so a model that repeats itself must not be obeyed."""
        await self._given(desk)
        again = ("addNote", {"body": {"text": "Ring twice"}})
        desk.model.queue(calls(again), calls(again), says("Noted."))

        await desk.say("And ring twice")

        assert len(desk.api.requests) == 2
        assert desk.of(await desk.facts(), ToolReturned)[-1].code == "TOOL_REPEATED"

    async def _given(self, desk: Desk) -> None:
        await reviewed(desk, "addNote", STANDING)
        desk.model.queue(calls(NOTE), says("Noted."))
        await desk.say("Leave it at the door")
        (question,) = await asked(desk)
        await desk.runner.decide(
            ADA, question.approval_id, approved=True, reason=None, standing=True
        )
        await desk.settled()

    async def _asked_again(self, desk: Desk, waiting: int = 1) -> None:
        desk.model.queue(calls(("addNote", {"body": {"text": "Ring twice"}})))
        await desk.say("And ring twice")
        assert (await desk.questions()).count("pending") == waiting
        assert len(desk.api.requests) == 1


class TestTomorrow:
    async def test_another_process_without_a_checkpoint_goes_on_once(self, desk: Desk) -> None:
        """A deploy may change the graph; what a turn said and did stands in the log."""
        desk.model.queue(calls(("getOrder", {"order_id": "1001"}), REFUND), says("Refunded."))
        accepted = await desk.say("Look at 1001 and refund 1002")
        await desk.saver.adelete_thread(accepted.turn_id)
        await desk.kill()
        desk.clock.pass_by(80_000)

        await desk.decide()
        await desk.settled()

        assert [request.method for request in desk.api.requests] == ["GET", "POST"]
        assert desk.said(await desk.facts()) == ["Refunded."]
        assert wire_problems(desk.told()) == []
        assert desk.closings(await desk.facts()) == [("done", None)]
