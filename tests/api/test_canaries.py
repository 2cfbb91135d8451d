"""Secrets and personal data, planted everywhere, are found nowhere that leaves the product."""

import io
import json
from typing import Any

import httpx
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr
from tests.support.database import Databases
from tests.support.model_endpoint import calls, fails
from tests.support.server import ADA, OPERATOR, Server, running
from tests.support.turns import ORDER_1, REFUND
from tests.support.upstream import Upstream, answers

from smart_support.telemetry.logs import configure_logs
from smart_support.telemetry.tracing import configure_tracing

SECRETS = {
    "model key": "canary-model-key-1f9a77",
    "metrics token": "canary-metrics-token-3b2c",
    "webhook": "canary-webhook-path-77e0",
    "in a message": "sk-canary0123456789abcdef",
    "in an error": "canary-password-9d81",
}
PERSONAL = {
    "mail": "grace.canary@example.org",
    "phone": "+49 30 7654321",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "argument": "Canary Street 17, Springfield",
}


async def live_through(server: Server) -> None:
    """Say the canaries in messages, arguments, answers and errors, of every kind."""
    await server.import_company()
    said = " ".join([SECRETS["in a message"], *PERSONAL.values()])
    # What an endpoint says of an error is shown to operators, without what has a form.
    theirs = said.replace(PERSONAL["argument"], "")
    refund = (REFUND[0], {**REFUND[1], "body": {"amount": 1, "reason": PERSONAL["argument"]}})
    server.company.queue(
        answers({"error": said, "password": SECRETS["in an error"]}, status=500),
        answers({"customer": said}),
    )
    async with server.chat(ADA) as chat:
        thread = await server.thread(ADA)
        await chat.follow(thread)
        for script in (
            calls(ORDER_1),
            calls(refund),
            fails(400, f"bad request: {theirs}, postgresql://u:{SECRETS['in an error']}@db/x"),
            fails(401, f"Incorrect API key provided: {SECRETS['model key']}"),
            calls(("getOrder", {"order_id": {"no": said}})),
            calls(("noSuchTool", {"a": said})),
        ):
            server.model.queue(script)
            await chat.write(thread, said)
            await chat.turn()
        for frame in ({"type": "send", "text": said}, {"type": said}, {"type": "hello"}):
            await chat.socket.send(json.dumps(frame))
            await chat.only("error")
    await server.settled()
    client = server.http(OPERATOR)
    await client.get(f"/api/threads?query={said}&token={SECRETS['in an error']}")
    await client.post("/api/specs", content=said.encode())
    server.parts.watch.monitor.note(
        "model", ok=False, reason=f"{theirs} https://u:{SECRETS['in an error']}@x/"
    )
    server.parts.watch.alerts.judge()


async def test_are_found_nowhere(databases: Databases, template: str) -> None:
    out, spans = io.StringIO(), InMemorySpanExporter()
    with (
        databases.one(template) as url,
        configure_logs("DEBUG", "json", stream=out),
        configure_tracing(None, exporter=spans),
    ):
        async with Upstream() as pager:
            hook = f"{pager.base_url}/{SECRETS['webhook']}"
            async with running(
                url,
                openai_api_key=SecretStr(SECRETS["model key"]),
                smart_support_metrics_token=SecretStr(SECRETS["metrics token"]),
                smart_support_alert_webhook=SecretStr(hook),
            ) as server:
                await live_through(server)
                told = await pager.received(1)
                left = {
                    "metrics": (await read(server, "/metrics")),
                    "json": (await read(server, "/api/observability/metrics")),
                    "alerts": (await read(server, "/api/observability/alerts")),
                    "health": (await read(server, "/api/health")),
                    "notices": json.dumps([request.body for request in told]),
                }
    left["traces"] = "".join(each.to_json() for each in spans.get_finished_spans())
    left["log"] = out.getvalue()

    assert left["log"].count("\n") > 20
    assert '"code": "MODEL_AUTH"' in left["log"] or '"code":"MODEL_AUTH"' in left["log"]
    found: dict[str, Any] = {
        (where, what): value
        for where, text in left.items()
        for what, value in (SECRETS | PERSONAL).items()
        if value in text
    }
    assert found == {}, [
        line[:300] for line in left["log"].splitlines() if any(v in line for _, v in found.items())
    ]


async def read(server: Server, path: str) -> str:
    answer: httpx.Response = await server.http(OPERATOR).get(path)
    assert answer.status_code == 200
    return answer.text
