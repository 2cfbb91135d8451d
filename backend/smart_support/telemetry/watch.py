"""Monitor and alerts put together, as the settings say, for as long as the program runs."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import httpx
from prometheus_client import Gauge
from pydantic import SecretStr

from smart_support.errors import SupportError
from smart_support.settings import Settings
from smart_support.telemetry import receivers
from smart_support.telemetry.alerts import Alerts, Limits
from smart_support.telemetry.handler import ErrorContext
from smart_support.telemetry.monitor import Looks, Monitor
from smart_support.telemetry.receivers import Outbox
from smart_support.telemetry.redaction import SECRETS

DATABASE = "database"
MODEL = "model"
"""Well if any of the models is."""
FIRST_MODEL = "configured model"
"""Looked at by itself where others stand in for it."""
MODEL_HOLDS_SECONDS = 60.0
"""For how long a question that failed counts for more than that the endpoint is there."""
API = "API "
"""Begins the name of each imported API, so that none can be called as one of the above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What watches over the running program."""

    monitor: Monitor
    alerts: Alerts

    async def degrade(self, error: SupportError, _context: ErrorContext) -> None:
        """A recovery for errors of the model or the database: note it before the next look does.

        That an endpoint lists its models does not say that it answers, so the look at it does not
        take this back at once. An answer does.
        """
        if error.code.startswith("DB_"):
            self.monitor.note(DATABASE, ok=False, reason=error.code)
        else:
            self.monitor.note(MODEL, ok=False, reason=error.code, holds=MODEL_HOLDS_SECONDS)

    def hear_model(self, ok: bool, why: str | None) -> None:  # noqa: FBT001 - as it is carried
        """Note of the model what another process has found."""
        self.monitor.note(MODEL, ok=ok, reason=why, holds=0.0 if ok else MODEL_HOLDS_SECONDS)

    def model_answered(self) -> None:
        """Note that the model works: a turn was answered."""
        self.monitor.note(MODEL, ok=True)


@asynccontextmanager
async def open_watch(
    settings: Settings,
    client: httpx.AsyncClient,
    *,
    looks: Looks,
    more: Callable[[], Awaitable[Looks]],
    gauges: Sequence[tuple[Gauge, Callable[[], float]]],
    counts: Sequence[tuple[Gauge, Callable[[], Awaitable[float]]]],
    notes: Sequence[Callable[[], None]] = (),
    clock: Callable[[], datetime],
) -> AsyncIterator[Watch]:
    """Watch inside the block. `client` sends the alerts that go by HTTP.

    Raises:
        SetupError: a receiver is not set as it must be.
    """
    monitor = Monitor(
        looks=looks,
        more=more,
        folder=_existing(settings),
        gauges=gauges,
        counts=counts,
        notes=notes,
        clock=clock,
    )
    outboxes = outboxes_of(settings, client)
    alerts = Alerts(limits_of(settings), outboxes, source=process_name(), clock=clock)
    async with receivers.opened(outboxes):
        every = settings.smart_support_monitor_interval
        task = asyncio.create_task(monitor.run(every, alerts.judge), name="monitor")
        try:
            yield Watch(monitor=monitor, alerts=alerts)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def process_name() -> str:
    """How people know this process from others."""
    return f"{socket.gethostname()}:{os.getpid()}"


def limits_of(settings: Settings) -> Limits:
    """What the alert rules go by."""
    return Limits(
        window=settings.smart_support_alert_window,
        error_rate=settings.smart_support_alert_error_rate,
        slow_turn=settings.smart_support_alert_slow_turn,
        slow_share=settings.smart_support_alert_slow_share,
        resource_use=settings.smart_support_alert_resource_use,
        repeat=settings.smart_support_alert_repeat,
    )


def outboxes_of(settings: Settings, client: httpx.AsyncClient) -> Sequence[Outbox]:
    """Everybody who is to be told. The log is told by the alerts themselves.

    Raises:
        SetupError: the address of a mail server is none.
    """
    found = []
    if (url := settings.smart_support_alert_webhook) is not None:
        found.append(Outbox("webhook", receivers.webhook(client, url.get_secret_value())))
    if (url := settings.smart_support_alert_slack) is not None:
        found.append(Outbox("slack", receivers.slack(client, url.get_secret_value())))
    if (key := settings.smart_support_alert_pagerduty_key) is not None:
        address = settings.smart_support_alert_pagerduty_url
        send = receivers.pagerduty(client, address, key.get_secret_value())
        found.append(Outbox("pagerduty", send))
    smtp, to = settings.smart_support_alert_smtp, settings.smart_support_alert_email_to
    if smtp is not None and to:
        send = receivers.email(
            smtp.get_secret_value(),
            sender=settings.smart_support_alert_email_from,
            to=[each.strip() for each in to.split(",") if each.strip()],
        )
        found.append(Outbox("email", send))
    return found


def hide_secrets_of(settings: Settings) -> None:
    """Let no log line, alert or span show a secret of these settings, in whatever sentence."""
    for name in type(settings).model_fields:
        value = getattr(settings, name, None)
        if isinstance(value, SecretStr):
            SECRETS.add(value)
            with contextlib.suppress(ValueError):  # no address, or one that cannot be read
                SECRETS.add(urlsplit(value.get_secret_value()).password)


def _existing(settings: Settings) -> "os.PathLike[str]":
    folder = settings.smart_support_data_dir.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())
