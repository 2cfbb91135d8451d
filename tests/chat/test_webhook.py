"""Other systems are told of handoffs: signed, at least once, whatever happens in between."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from tests.support.turns import ADA, LEAD, START, Desk
from tests.support.upstream import Request, Upstream, answers, drops, waits

from smart_support.chat.desk import Desk as SupportDesk
from smart_support.chat.webhook import HandoffWebhook
from smart_support.conversations.outbox_postgres import PostgresOutbox
from smart_support.conversations.postgres import PostgresHandoffs
from smart_support.conversations.tables import webhook_deliveries
from smart_support.resilience.retry import RetryPolicy

SECRET = "a secret of some length"
POLICY = RetryPolicy(base_delay=0.001, max_delay=0.001, attempts=4)


class Hooked:
    """A desk that announces, and a receiver."""

    def __init__(self, desk: Desk, receiver: Upstream, client: httpx.AsyncClient) -> None:
        self.desk = desk
        self.receiver = receiver
        self.client = client
        self.support = SupportDesk(
            PostgresHandoffs(desk.sessions, announce=True), desk.runner.publish
        )

    def webhook(self, timeout: float = 5.0, policy: RetryPolicy = POLICY) -> HandoffWebhook:
        return HandoffWebhook(
            PostgresOutbox(self.desk.sessions),
            self.client,
            f"{self.receiver.base_url}/hook",
            SECRET,
            policy=policy,
            timeout=timeout,
            clock=self.desk.clock,
            chance=lambda: 0.0,
        )

    async def asked(self, note: str = "It is broken") -> None:
        await self.support.ask(self.desk.thread_id, note=note, by="customer")

    async def rows(self) -> list[Any]:
        return await self.desk.rows(webhook_deliveries)

    async def until(self, webhook: HandoffWebhook, delivered: int) -> None:
        """Deliver until so many were taken."""
        async with asyncio.timeout(20):
            while sum(row.delivered_at is not None for row in await self.rows()) < delivered:
                await webhook.deliver_due()
                await asyncio.sleep(0.002)


@pytest.fixture
async def hooked(desk: Desk) -> AsyncIterator[Hooked]:
    async with (
        Upstream() as receiver,
        httpx.AsyncClient(verify=False, trust_env=False) as client,
    ):
        yield Hooked(desk, receiver, client)


def signed(request: Request) -> bool:
    """Whether the signature holds, checked as a receiver does."""
    body = json.dumps(request.body, separators=(",", ":"), ensure_ascii=False).encode()
    headers = request.headers
    content = b".".join(
        (headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body)
    )
    expected = base64.b64encode(hmac.new(SECRET.encode(), content, hashlib.sha256).digest())
    return hmac.compare_digest(headers["webhook-signature"], f"v1,{expected.decode()}")


async def test_tells_each_step_of_a_handoff_signed(hooked: Hooked) -> None:
    await hooked.asked()
    await hooked.support.take_over(LEAD, hooked.desk.thread_id)
    await hooked.support.answer(LEAD, hooked.desk.thread_id, "p1", "Hello")
    await hooked.support.give_back(LEAD, hooked.desk.thread_id, "Be kind")
    await hooked.support.resolve(ADA, hooked.desk.thread_id)

    await hooked.until(hooked.webhook(), 4)

    told = {request.body["type"]: request.body for request in hooked.receiver.requests}
    assert set(told) == {
        "handoff.asked",
        "handoff.taken_over",
        "handoff.given_back",
        "thread.resolved",
    }
    assert told["handoff.asked"]["data"]["note"] == "It is broken"
    assert told["handoff.asked"]["data"]["reason"] == "customer_request"
    assert told["handoff.asked"]["thread_id"] == hooked.desk.thread_id
    assert told["handoff.asked"]["seq"] < told["handoff.taken_over"]["seq"]
    assert all(signed(request) for request in hooked.receiver.requests)
    assert {request.headers["webhook-timestamp"] for request in hooked.receiver.requests} == {
        str(int(START.timestamp()))
    }


async def test_a_receiver_that_fails_hangs_and_recovers_is_told_once_it_listens(
    hooked: Hooked,
) -> None:
    hooked.receiver.queue(
        answers({}, status=500),
        drops(),
        waits(asyncio.Event()),
        answers({}, status=302, headers={"location": "http://127.0.0.1:1/"}),
    )
    await hooked.asked()
    patient = RetryPolicy(base_delay=0.001, max_delay=0.001, attempts=10)

    await hooked.until(hooked.webhook(timeout=0.2, policy=patient), 1)

    requests = hooked.receiver.requests
    assert len(requests) == 5
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    (row,) = await hooked.rows()
    assert (row.attempts, row.last_error) == (5, None)


async def test_what_a_dead_process_was_telling_is_told_by_the_next(hooked: Hooked) -> None:
    await hooked.asked()
    hooked.receiver.queue(waits(asyncio.Event()))
    first = asyncio.create_task(hooked.webhook().deliver_due())
    await hooked.receiver.received(1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = hooked.webhook()
    assert await second.deliver_due() == 0  # until its lease is over it may still be at it
    await _let_leases_end(hooked)

    await hooked.until(second, 1)

    assert len({request.headers["webhook-id"] for request in hooked.receiver.requests}) == 1


async def test_two_processes_do_not_tell_the_same_at_once(hooked: Hooked) -> None:
    await hooked.asked()

    taken = await asyncio.gather(*(hooked.webhook().deliver_due() for _ in range(4)))

    assert sorted(taken) == [0, 0, 0, 1]
    assert len(hooked.receiver.requests) == 1


async def test_is_given_up_at_last_and_kept_to_be_seen(hooked: Hooked) -> None:
    hooked.receiver.queue(*[answers({}, status=500)] * 10)
    await hooked.asked()
    webhook = hooked.webhook()

    async with asyncio.timeout(20):
        while (await hooked.rows())[0].given_up_at is None:
            await webhook.deliver_due()

    assert len(hooked.receiver.requests) == POLICY.attempts
    (row,) = await hooked.rows()
    assert "status 500" in row.last_error


async def test_a_receiver_that_asks_for_time_gets_it(hooked: Hooked) -> None:
    hooked.receiver.queue(answers({}, status=429, headers={"retry-after": "600"}))
    await hooked.asked()
    webhook = hooked.webhook()

    await webhook.deliver_due()

    (row,) = await hooked.rows()
    assert timedelta(seconds=590) < row.due_at - row.created_at < timedelta(seconds=620)
    assert await webhook.deliver_due() == 0


async def test_without_a_webhook_nothing_piles_up(hooked: Hooked) -> None:
    quiet = SupportDesk(PostgresHandoffs(hooked.desk.sessions), hooked.desk.runner.publish)

    await quiet.ask(hooked.desk.thread_id, note="", by="customer")

    assert await hooked.rows() == []


async def _let_leases_end(hooked: Hooked) -> None:
    async with hooked.desk.sessions.begin() as session:
        await session.execute(
            sa.update(webhook_deliveries).values(
                due_at=webhook_deliveries.c.due_at - timedelta(seconds=60)
            )
        )
