"""Who can be told of an alert: a webhook, Slack, PagerDuty, or people by e-mail.

Each has a queue and a task of its own and a limit of time: one that hangs hurts nobody, not even
the others.
"""

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import structlog

from smart_support.errors import SetupError, Severity
from smart_support.telemetry import metrics
from smart_support.telemetry.alerts import Notice

log = structlog.get_logger()

MOST_WAITING = 100
SEND_SECONDS = 10.0
TRIES = 3
PAUSE = 2.0

Send = Callable[[Notice], Awaitable[None]]


class Outbox:
    """Tells one receiver, one notice after the other; what it cannot tell is counted and logged."""

    def __init__(
        self,
        name: str,
        send: Send,
        *,
        seconds: float = SEND_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._send = send
        self._seconds = seconds
        self._sleep = sleep
        self._waiting: asyncio.Queue[Notice] = asyncio.Queue(MOST_WAITING)

    def tell(self, notice: Notice) -> None:
        try:
            self._waiting.put_nowait(notice)
        except asyncio.QueueFull:
            self._count("dropped")

    async def idle(self) -> None:
        """Wait until every notice is told or given up."""
        await self._waiting.join()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell inside the block."""
        task = asyncio.create_task(self._run(), name=f"alerts to {self._name}")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            notice = await self._waiting.get()
            try:
                await self._deliver(notice)
            finally:
                self._waiting.task_done()

    async def _deliver(self, notice: Notice) -> None:
        for number in range(1, TRIES + 1):
            try:
                async with asyncio.timeout(self._seconds):
                    await self._send(notice)
            except Exception as error:  # noqa: BLE001 - a library of its own may raise anything
                # Its text may hold the address, which may hold a secret.
                log.warning(
                    "alert_not_sent",
                    receiver=self._name,
                    attempt=number,
                    error=type(error).__name__,
                )
            else:
                self._count("sent")
                return
            if number < TRIES:
                await self._sleep(PAUSE * number)
        self._count("failed")
        # Not lost: whoever reads the log learns what this receiver did not.
        log.error(
            "alert_given_up",
            receiver=self._name,
            rule=notice.rule,
            key=notice.key,
            state=notice.state,
            summary=notice.summary,
        )

    def _count(self, outcome: str) -> None:
        metrics.ALERTS_SENT.labels(self._name, outcome).inc()


@asynccontextmanager
async def opened(outboxes: Sequence[Outbox]) -> AsyncIterator[None]:
    """Run all of them inside the block."""
    async with AsyncExitStack() as stack:
        for outbox in outboxes:
            await stack.enter_async_context(outbox.running())
        yield


def webhook(client: httpx.AsyncClient, url: str) -> Send:
    """POSTs each notice as JSON to `url`."""

    async def send(notice: Notice) -> None:
        await _post(client, url, plain(notice))

    return send


def slack(client: httpx.AsyncClient, url: str) -> Send:
    """POSTs a text to an incoming webhook of Slack, or of what takes the same (Mattermost)."""

    async def send(notice: Notice) -> None:
        mark = ":white_check_mark:" if notice.state == "recovered" else ":rotating_light:"
        text = f"{mark} *{notice.rule}* ({notice.severity.value}) {_escaped(notice.summary)}"
        await _post(client, url, {"text": f"{text}\n{_escaped(notice.source)}"})

    return send


_PAGERDUTY = {
    Severity.LOW: "info",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "critical",
}


def pagerduty(client: httpx.AsyncClient, url: str, routing_key: str) -> Send:
    """Triggers and resolves incidents by PagerDuty's Events API, version 2."""

    async def send(notice: Notice) -> None:
        recovered = notice.state == "recovered"
        event: dict[str, Any] = {
            "routing_key": routing_key,
            "event_action": "resolve" if recovered else "trigger",
            "dedup_key": f"{notice.source}/{notice.key}"[:255],
        }
        if not recovered:
            event["payload"] = {
                "summary": notice.summary[:1024],
                "source": notice.source,
                "severity": _PAGERDUTY[notice.severity],
                "timestamp": notice.at.isoformat(),
                "custom_details": {
                    "rule": notice.rule,
                    "value": notice.value,
                    "threshold": notice.threshold,
                },
            }
        await _post(client, url, event)

    return send


def email(server: str, *, sender: str, to: Sequence[str], seconds: float = SEND_SECONDS) -> Send:
    """Writes to people through the SMTP server at `server`.

    `server`: smtp://[user:password@]host[:port], with STARTTLS where a user is given or the
    server offers it; smtps:// speaks TLS from the beginning. Whose certificate cannot be checked
    gets neither password nor mail; of an authority of one's own, SSL_CERT_FILE names the file.

    Raises:
        SetupError: `server` is no such address.
    """
    parts = urlsplit(server)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        # The text must not repeat the address: it may hold a password.
        raise SetupError(
            "SMART_SUPPORT_ALERT_SMTP must be smtp://[user:password@]host[:port] or smtps://…"
        )
    host, port = parts.hostname, parts.port or (465 if parts.scheme == "smtps" else 25)

    def write(message: EmailMessage) -> None:
        context = ssl.create_default_context()
        session: smtplib.SMTP
        if parts.scheme == "smtps":
            session = smtplib.SMTP_SSL(host, port, timeout=seconds, context=context)
        else:
            session = smtplib.SMTP(host, port, timeout=seconds)
        with session:
            session.ehlo()
            if parts.scheme == "smtp" and (parts.username or session.has_extn("starttls")):
                session.starttls(context=context)
            if parts.username:
                session.login(unquote(parts.username), unquote(parts.password or ""))
            session.send_message(message)

    async def send(notice: Notice) -> None:
        message = EmailMessage()
        message["From"], message["To"] = sender, ", ".join(to)
        message["Subject"] = f"[{notice.state}] {notice.rule} on {notice.source}"
        message["Date"] = format_datetime(notice.at)
        message.set_content("".join(f"{name}: {value}\n" for name, value in plain(notice).items()))
        await asyncio.to_thread(write, message)

    return send


def plain(notice: Notice) -> Mapping[str, Any]:
    """The notice as plain data."""
    return {
        "summary": notice.summary,
        "state": notice.state,
        "rule": notice.rule,
        "severity": notice.severity.value,
        "value": notice.value,
        "threshold": notice.threshold,
        "began_at": notice.began_at.isoformat(),
        "at": notice.at.isoformat(),
        "source": notice.source,
        "key": notice.key,
    }


async def _post(client: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> None:
    async with client.stream("POST", url, json=dict(body)) as answer:  # its body is not read
        answer.raise_for_status()


def _escaped(text: str) -> str:
    """What Slack would take for a mention or a link is text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
