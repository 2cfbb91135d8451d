"""Who is told of an alert: over real HTTP and real SMTP on loopback, and whatever they do."""

import asyncio
import email
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from aiosmtpd.smtp import SMTP
from tests.support.server import settings_of
from tests.support.upstream import Upstream, answers, waits

from smart_support.errors import SetupError, Severity
from smart_support.telemetry import metrics, receivers
from smart_support.telemetry.alerts import Notice
from smart_support.telemetry.receivers import MOST_WAITING, Outbox, opened
from smart_support.telemetry.watch import outboxes_of

AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
FIRING = Notice(
    key="service_unavailable/model",
    rule="service_unavailable",
    state="firing",
    severity=Severity.CRITICAL,
    summary="model <!channel> is not available.",
    value=1.0,
    threshold=0.0,
    began_at=AT,
    at=AT,
    source="here:1",
)
OVER = replace(FIRING, state="recovered", summary="Over: model is not available.")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as opened_client:
        yield opened_client


def sent(name: str, outcome: str) -> float:
    labels = (("outcome", outcome), ("receiver", name))
    return metrics.snapshot().get(("smart_support_alert_notices_total", labels), 0.0)


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


async def told(send: receivers.Send, *notices: Notice, name: str = "test") -> None:
    outbox = Outbox(name, send, sleep=no_pause)
    async with outbox.running():
        for notice in notices:
            outbox.tell(notice)
        await outbox.idle()


async def test_a_webhook_gets_json(client: httpx.AsyncClient) -> None:
    async with Upstream() as server:
        await told(receivers.webhook(client, f"{server.base_url}/alerts"), FIRING, OVER)

    first, second = (request.body for request in server.requests)
    assert first == {
        "summary": FIRING.summary,
        "state": "firing",
        "rule": "service_unavailable",
        "severity": "critical",
        "value": 1.0,
        "threshold": 0.0,
        "began_at": "2026-03-01T09:00:00+00:00",
        "at": "2026-03-01T09:00:00+00:00",
        "source": "here:1",
        "key": "service_unavailable/model",
    }
    assert (second["state"], second["key"]) == ("recovered", first["key"])


async def test_slack_gets_a_text_that_mentions_nobody(client: httpx.AsyncClient) -> None:
    async with Upstream() as server:
        await told(receivers.slack(client, f"{server.base_url}/services/T/B/x"), FIRING)

    text = server.requests[0].body["text"]
    assert "*service_unavailable* (critical) model &lt;!channel&gt; is not" in text


async def test_pagerduty_gets_an_incident_and_its_end(client: httpx.AsyncClient) -> None:
    async with Upstream() as server:
        send = receivers.pagerduty(client, f"{server.base_url}/v2/enqueue", "key-1")
        await told(send, FIRING, OVER)

    trigger, resolve = (request.body for request in server.requests)
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"] == "here:1/service_unavailable/model"
    assert trigger["routing_key"] == "key-1"
    assert trigger["payload"]["severity"] == "critical"
    assert trigger["payload"]["summary"] == FIRING.summary
    assert "payload" not in resolve


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return "250 OK"


async def test_people_get_a_mail_through_a_real_server() -> None:
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        send = receivers.email(
            f"smtp://127.0.0.1:{port}", sender="desk@example.org", to=["a@x.org", "b@x.org"]
        )
        await told(send, FIRING)

    (envelope,) = mailbox.mails
    mail = email.message_from_bytes(envelope.content)
    assert envelope.rcpt_tos == ["a@x.org", "b@x.org"]
    assert mail["Subject"] == "[firing] service_unavailable on here:1"
    assert "summary: model <!channel> is not available." in mail.get_payload()


async def test_one_that_refuses_is_tried_three_times(client: httpx.AsyncClient) -> None:
    before = sent("refusing", "failed"), sent("refusing", "sent")
    async with Upstream() as server:
        server.queue(*(answers({}, status=500) for _ in range(5)))
        await told(receivers.webhook(client, server.base_url), FIRING, FIRING, name="refusing")

    assert len(server.requests) == 6
    assert sent("refusing", "failed") == before[0] + 1
    assert sent("refusing", "sent") == before[1] + 1  # the sixth answer is an OK


async def test_one_that_hangs_hurts_nobody(client: httpx.AsyncClient) -> None:
    before = sent("hanging", "failed"), sent("fine", "sent")
    async with Upstream() as hanging, Upstream() as fine:
        hanging.queue(*(waits(asyncio.Event()) for _ in range(9)))
        slow = Outbox(
            "hanging", receivers.webhook(client, hanging.base_url), seconds=0.05, sleep=no_pause
        )
        quick = Outbox("fine", receivers.webhook(client, fine.base_url), sleep=no_pause)
        async with opened([slow, quick]):
            for outbox in (slow, quick):
                outbox.tell(FIRING)
            await quick.idle()
            assert sent("fine", "sent") == before[1] + 1
            assert sent("hanging", "failed") == before[0]  # it hangs still
            await slow.idle()
            assert sent("hanging", "failed") == before[0] + 1

    assert [each for each in asyncio.all_tasks() if "alerts to" in each.get_name()] == []


async def test_one_that_hangs_for_ever_does_not_hold_up_the_end(client: httpx.AsyncClient) -> None:
    async with Upstream() as server:
        server.queue(waits(asyncio.Event()))
        outbox = Outbox("endless", receivers.webhook(client, server.base_url))
        async with outbox.running():
            outbox.tell(FIRING)
            await server.received(1)

    assert sent("endless", "sent") == 0


async def test_too_many_notices_are_dropped_and_counted() -> None:
    outbox = Outbox("flooded", lambda _: asyncio.Event().wait())  # type: ignore[arg-type,return-value]

    for _ in range(MOST_WAITING + 3):
        outbox.tell(FIRING)

    assert sent("flooded", "dropped") == 3


async def test_an_address_with_a_secret_is_not_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[Any] = []
        keep = staticmethod(lambda *a, **k: lines.append((a, k)))
        patch.setattr(receivers, "log", type("Log", (), {"warning": keep, "error": keep}))
        await told(receivers.webhook(client, "http://127.0.0.1:1/services/s3cr3t"), FIRING)

    assert [event for (event,), _ in lines] == ["alert_not_sent"] * 3 + ["alert_given_up"]
    assert "s3cr3t" not in json.dumps([fields for _, fields in lines])


@pytest.mark.parametrize("server", ["mail.test", "http://mail.test", "smtp://", "smtp:hunter2"])
def test_a_mail_server_that_is_none_stops_the_start(server: str) -> None:
    with pytest.raises(SetupError, match="SMART_SUPPORT_ALERT_SMTP") as refusal:
        receivers.email(server, sender="a@x", to=["b@x"])

    assert "hunter2" not in str(refusal.value)


async def test_the_settings_say_who_is_told(client: httpx.AsyncClient) -> None:
    assert outboxes_of(settings_of(), client) == []

    found = outboxes_of(
        settings_of(
            smart_support_alert_webhook="https://hook.test/x",
            smart_support_alert_slack="https://hooks.test/y",
            smart_support_alert_pagerduty_key="k",
            smart_support_alert_smtp="smtp://mail.test",
            smart_support_alert_email_to="a@x.org, b@x.org",
        ),
        client,
    )

    assert [outbox._name for outbox in found] == ["webhook", "slack", "pagerduty", "email"]
