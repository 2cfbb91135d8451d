"""What was reviewed of an operation counts in its calls: accepted ones, versions, stops, links."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from tests.support.model_endpoint import calls, says
from tests.support.turns import ADA, LEAD, REFUND, Desk, open_desk
from tests.support.upstream import answers, drops
from tests.tools.test_call import OTHER, TURN, plan, unasked

from smart_support.database import Sessions
from smart_support.errors import InvalidInput
from smart_support.events.records import CallResolved, ToolReturned
from smart_support.ledger.records import CallState
from smart_support.ledger.stops import StopScope
from smart_support.operations.effects import Lookup, StatusCheck
from smart_support.operations.records import Access, Classification, ReviewState
from smart_support.operations.review import Correction, decide
from smart_support.tools.build import Tool
from smart_support.tools.call import CallResult, Limits, VersionUnknown
from smart_support.tools.planning import breaker_group, is_repeatable

LIMITS = Limits(total=20.0, attempt=5.0, max_bytes=10_000)
NOTE = {"body": {"text": "hi"}}


@pytest.fixture
async def desk(sessions: Sessions, database_url: str) -> AsyncIterator[Desk]:
    async with open_desk(sessions, database_url, call_limits=LIMITS) as opened:
        yield opened


async def reviewed(desk: Desk, name: str, **said: Any) -> Tool:
    """The tool as an operator has said that it is."""
    operation = await desk.operations.operation(desk.shop[name].id)
    await decide(
        desk.operations,
        operation,
        state=ReviewState.APPROVED,
        correction=Correction(**said),
        by="op",
        reason=None,
        version=operation.version,
    )
    return await desk.tool(name)


async def call(desk: Desk, tool: Tool, arguments: dict[str, Any], id_: str = OTHER) -> CallResult:
    planned = replace(plan(desk, tool, arguments), id=id_)
    return await desk.caller.call(tool, planned, actor=ADA.id, correlation_id="c-1")


async def resolve(desk: Desk) -> list[CallResolved]:
    """Look after what is unknown, an hour later; what was found out."""
    desk.clock.pass_by(3_600)
    await desk.first.calls.look_after()
    return desk.of(await desk.facts(), CallResolved)


class TestWhatIsReviewed:
    @pytest.mark.parametrize(
        ("method", "changes", "repeatable"),
        [
            ("GET", {"access": Access.READ}, True),
            ("GET", {"access": Access.WRITE}, False),
            ("POST", {"access": Access.READ}, True),
            ("POST", {"access": Access.WRITE}, False),
            ("PATCH", {"access": Access.WRITE}, False),
            ("PUT", {"access": Access.WRITE}, True),
            ("DELETE", {"access": Access.WRITE}, True),
            ("PUT", {"access": Access.WRITE, "repeatable": False}, False),
            ("POST", {"access": Access.WRITE, "repeatable": True}, True),
            ("POST", {"access": Access.WRITE, "idempotency_header": "X-Key"}, True),
            ("GET", {"access": Access.READ, "repeatable": False}, False),
        ],
    )
    async def test_decides_whether_a_call_is_repeated(
        self, desk: Desk, method: str, changes: dict[str, Any], repeatable: bool
    ) -> None:
        operation = replace(
            desk.shop["addNote"],
            method=method,
            classification=Classification(confirm=False, **changes),
        )

        assert is_repeatable(operation) is repeatable

    async def test_a_get_that_writes_is_a_write_of_the_ledger(self, desk: Desk) -> None:
        tool = await reviewed(desk, "getOrder", access=Access.WRITE, confirm=False)
        desk.api.queue(drops(), answers({"id": "1"}))

        result = await call(desk, tool, {"order_id": "1"})

        assert (result.outcome, len(desk.api.requests)) == ("unknown", 1)
        assert await desk.calls() == [("GET /orders/{order_id}", "ambiguous")]

    async def test_operations_of_one_tag_fail_together(self, desk: Desk) -> None:
        note = desk.shop["addNote"]
        named = replace(note.classification, breaker_group="notes")

        assert breaker_group(note) == note.key
        assert breaker_group(replace(note, tags=("mail", "x"))) == "mail"
        assert breaker_group(replace(note, classification=named)) == "notes"

    @pytest.mark.parametrize(
        "said",
        [
            {"lookup": Lookup(operation="GET /nowhere", arguments={"a": "/key"})},
            {"lookup": Lookup(operation="GET /mails")},
            {"lookup": Lookup(operation="GET /mails", arguments={"email": "body.email"})},
            {"status": StatusCheck(operation="GET /mails", arguments={"email": "/body"})},
        ],
    )
    async def test_a_link_that_can_never_be_asked_is_refused(
        self, desk: Desk, said: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInput):
            await reviewed(desk, "addNote", **said)

    async def test_a_link_is_kept_and_taken_back(self, desk: Desk) -> None:
        link = Lookup(operation="GET /mails", arguments={"email": "/arguments/body/text"})

        tool = await reviewed(desk, "addNote", lookup=link)
        assert tool.operation.classification.lookup == link
        tool = await reviewed(desk, "addNote", lookup=Lookup(operation=""))

        assert tool.operation.classification.lookup is None


class TestAccepted:
    """202 is not done. Orders stand in for jobs: `GET /orders/{order_id}` is the status read."""

    STATUS = StatusCheck(
        operation="GET /orders/{order_id}",
        arguments={"order_id": "/answer/job", "customer_id": "/answer/for"},
    )
    ACCEPTED: ClassVar = {"job": "j7", "for": "cus_ada"}

    async def test_is_followed_until_it_is_done(self, desk: Desk) -> None:
        tool = await reviewed(desk, "addNote", status=self.STATUS)
        desk.api.queue(answers(self.ACCEPTED, status=202, headers={"retry-after": "3"}))
        desk.api.queue(answers({"status": "working"}), answers({"status": "done", "n": 7}))

        result = await call(desk, tool, NOTE)

        assert (result.outcome, json.loads(result.content)["n"]) == ("done", 7)
        assert [request.path for request in desk.api.requests][1:] == ["/orders/j7"] * 2
        assert desk.clock.waits[0] == 3.0
        assert await desk.calls() == [("POST /notes", "done")]

    async def test_that_fails_has_failed(self, desk: Desk) -> None:
        tool = await reviewed(desk, "addNote", status=self.STATUS)
        desk.api.queue(answers(self.ACCEPTED, status=202), answers({"status": "failed"}))

        result = await call(desk, tool, NOTE)

        assert (result.outcome, result.code) == ("failed", "API_REJECTED")

    async def test_that_still_runs_is_told_and_followed_later(self, desk: Desk) -> None:
        tool = await reviewed(desk, "addNote", status=self.STATUS)
        desk.api.queue(answers(self.ACCEPTED, status=202))
        desk.api.queue(*[answers({"status": "working"})] * 30, path="/orders/j7")

        result = await call(desk, tool, NOTE)

        assert (result.outcome, result.code) == ("unknown", "TOOL_STILL_RUNNING")
        assert "not done yet" in result.content
        assert sum(desk.clock.waits) < LIMITS.total
        desk.api.forget()
        desk.api.queue(answers({"status": "done"}), path="/orders/j7")
        (resolved,) = await resolve(desk)
        assert (resolved.resolution, resolved.how) == ("done", "status")
        assert len(desk.api.sent("POST")) == 1

    async def test_without_a_status_operation_is_not_called_done(self, desk: Desk) -> None:
        desk.api.queue(answers({}, status=202))

        result = await call(desk, await desk.tool("addNote"), NOTE)

        assert (result.outcome, result.code) == ("unknown", "TOOL_STILL_RUNNING")
        assert await desk.calls() == [("POST /notes", "ambiguous")]


class TestFindingOut:
    async def test_sends_a_keyed_call_again_with_its_key(self, desk: Desk) -> None:
        tool = await reviewed(desk, "createRefund")
        lost = unasked(tool)
        desk.api.queue(*[answers({}, status=503)] * 3)
        result = await call(desk, lost, {"order_id": "1", "body": {"amount": 5}})
        assert result.outcome == "unknown"
        desk.api.queue(answers({"refund": 9}))

        desk.clock.pass_by(60)
        await desk.first.calls.look_after()

        (resolved,) = desk.of(await desk.facts(), CallResolved)
        assert (resolved.resolution, resolved.how) == ("done", "key")
        assert json.loads(resolved.content) == {"refund": 9}
        assert len({request.headers["idempotency-key"] for request in desk.api.requests}) == 1
        assert [row.number for row in await desk.attempts()] == [1, 2, 3, 4]

    async def test_does_not_when_the_api_may_have_forgotten_the_key(self, desk: Desk) -> None:
        tool = await reviewed(desk, "createRefund", idempotency_lifetime_s=60)
        desk.api.queue(*[answers({}, status=503)] * 3)
        await call(desk, unasked(tool), {"order_id": "1", "body": {"amount": 5}})

        assert await resolve(desk) == []

        assert len(desk.api.requests) == 3

    async def test_does_not_when_it_is_switched_off(self, desk: Desk) -> None:
        tool = await desk.tool("createRefund")
        desk.api.queue(*[answers({}, status=503)] * 3)
        await call(desk, unasked(tool), {"order_id": "1", "body": {"amount": 5}})
        await stop(desk, StopScope.EVERYTHING)

        desk.clock.pass_by(60)
        await desk.first.calls.look_after()

        assert len(desk.api.requests) == 3

    @pytest.mark.parametrize("status", [409, 422])
    async def test_a_conflict_proves_nothing(self, desk: Desk, status: int) -> None:
        """It may be our own effect that is in the way."""
        tool = await desk.tool("createRefund")
        desk.api.queue(*[answers({}, status=503)] * 3)
        await call(desk, unasked(tool), {"order_id": "1", "body": {"amount": 5}})
        desk.api.queue(answers({}, status=status))

        desk.clock.pass_by(60)
        await desk.first.calls.look_after()

        assert desk.of(await desk.facts(), CallResolved) == []

    async def test_never_sends_a_keyless_call_again(self, desk: Desk) -> None:
        desk.api.queue(drops())
        await call(desk, await desk.tool("addNote"), NOTE)

        for _ in range(3):
            assert await resolve(desk) == []

        assert len(desk.api.requests) == 1

    LOOKUP = Lookup(
        operation="GET /mails",
        arguments={"email": "/arguments/body/text"},
        items="/mails",
        equal={"/text": "/arguments/body/text"},
    )

    @pytest.mark.parametrize(
        ("mails", "resolution"), [([{"text": "hi"}], "done"), ([{"text": "other"}], "not_done")]
    )
    async def test_looks_a_keyless_call_up(
        self, desk: Desk, mails: list[Any], resolution: str
    ) -> None:
        await reviewed(desk, "listMails", bindings={})
        tool = await reviewed(desk, "addNote", lookup=self.LOOKUP)
        desk.api.queue(drops())
        await call(desk, tool, NOTE)
        desk.api.queue(answers({"mails": mails}))

        (resolved,) = await resolve(desk)

        assert (resolved.resolution, resolved.how) == (resolution, "lookup")
        assert [request.path for request in desk.api.requests] == ["/notes", "/mails"]

    async def test_waits_before_it_believes_that_nothing_came(self, desk: Desk) -> None:
        await reviewed(desk, "listMails", bindings={})
        tool = await reviewed(desk, "addNote", lookup=self.LOOKUP)
        desk.api.queue(drops(), answers({"mails": []}), answers({"mails": []}))
        await call(desk, tool, NOTE)

        desk.clock.pass_by(10)
        await desk.first.calls.look_after()
        assert desk.of(await desk.facts(), CallResolved) == []

        (resolved,) = await resolve(desk)
        assert resolved.resolution == "not_done"

    async def test_tells_the_model_what_was_found_out(self, desk: Desk) -> None:
        desk.model.queue(calls(("addNote", NOTE)), says("I do not know."), says("It was done."))
        desk.api.queue(drops())
        await desk.say("Leave a note")
        (returned,) = desk.of(await desk.facts(), ToolReturned)
        assert returned.outcome == "unknown"

        known = await desk.first.calls.resolve(LEAD, returned.tool_call_id, "done", "I saw it")
        await desk.say("And now?")

        assert known.remark == "I saw it"
        told = [message for message in desk.told() if message["role"] == "tool"]
        assert "it has taken effect" in told[0]["content"]
        assert "I saw it" not in told[0]["content"]


async def stop(desk: Desk, scope: StopScope, target: str | None = None) -> str:
    stopped = await desk.stops.stop(
        scope, target, title="it", by="op", reason="it misbehaves", at=desk.clock()
    )
    return stopped.id


class TestSwitchedOff:
    @pytest.mark.parametrize("scope", StopScope)
    @pytest.mark.parametrize("name", ["addNote", "getOrder"])
    async def test_nothing_is_sent(self, desk: Desk, scope: StopScope, name: str) -> None:
        tool = await desk.tool(name)
        arguments = NOTE if name == "addNote" else {"order_id": "1"}
        target = {
            StopScope.EVERYTHING: None,
            StopScope.API: tool.operation.spec_id,
            StopScope.OPERATION: tool.operation.id,
        }[scope]
        stopped = await stop(desk, scope, target)

        result = await call(desk, tool, arguments)

        assert (result.outcome, result.code) == ("failed", "TOOL_STOPPED")
        assert desk.api.requests == []
        await desk.stops.lift(stopped, by="op", reason="mended", at=desk.clock())
        assert (await call(desk, tool, arguments, TURN)).outcome == "done"

    async def test_other_operations_go_on(self, desk: Desk) -> None:
        await stop(desk, StopScope.OPERATION, desk.shop["getOrder"].id)

        assert (await call(desk, await desk.tool("addNote"), NOTE)).outcome == "done"

    async def test_by_another_process_counts_at_the_next_call(self, desk: Desk) -> None:
        """This process looked a moment ago, and saw nothing."""
        assert await desk.stops.standing() == ()
        other = type(desk.stops)(desk.sessions)
        await other.stop(
            StopScope.EVERYTHING, None, title="all", by="op", reason="now", at=desk.clock()
        )

        write = await call(desk, await desk.tool("addNote"), NOTE)
        desk.clock.pass_by(0.5)
        read = await call(desk, await desk.tool("getOrder"), {"order_id": "1"}, TURN)

        assert (write.code, read.code) == ("TOOL_STOPPED", "TOOL_STOPPED")
        assert desk.api.requests == []

    async def test_is_kept_with_who_when_and_why(self, desk: Desk) -> None:
        first = await stop(desk, StopScope.EVERYTHING)
        assert await stop(desk, StopScope.EVERYTHING) == first
        began = desk.clock()
        desk.clock.pass_by(60)
        await desk.stops.lift(first, by="oona", reason="mended", at=desk.clock())
        second = await stop(desk, StopScope.EVERYTHING)

        standing, lifted = await desk.stops.history()

        assert (standing.id, standing.lifted_at) == (second, None)
        assert (lifted.stopped_by, lifted.stopped_at, lifted.reason) == (
            "op", began, "it misbehaves",
        )  # fmt: skip
        assert (lifted.lifted_by, lifted.lifted_at, lifted.lifted_reason) == (
            "oona", began + timedelta(seconds=60), "mended",
        )  # fmt: skip

    async def test_is_not_offered_and_the_model_is_told(self, desk: Desk) -> None:
        await stop(desk, StopScope.OPERATION, desk.shop["addNote"].id)
        desk.model.queue(says("Not now."))

        await desk.say("Leave a note")

        body = desk.model.requests[-1].body
        offered = {tool["function"]["name"] for tool in body["tools"]}
        assert "addNote" not in offered
        assert "getOrder" in offered
        assert "addNote: Leave a note: switched off" in body["messages"][0]["content"]

    async def test_nobody_is_asked_for_a_yes_that_cannot_be_used(self, desk: Desk) -> None:
        await stop(desk, StopScope.EVERYTHING)
        desk.model.queue(calls(REFUND), says("It is switched off."))

        await desk.say("Refund order 1002")

        (returned,) = desk.of(await desk.facts(), ToolReturned)
        assert (returned.outcome, returned.code) == ("failed", "TOOL_STOPPED")
        assert await desk.questions() == []


class TestAnOpenBreaker:
    async def test_withholds_its_tools_until_its_time_has_passed(self, desk: Desk) -> None:
        tool = await desk.tool("getOrder")
        other = await desk.tool("addNote")
        tools = {"getOrder": tool, "addNote": other}
        desk.api.queue(*[answers({}, status=503)] * 40, path="/orders/1")
        for _ in range(12):
            await desk.caller.call(
                tool,
                replace(plan(desk, tool, {"order_id": "1"}), id=new_id()),
                actor=ADA.id,
                correlation_id="c",
            )

        offered = await desk.caller.offer(tools)

        assert list(offered.tools) == ["addNote"]
        assert "does not answer" in offered.withheld["getOrder"]
        desk.clock.pass_by(60)
        assert list((await desk.caller.offer(tools)).tools) == ["getOrder", "addNote"]


def new_id() -> str:
    return str(uuid4())


class TestVersions:
    async def test_the_last_one_read_in_the_thread_is_sent(self, desk: Desk) -> None:
        tool = versioned(await desk.tool("addNote"), required=True)
        url = f"{desk.api.base_url}/notes"
        read = replace(plan(desk, await desk.tool("getOrder"), {"order_id": "1"}), url=url)
        for number, etag in enumerate(('"v1"', '"v2"')):
            await desk.ledger.finish(
                replace(read, id=new_id()),
                CallState.DONE,
                [],
                ToolReturned(TURN, read.id, "done", "{}", None),
                now=desk.clock() + timedelta(seconds=number),
                etag=etag,
            )

        result = await call(desk, tool, NOTE)

        assert result.outcome == "done"
        (request,) = desk.api.requests
        assert request.headers["if-match"] == '"v2"'

    async def test_that_nobody_has_read_is_asked_for(self, desk: Desk) -> None:
        tool = versioned(await desk.tool("addNote"), required=True)

        with pytest.raises(VersionUnknown, match=r"Read .*/notes first"):
            await call(desk, tool, NOTE)

        assert desk.api.requests == []

    async def test_that_need_not_be_sent_are_left_out(self, desk: Desk) -> None:
        tool = versioned(await desk.tool("addNote"), required=False)

        assert (await call(desk, tool, NOTE)).outcome == "done"
        assert "if-match" not in desk.api.requests[0].headers

    async def test_that_are_old_are_told_so(self, desk: Desk) -> None:
        desk.api.queue(answers({}, status=412))

        result = await call(desk, await desk.tool("addNote"), NOTE)

        assert result.outcome == "failed"
        assert "changed by somebody else" in result.content

    async def test_are_kept_from_every_answer(self, desk: Desk) -> None:
        desk.api.queue(answers({"id": "1"}, headers={"etag": '"v7"'}))

        await call(desk, await desk.tool("getOrder"), {"order_id": "1"})

        found = await desk.ledger.last_etag(desk.thread_id, f"{desk.api.base_url}/orders/1")
        assert found == '"v7"'
        assert await desk.ledger.last_etag(OTHER, f"{desk.api.base_url}/orders/1") is None


def versioned(tool: Tool, *, required: bool) -> Tool:
    """The tool with an If-Match parameter."""
    parameter = {
        "argument": "If_Match",
        "name": "If-Match",
        "location": "header",
        "style": "simple",
        "explode": False,
        "allow_reserved": False,
        "media_type": None,
        "required": required,
    }
    plan_ = tool.operation.request_plan
    changed: Any = {**plan_, "parameters": [*plan_["parameters"], parameter]}
    return replace(tool, operation=replace(tool.operation, request_plan=changed))
