"""Other systems are told of handoffs: at least once, signed, however often it takes.

The format is that of Standard Webhooks (standardwebhooks.com): the id is the same at each
attempt, so that a receiver can tell what it has had already.
"""

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import structlog

from smart_support.conversations.outbox_postgres import Delivery, PostgresOutbox
from smart_support.errors import SupportError
from smart_support.resilience.retry import RetryPolicy, backoff_ceiling, retry_after

log = structlog.get_logger()

POLL_SECONDS = 2.0
RETRY = RetryPolicy(base_delay=5.0, max_delay=3_600.0, attempts=24)
"""About a day and a half until it is given up."""

_AT_ONCE = 20
_MOST_ASKED = 6 * 3_600.0  # seconds; the longest wait that a receiver can ask for


class HandoffWebhook:
    """Delivers the outbox to one URL."""

    def __init__(
        self,
        outbox: PostgresOutbox,
        client: httpx.AsyncClient,
        url: str,
        secret: str,
        *,
        policy: RetryPolicy = RETRY,
        timeout: float = 10.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`timeout` in seconds, for one attempt in all."""
        self._outbox = outbox
        self._client = client
        self._url = url
        self._secret = secret
        self._policy = policy
        self._timeout = timeout
        self._clock = clock
        self._chance = chance

    async def run(
        self, every: float = POLL_SECONDS, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Deliver what is due, every so many seconds, until cancelled."""
        while True:
            try:
                while await self.deliver_due() == _AT_ONCE:
                    pass
            except SupportError as error:
                log.warning("webhook_outbox_unavailable", code=error.code)
            except Exception:
                log.exception("webhook_crashed")
            await sleep(every)

    async def deliver_due(self) -> int:
        """Try once to deliver each of the next that are due; how many there were."""
        lease = timedelta(seconds=self._timeout * 3)
        due = await self._outbox.claim(_AT_ONCE, lease)
        await asyncio.gather(*(self._deliver(each) for each in due))
        return len(due)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._post(delivery)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            await self._failed(delivery, error)
        else:
            await self._outbox.delivered(delivery.id)

    async def _post(self, delivery: Delivery) -> None:
        body = orjson.dumps({"type": delivery.type, **delivery.payload})
        timestamp = str(int(self._clock().timestamp()))
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(self._secret, delivery.id, timestamp, body),
        }
        request = self._client.build_request("POST", self._url, content=body, headers=headers)
        response = await self._client.send(request, stream=True)
        await response.aclose()  # what it says besides its status is not of interest
        if not response.is_success:
            raise httpx.HTTPStatusError(
                f"status {response.status_code}", request=request, response=response
            )

    async def _failed(self, delivery: Delivery, error: Exception) -> None:
        words = f"{type(error).__name__}: {error}"[:300]
        again_in = None
        if delivery.attempts < self._policy.attempts:
            asked = min(retry_after(error) or 0.0, _MOST_ASKED)
            # At least half of the ceiling: here nobody waits, and a dead receiver has time.
            share = 0.5 + self._chance() / 2
            wait = max(backoff_ceiling(delivery.attempts, self._policy) * share, asked)
            again_in = timedelta(seconds=wait)
            log.warning("webhook_failed", delivery=delivery.id, error=words, again_in=wait)
        else:
            log.error("webhook_given_up", delivery=delivery.id, error=words)
        await self._outbox.failed(delivery.id, words, again_in=again_in)


def signature(secret: str, id_: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256, in base64, of id, timestamp and body, joined by full stops."""
    signed = b".".join((id_.encode(), timestamp.encode(), body))
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
