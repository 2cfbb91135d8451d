"""The routes: conversations, approvals, figures, and the review of documents."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from tests.api.test_problems import is_problem
from tests.support.database import Databases
from tests.support.model_endpoint import calls, says
from tests.support.server import ADA, BOB, LEAD, OPERATOR, Server, running
from tests.support.turns import DOCUMENT
from tests.support.upstream import Upstream, answers, waits


async def say(server: Server, text: str, thread: str | None = None) -> str:
    """A thread in which Ada has said this, and was answered."""
    thread = thread or await server.thread()
    await server.parts.runner.send(ADA, thread, str(uuid4()), text)
    await server.settled()
    return thread


class TestThreads:
    async def test_a_new_one_is_empty(self, server: Server) -> None:
        made = await server.http(ADA).post("/api/threads")

        assert made.status_code == 201
        body = made.json()
        assert (body["title"], body["status"], body["turns"]) == ("", "opened", 0)
        assert body["customer"] == {"id": ADA.id, "name": ADA.name}
        assert (await server.http(LEAD).get(f"/api/threads/{body['id']}")).json() == body

    async def test_one_that_was_spoken_in_says_how_it_stands(self, server: Server) -> None:
        thread = await say(server, "Where is my parcel?")

        body = (await server.http(ADA).get(f"/api/threads/{thread}")).json()

        assert (body["title"], body["turns"], body["errors"]) == ("Where is my parcel?", 1, 0)

    async def test_one_that_is_resolved_stays_so_and_is_resolved_once(self, server: Server) -> None:
        thread = await say(server, "Thank you.")
        ada = server.http(ADA)

        twice = [await ada.post(f"/api/threads/{thread}/resolve") for _ in range(2)]

        assert [answer.json()["status"] for answer in twice] == ["resolved", "resolved"]
        facts = [event.fact.type for event in await server.parts.log.read(thread)]
        assert facts.count("thread_resolved") == 1

    async def test_pages_hold_each_once_the_newest_first(self, server: Server) -> None:
        wanted = [await say(server, f"page word {number}") for number in range(5)]
        lead, found, cursor = server.http(LEAD), [], None

        while True:
            params = {"query": "page word", "limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await lead.get("/api/threads", params=params)).json()
            found += [thread["id"] for thread in page["threads"]]
            if (cursor := page["next_cursor"]) is None:
                break

        assert found == wanted[::-1]

    async def test_are_found_by_their_state(self, server: Server) -> None:
        thread = await say(server, "state word")
        await server.http(ADA).post(f"/api/threads/{thread}/resolve")

        async def ids(status: str) -> list[str]:
            params = {"query": "state word", "status": status}
            page = await server.http(LEAD).get("/api/threads", params=params)
            return [each["id"] for each in page.json()["threads"]]

        assert (await ids("resolved"), await ids("abandoned")) == ([thread], [])


class TestReplay:
    async def test_tells_every_fact_page_by_page(self, server: Server) -> None:
        await server.import_company()
        thread = await server.thread()
        server.model.queue(calls(("getOrder", {"order_id": "7"})), says("Shipped."))
        server.company.queue(answers({"status": "shipped"}))
        await say(server, "Where is order 7?", thread)
        lead, events, after = server.http(LEAD), [], 0

        while after is not None:
            page = await lead.get(
                f"/api/threads/{thread}/replay", params={"after": after, "limit": 2}
            )
            events += page.json()["events"]
            after = page.json()["next_after"]

        log = await server.parts.log.read(thread)
        assert [event["seq"] for event in events] == [event.seq for event in log]
        assert [event["fact"]["type"] for event in events] == [e.fact.type for e in log]
        (attempt,) = [e["fact"] for e in events if e["fact"]["type"] == "attempt_made"]
        assert (attempt["status"], attempt["outcome"]) == (200, "done")


class TestApprovals:
    async def asked(self, server: Server) -> str:
        """The id of a question that waits for Ada."""
        await server.import_company()
        server.model.queue(calls(("createRefund", {"order_id": "7", "body": {"amount": 12}})))
        await say(server, "Money back, please.")
        waiting = (
            await server.http(ADA).get("/api/approvals", params={"state": "pending"})
        ).json()["approvals"]
        return str(waiting[0]["id"])

    async def test_show_what_will_be_sent_to_who_may_see_it(self, server: Server) -> None:
        approval_id = await self.asked(server)

        mine, leads, others = [
            (await server.http(person).get("/api/approvals")).json()["approvals"]
            for person in (ADA, LEAD, BOB)
        ]

        assert mine[0]["id"] == leads[0]["id"] == approval_id
        assert (mine[0]["method"], mine[0]["state"]) == ("POST", "pending")
        assert {"name": "amount", "value": "12"} in mine[0]["fields"]
        assert others == []

    async def test_count_once(self, server: Server) -> None:
        approval_id = await self.asked(server)
        path, ada = f"/api/approvals/{approval_id}/decision", server.http(ADA)

        first = await ada.post(path, json={"decision": "reject", "reason": "no"})
        again = await ada.post(path, json={"decision": "approve"})
        await server.settled()

        assert first.json()["state"] == "rejected"
        assert first.json()["decided_by"] == ADA.id
        assert again.status_code == 409
        assert again.headers["content-type"] == "application/problem+json"

    async def test_of_others_look_like_none(self, server: Server) -> None:
        approval_id = await self.asked(server)

        for wanted in (approval_id, uuid4()):
            answer = await server.http(BOB).post(
                f"/api/approvals/{wanted}/decision", json={"decision": "approve"}
            )
            is_problem(answer, 404, "VAL_NOT_FOUND")


async def test_the_dashboard_gives_figures_and_points(server: Server) -> None:
    await say(server, "Count me.")
    day = {"start": "2000-01-01T00:00:00Z", "end": "2000-01-02T00:00:00Z"}
    lead = server.http(LEAD)

    figures = await lead.get("/api/dashboard", params=day)
    series = await lead.get("/api/dashboard/series", params=day | {"bucket": "hour"})

    assert (figures.status_code, series.status_code) == (200, 200)
    assert isinstance(series.json()["points"], list)


class TestReview:
    async def upload(self, server: Server, raw: bytes, **params: str) -> Any:
        return await server.http(OPERATOR).post("/api/specs", params=params, content=raw)

    async def first(self, server: Server, spec_id: str, name: str) -> dict[str, Any]:
        (one,) = [o for o in await server.operations(spec_id) if o["tool_name"] == name]
        return one

    async def test_an_upload_waits_for_a_review(self, server: Server) -> None:
        answer = await self.upload(server, json.dumps(DOCUMENT).encode(), name="Uploaded")

        assert answer.status_code == 201
        body = answer.json()
        assert body["added"] == body["spec"]["operation_count"] > 0
        assert body["spec"]["base_url"] is None
        spec_id = body["spec"]["id"]
        read = await server.http(LEAD).get(f"/api/specs/{spec_id}")
        listed = await server.http(LEAD).get("/api/specs")
        assert read.json() == body["spec"]
        assert body["spec"] in listed.json()["specs"]
        assert {o["state"] for o in await server.operations(spec_id)} == {"pending"}

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (b"", "FILE_EMPTY"),
            (b"{", "FILE_BROKEN"),
            (b"a: [", "FILE_BROKEN"),
            (b"[]", "FILE_NOT_OPENAPI"),
        ],
    )
    async def test_what_is_no_document_is_refused_with_what_to_do(
        self, server: Server, raw: bytes, code: str
    ) -> None:
        body = is_problem(await self.upload(server, raw, source="odd.yaml"), 422, code)

        assert body["detail"].startswith("odd.yaml")

    async def test_a_decision_is_made_on_what_was_seen(self, server: Server) -> None:
        document = DOCUMENT | {"servers": [{"url": server.company.base_url}]}
        raw = json.dumps(document).encode()
        spec = (await self.upload(server, raw, name="Decided")).json()["spec"]
        seen = await self.first(server, spec["id"], "getOrder")
        path, operator = f"/api/operations/{seen['id']}", server.http(OPERATOR)
        decision = {"version": seen["version"], "state": "approved", "agent": "orders"}

        decided = await operator.post(f"{path}/decision", json=decision)
        late = await operator.post(f"{path}/decision", json=decision)

        assert decided.json()["state"] == "approved"
        assert decided.json()["classification"]["agent"] == "orders"
        assert [review["by"] for review in decided.json()["history"]] == [OPERATOR.id]
        assert (await operator.get(path)).json() == decided.json()
        is_problem(late, 409, "CONF_REVIEW_CONFLICT")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"bindings": {"nobody": "customer_id"}},
            {"bindings": {"order_id": "shoe_size"}},
            {"agent": ""},
            {"idempotency_header": "not a header"},
            {"state": "changed"},
        ],
    )
    async def test_what_cannot_work_is_refused(self, server: Server, wrong: dict[str, Any]) -> None:
        raw = json.dumps(DOCUMENT | {"servers": [{"url": "http://127.0.0.1:9"}]}).encode()
        spec = (await self.upload(server, raw, name="Refused")).json()["spec"]
        seen = await self.first(server, spec["id"], "getOrder")

        answer = await server.http(OPERATOR).post(
            f"/api/operations/{seen['id']}/decision",
            json={"version": seen["version"], "state": "approved"} | wrong,
        )

        assert answer.status_code in {409, 422}
        assert (await self.first(server, spec["id"], "getOrder"))["state"] == "pending"

    async def test_without_an_address_nothing_is_approved(self, server: Server) -> None:
        raw = json.dumps(DOCUMENT).encode()
        spec = (await self.upload(server, raw, name="Nowhere")).json()["spec"]
        seen = await self.first(server, spec["id"], "getOrder")
        operator = server.http(OPERATOR)
        decision = {"version": seen["version"], "state": "approved"}
        path = f"/api/operations/{seen['id']}/decision"

        refused = await operator.post(path, json=decision)
        wrong = await operator.put(f"/api/specs/{spec['id']}/base-url", json={"base_url": "x"})
        put = await operator.put(
            f"/api/specs/{spec['id']}/base-url", json={"base_url": "http://127.0.0.1:9/"}
        )
        again = (await self.upload(server, raw, name="Nowhere")).json()["spec"]
        approved = await operator.post(path, json=decision)

        assert "base URL" in is_problem(refused, 422, "VAL_INVALID_INPUT")["detail"]
        is_problem(wrong, 422, "VAL_INVALID_INPUT")
        assert put.json()["base_url"] == again["base_url"] == "http://127.0.0.1:9"
        assert approved.status_code == 200

    async def test_operations_come_in_pages(self, server: Server) -> None:
        raw = json.dumps(DOCUMENT).encode()
        spec = (await self.upload(server, raw, name="Paged")).json()["spec"]
        path, keys, after = f"/api/specs/{spec['id']}/operations", [], ""

        while after is not None:
            page = await server.http(LEAD).get(path, params={"after": after, "limit": 2})
            keys += [operation["key"] for operation in page.json()["operations"]]
            after = page.json()["next_after"]

        assert len(keys) == len(set(keys)) == spec["operation_count"]

    async def test_a_document_is_fetched_or_it_is_said_why_not(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with (
                Upstream() as site,
                running(
                    url, smart_support_spec_timeout=0.5, smart_support_spec_max_bytes=20_000
                ) as server,
            ):
                site.queue(
                    answers(DOCUMENT),
                    answers(b"", status=404),
                    answers(b"", status=302, headers={"location": "/"}),
                    answers(b"x" * 30_000),
                    waits(asyncio.Event()),
                )
                operator = server.http(OPERATOR)
                wanted = {"url": f"{site.base_url}/shop.json", "name": "Fetched"}
                got = [await operator.post("/api/specs/from-url", json=wanted) for _ in range(5)]
                nobody = await operator.post(
                    "/api/specs/from-url", json={"url": "http://127.0.0.1:1/"}
                )
                none = await operator.post("/api/specs/from-url", json={"url": "file:///etc/x"})
                large = await self.upload(server, b"x" * 30_000)

        assert got[0].status_code == 201
        for answer, status in zip(got[1:3], ("404", "302"), strict=True):
            assert status in is_problem(answer, 422, "FILE_UNREACHABLE")["detail"]
        is_problem(got[3], 413, "FILE_TOO_LARGE")
        assert "0.5 s" in is_problem(got[4], 422, "FILE_UNREACHABLE")["detail"]
        is_problem(nobody, 422, "FILE_UNREACHABLE")
        is_problem(none, 422, "VAL_INVALID_INPUT")
        is_problem(large, 413, "FILE_TOO_LARGE")

    @pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "[::ffff:127.0.0.2]"])
    async def test_a_document_is_not_fetched_from_where_only_we_can_reach(
        self, server: Server, host: str
    ) -> None:
        async with Upstream() as site:
            port = site.base_url.rpartition(":")[2]
            answer = await server.http(OPERATOR).post(
                "/api/specs/from-url", json={"url": f"http://{host}:{port}/shop.json"}
            )

        is_problem(answer, 422, "FILE_UNREACHABLE")
        assert site.requests == []


@pytest.mark.parametrize("number", [2**63, 2**70, -1])
async def test_a_place_that_no_row_can_have_is_refused(server: Server, number: int) -> None:
    thread = await server.thread()

    replay = await server.http(LEAD).get(f"/api/threads/{thread}/replay", params={"after": number})
    audit = await server.http(OPERATOR).get("/api/audit", params={"before": number})

    assert (replay.status_code, audit.status_code) == (422, 422)
