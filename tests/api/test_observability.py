"""Metrics, alerts, debug mode and health, over the product's own HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from tests.support.database import Databases
from tests.support.model_endpoint import ModelEndpoint, calls, fails
from tests.support.server import ADA, LEAD, OPERATOR, Server, echo, running
from tests.support.turns import ORDER_1, REFUND
from tests.support.upstream import answers

from smart_support.agent.model_errors import ModelAuth, ModelUnavailable
from smart_support.app.parts import Seams
from smart_support.telemetry.debug import DEBUG

TOKEN = "the scrape token of this test"


@pytest.fixture(scope="module")
async def watched(databases: Databases, template: str) -> AsyncIterator[Server]:
    with databases.one(template) as url:
        async with running(url, smart_support_metrics_token=SecretStr(TOKEN)) as server:
            await server.import_company()
            yield server


async def scraped(server: Server) -> dict[tuple[str, tuple[str, ...]], float]:
    answer = await server.http().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    return {
        (sample.name.removeprefix("smart_support_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


class TestMetrics:
    async def test_are_for_operators_and_for_who_has_the_token(self, watched: Server) -> None:
        statuses = [
            (await watched.http(person).get("/metrics")).status_code
            for person in (None, ADA, LEAD, OPERATOR)
        ]
        wrong = await watched.http().get("/metrics", headers={"Authorization": "Bearer no"})

        assert statuses == [401, 403, 403, 200]
        assert wrong.status_code == 401
        assert await scraped(watched)

    async def test_count_what_happens_in_a_conversation(self, watched: Server) -> None:
        before = await scraped(watched)

        def grown(name: str, *labels: str) -> float:
            return after[name, labels] - before.get((name, labels), 0.0)

        watched.model.queue(calls(ORDER_1))
        watched.company.queue(answers({}, status=503), answers({"id": "1"}))
        async with watched.chat(ADA) as chat:
            thread = await watched.thread(ADA)
            await chat.follow(thread)
            await chat.write(thread, "Where is order 1?")
            await chat.turn()
            await chat.send("cancel", thread_id="nonsense")
            await chat.only("error")
            after = await scraped(watched)
            assert after["sockets", ()] >= 1
        await watched.settled()
        after = await scraped(watched)

        operation = "GET /orders/{order_id}"
        assert grown("messages_total", "to_agent") == 1
        assert grown("turns_total", "done") == 1
        assert grown("turn_seconds_count") == 1
        assert grown("first_token_seconds_count") == 1
        assert grown("model_calls_total") == 2
        assert grown("model_tokens_total", "input") > 0
        assert grown("tool_calls_total", operation, "done") == 1
        assert grown("tool_attempts_total", operation, "rejected") == 1
        assert grown("tool_attempts_total", operation, "done") == 1
        assert grown("tool_retries_total", operation) == 1
        assert grown("errors_total", "VAL_INVALID_INPUT", "socket", "low") == 1
        assert grown("error_handling_seconds_count") >= 1
        assert after["db_pool_size", ()] > 0
        assert {("process_memory_bytes", ()), ("disk_percent", ())} <= after.keys()

    async def test_count_questions_and_their_answers(self, watched: Server) -> None:
        before = await scraped(watched)
        watched.model.queue(calls(REFUND))
        async with watched.chat(ADA) as chat:
            thread = await watched.thread(ADA)
            await chat.follow(thread)
            await chat.write(thread, "A refund, please.")
            frames = await chat.turn()
            asked = next(
                frame["event"]["value"]
                for frame in frames
                if frame.get("event", {}).get("name") == "approval_asked"
            )
            await chat.send("decide", approval_id=asked["approval_id"], decision="reject")
            await chat.turn()
        await watched.settled()
        after = await scraped(watched)

        for decision in ("asked", "rejected"):
            key = ("approvals_total", (decision,))
            assert after[key] - before.get(key, 0.0) == 1
        assert after["approval_seconds_count", ()] - before["approval_seconds_count", ()] == 1

    async def test_have_no_label_from_what_somebody_sent(self, watched: Server) -> None:
        strange = "s7r4nge"
        for path in (f"/api/{strange}", f"/api/threads/{strange}", f"/api/threads?query={strange}"):
            await watched.http(LEAD).get(path, headers={"X-Correlation-Id": strange})
        async with watched.chat(ADA) as chat:
            await chat.send(strange)
            await chat.only("error")

        answer = await watched.http(OPERATOR).get("/metrics")

        assert strange not in answer.text

    async def test_are_exported_as_json(self, watched: Server) -> None:
        answer = await watched.http(OPERATOR).get("/api/observability/metrics")

        names = {family["name"] for family in answer.json()}
        assert {"smart_support_turns", "smart_support_errors", "smart_support_sockets"} <= names


class TestHealth:
    async def test_is_alive_as_long_as_it_answers(self, watched: Server) -> None:
        answer = await watched.http().get("/api/health/live")

        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})

    async def test_says_at_once_when_the_model_is_gone_and_when_it_is_back(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat(ADA) as chat:
                thread = await server.thread(ADA)
                await chat.follow(thread)
                server.model.queue(fails(401))
                await chat.write(thread, "Anybody there?")
                failed = (await chat.turn())[-1]["event"]
                await server.settled()
                await server.parts.errors.idle()
                health = (await server.http().get("/api/health")).json()
                async with server.chat(ADA) as second:
                    ready = second.frames[0]["ready"]
                await chat.write(thread, "And now?")
                await chat.turn()
                await server.settled()
                again = (await server.http().get("/api/health")).json()

        assert failed["code"] == ModelAuth.code
        assert failed["metadata"]["action"] == "hand_off"
        assert (health["status"], again["status"]) == ("ready", "ready")
        assert len(health["degraded"]) == len(ready["degraded"]) == 1
        assert "person" in health["degraded"][0]
        assert again["degraded"] == []

    async def test_says_that_the_model_is_gone_once_no_further_attempt_helps(
        self, databases: Databases, template: str
    ) -> None:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await asyncio.sleep(0)

        seams = Seams(offline_token_delay=0.0, model_sleep=sleep)
        with databases.one(template) as url:
            async with running(url, seams=seams) as server, server.chat(ADA) as chat:
                thread = await server.thread(ADA)
                await chat.follow(thread)

                async def written(text: str) -> tuple[dict[str, Any], list[str]]:
                    await chat.write(thread, text)
                    end = (await chat.turn())[-1]["event"]
                    await server.settled()
                    await server.parts.errors.idle()
                    return end, (await server.http().get("/api/health")).json()["degraded"]

                server.model.queue(fails(500))
                once = await written("Anybody there?")
                server.model.queue(*[fails(500)] * 3)
                stays = await written("Still there?")
                async with server.chat(ADA) as second:
                    ready = second.frames[0]["ready"]
                again = await written("And now?")

        assert (once[0]["type"], once[1]) == ("RUN_FINISHED", [])
        assert (stays[0]["type"], stays[0]["code"]) == ("RUN_ERROR", ModelUnavailable.code)
        assert stays[0]["metadata"]["action"] == "hand_off"
        assert ready["degraded"] == stays[1]
        assert len(stays[1]) == 1
        assert "person" in stays[1][0]
        assert (again[0]["type"], again[1]) == ("RUN_FINISHED", [])
        assert len(waits) == 3  # one for the first message, two for the second

    async def test_says_that_a_stand_by_answers_and_tells_customers_nothing_of_it(
        self, databases: Databases, template: str
    ) -> None:
        async with ModelEndpoint(respond=echo) as other:
            with databases.one(template) as url:
                async with running(
                    url,
                    openai_fallback_base_url=other.base_url,
                    openai_fallback_api_key=SecretStr("sk-other"),
                ) as server:
                    before = (await server.http().get("/api/health")).json()
                    server.model.queue(fails(401))
                    async with server.chat(ADA) as chat:
                        thread = await server.thread(ADA)
                        await chat.follow(thread)
                        await chat.write(thread, "Anybody there?")
                        end = (await chat.turn())[-1]["event"]
                    await server.settled()
                    after = (await server.http().get("/api/health")).json()
                    settings = await server.http(OPERATOR).get("/api/health/details")
                    async with server.chat(ADA) as second:
                        ready = second.frames[0]["ready"]

        assert (before["degraded"], end["type"]) == ([], "RUN_FINISHED")
        assert len(after["degraded"]) == 1
        assert "another stands in" in after["degraded"][0]
        (model,) = [each for each in settings.json()["dependencies"] if each["kind"] == "model"]
        assert (model["status"], model["reason"]) == (
            "failing",
            "It failed with MODEL_AUTH; a stand-by answers in its place.",
        )
        assert ready["degraded"] == []

    @pytest.mark.parametrize("stand_by", ["there", "gone"])
    async def test_looks_at_the_configured_model_and_at_those_that_stand_in(
        self, databases: Databases, template: str, stand_by: str
    ) -> None:
        async with ModelEndpoint() as dead:
            gone = dead.base_url
        async with ModelEndpoint(respond=echo) as other:
            with databases.one(template) as url:
                async with running(
                    url,
                    openai_base_url=gone,
                    openai_fallback_base_url=other.base_url if stand_by == "there" else gone,
                ) as server:
                    watch = server.parts.watch
                    await watch.monitor.look()
                    watch.alerts.judge()
                    firing = {alert.key for alert in watch.alerts.firing}
                    health = (await server.http().get("/api/health")).json()

        down = {key for key in firing if key.endswith("model")}
        if stand_by == "there":
            assert down == {"service_unavailable/configured model"}
            assert "another stands in" in health["degraded"][0]
        else:
            assert down == {
                "service_unavailable/configured model",
                "service_unavailable/model",
            }
            assert "person" in health["degraded"][0]
        assert len(health["degraded"]) == 1


class TestImportedApis:
    async def test_are_watched_by_the_look_of_the_settings_page(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server:
                await server.import_company("Shop")
                watch = server.parts.watch

                async def looked() -> tuple[list[str], list[str], list[str]]:
                    await watch.monitor.look()
                    watch.alerts.judge()
                    health = (await server.http().get("/api/health")).json()
                    async with server.chat(ADA) as chat:
                        ready = chat.frames[0]["ready"]
                    firing = [alert.key for alert in watch.alerts.firing]
                    return health["degraded"], ready["degraded"], firing

                good = await looked()
                server.company.queue(answers({}, status=503))
                bad = await looked()
                reason = watch.monitor.standing["API Shop"].reason
                again = await looked()
                (ended,) = [each for each in watch.alerts.history if each.state == "recovered"]
                sent = server.company.sent("HEAD")

        key = "service_unavailable/API Shop"
        assert good[0] == good[1] == []
        assert key not in good[2]
        assert (len(bad[0]), bad[1]) == (1, [])
        assert "Shop" not in bad[0][0]  # anybody may read it
        assert (key in bad[2], reason) == (True, "It answered 503.")
        assert (again[0], key in again[2], ended.key) == ([], False, key)
        assert len(sent) == len(server.company.requests) == 3
        assert not {"authorization", "cookie"} & {name.lower() for name in sent[0].headers}


class TestAlerts:
    async def test_are_shown_while_they_hold_and_afterwards(self, watched: Server) -> None:
        watch = watched.parts.watch
        watch.monitor.note("shop", ok=False, reason="gone")
        watch.alerts.judge()
        holding = (await watched.http(OPERATOR).get("/api/observability/alerts")).json()
        watch.monitor.note("shop", ok=True)
        watch.alerts.judge()
        over = (await watched.http(OPERATOR).get("/api/observability/alerts")).json()

        assert "service_unavailable/shop" in {alert["key"] for alert in holding["firing"]}
        assert "service_unavailable/shop" not in {alert["key"] for alert in over["firing"]}
        assert over["history"][0]["state"] == "recovered"
        assert over["mean_seconds_to_recovery"] is not None


class TestDebug:
    async def test_is_switched_for_a_thread_and_off_again(self, watched: Server) -> None:
        operator = watched.http(OPERATOR)
        body: dict[str, Any] = {"whole": False, "threads": ["t1"], "seconds": 60}
        try:
            on = await operator.put("/api/observability/debug", json=body)
            assert DEBUG.covers("t1")
            assert not DEBUG.covers("t2")
            off = await operator.put("/api/observability/debug", json=body | {"seconds": 0})
        finally:
            DEBUG.switch(whole=False)

        assert (on.json()["threads"], on.json()["whole"]) == (["t1"], False)
        assert 0 < on.json()["seconds"] <= 60
        assert off.json() == {"whole": False, "threads": [], "seconds": 0.0}

    async def test_ends_with_the_service_that_it_was_switched_on_in(
        self, migrated_database: Callable[[], str]
    ) -> None:
        body = {"whole": True, "threads": [], "seconds": 60}
        async with running(migrated_database()) as server:
            await server.http(OPERATOR).put("/api/observability/debug", json=body)
            meanwhile = DEBUG.whole

        assert meanwhile
        assert not DEBUG.whole

    async def test_has_limits(self, watched: Server) -> None:
        for body in (
            {"whole": True, "threads": [], "seconds": 1e9},
            {"whole": False, "threads": ["t"] * 101, "seconds": 5},
            {"threads": []},
        ):
            answer = await watched.http(OPERATOR).put("/api/observability/debug", json=body)
            assert answer.status_code == 422, json.dumps(body)
