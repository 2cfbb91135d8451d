"""What works less well just now, in words; told to every open chat as soon as it changes."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from smart_support.api.parts import Parts
from smart_support.api.sockets import Sockets
from smart_support.telemetry.watch import API, FIRST_MODEL, MODEL

log = structlog.get_logger()

AGAIN_SECONDS = 5.0
"""After how long those that did not take it are told again."""


def degraded_of(parts: Parts) -> list[str]:
    """What does not work just now although messages are taken in, in words for people.

    No names: anybody may ask. Settings → Dependencies has them for those who run it.
    """
    failing = {each.name for each in parts.watch.monitor.failing}
    said = degraded_for_customers(parts)
    if not said and (FIRST_MODEL in failing or parts.model_replaced()):
        said.append("The configured language model does not answer; another stands in for it.")
    if any(name.startswith(API) for name in failing):
        said.append("A system that some answers need does not answer.")
    return said


def degraded_for_customers(parts: Parts) -> list[str]:
    """The part of it that every conversation notices."""
    if any(each.name == MODEL for each in parts.watch.monitor.failing):
        return ["The language model does not answer. A person can be asked to help."]
    return []


class Degradation:
    """Tells the open sockets of this process how it stands, when that changes."""

    def __init__(
        self,
        sockets: Sockets,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sockets = sockets
        self._sleep = sleep
        self._changed = asyncio.Event()

    def notice(self, *_: object) -> None:
        """Something changed that may be worth telling."""
        self._changed.set()

    async def run(self) -> None:
        """Tell, until cancelled. Whoever does not take it in time is told again."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if behind := await self._sockets.tell_degraded():
                log.info("degradation_not_taken", sockets=behind)
                await self._sleep(AGAIN_SECONDS)
                self._changed.set()
