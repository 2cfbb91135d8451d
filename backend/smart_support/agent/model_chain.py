"""One model that goes on answering while an endpoint does not.

    primary ── fails ──► again, where that may help ──► stand-by ──► …

A model that failed is left alone for a while, so that a dead one is not waited for each time;
then one question goes to it again. Text that was shown before a failure is taken back whole
(`Restarted`): half an answer of one model and half of another is nobody's answer.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from smart_support.agent.model import Message, StreamingChatOpenAI, open_model, stream_reply
from smart_support.agent.model_errors import (
    ModelContextTooLong,
    ModelRateLimited,
    ModelRefused,
)
from smart_support.agent.reply import Reply, Restarted, Switched, Token
from smart_support.errors import ErrorCategory, SupportError
from smart_support.resilience.classify import classify_error
from smart_support.resilience.retry import RetryPolicy, backoff_ceiling
from smart_support.settings import Settings

log = structlog.get_logger()

_MAY_PASS = frozenset({ErrorCategory.RETRYABLE, ErrorCategory.NETWORK, ErrorCategory.TIMEOUT})

_RETRY = RetryPolicy(base_delay=0.5, max_delay=5.0, attempts=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one endpoint is tried, and for how long it is left alone then. Seconds."""

    retry: RetryPolicy = _RETRY
    rest: float = 30.0
    """A model that failed for good is not asked for so long, if there is another."""
    most_rest: float = 600.0
    """The longest rest that an endpoint can ask for with Retry-After."""


@dataclass(slots=True)
class _Member:
    model: StreamingChatOpenAI
    name: str
    rests_until: float = 0.0
    probing: bool = False
    why: str | None = None


class ModelChain:
    """The configured model and those that stand in for it, in this order."""

    def __init__(
        self,
        models: Sequence[StreamingChatOpenAI],
        patience: Patience | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._members = [
            _Member(model, model.model_name if not at else f"{model.model_name} (stand-by {at})")
            for at, model in enumerate(models)
        ]
        self._patience = patience or Patience()
        self._sleep = sleep
        self._monotonic = monotonic
        self._chance = chance

    @property
    def model_name(self) -> str:
        """The name of the configured model."""
        return self._members[0].model.model_name

    @property
    def primary(self) -> StreamingChatOpenAI:
        """The configured model."""
        return self._members[0].model

    @property
    def degraded(self) -> str | None:
        """Why the configured model is left alone at the moment; None if it answers."""
        first = self._members[0]
        return first.why if self._monotonic() < first.rests_until else None

    @property
    def stand_bys(self) -> Sequence[StreamingChatOpenAI]:
        """Those that stand in for the configured model."""
        return [member.model for member in self._members[1:]]

    @property
    def replaced(self) -> str | None:
        """Why a stand-by is asked in place of the configured model; None if none is."""
        return self.degraded if self.stand_bys else None

    async def close(self) -> None:
        """Close every client."""
        for member in self._members:
            await member.model.close()

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> AsyncGenerator[Token | Restarted | Switched | Reply, None]:
        """As `stream_reply`. `Restarted` takes back every Token before it.

        Raises:
            SupportError: the failure of the last model that was asked, one of `model_errors`.
        """
        order = self._order()
        shown = broken_off = False
        for place, member in enumerate(order):
            last = place == len(order) - 1
            failures = 0
            while True:
                try:
                    async with contextlib.aclosing(
                        stream_reply(member.model, messages, tools)
                    ) as pieces:
                        async for piece in pieces:
                            if broken_off:
                                # Not before: if nobody goes on, the beginning is all there is.
                                broken_off = False
                                yield Restarted()
                            shown = shown or isinstance(piece, Token)
                            yield piece
                except (ModelRefused, ModelContextTooLong):
                    member.probing = False
                    raise  # says something of the question, not of the endpoint
                except SupportError as error:
                    failures += 1
                    wait = self._wait(error, failures, alone=last and len(order) == 1)
                    if wait is None:
                        self._rest(member, error)
                        if last:
                            raise
                        log.warning("model_switched", model=member.name, code=error.code)
                        broken_off, shown = broken_off or shown, False
                        yield Switched(member.name, order[place + 1].name, error.code)
                        break
                    log.info("model_retried", model=member.name, code=error.code, wait=wait)
                    broken_off, shown = broken_off or shown, False
                    await self._sleep(wait)
                except BaseException:
                    member.probing = False
                    raise
                else:
                    self._answered(member)
                    return

    def _order(self) -> list[_Member]:
        """Those that may be asked, first those that do not rest; all of them, if all rest."""
        now = self._monotonic()
        ready = []
        for member in self._members:
            if member.rests_until == 0.0:
                ready.append(member)
            elif now >= member.rests_until and not member.probing:
                member.probing = True  # one question finds out whether it is back
                ready.append(member)
        if not ready:
            return list(self._members)
        # A stand-by that rests is still better than no answer.
        return ready + [member for member in self._members if member not in ready]

    def _wait(self, error: SupportError, failures: int, *, alone: bool) -> float | None:
        """Seconds until the same model is asked again; None: it is not."""
        policy = self._patience.retry
        if classify_error(error) not in _MAY_PASS or failures >= policy.attempts:
            return None
        asked = (error.retry_after or 0.0) if isinstance(error, ModelRateLimited) else 0.0
        # Another model answers sooner than one that takes its time to fail, or asks for time.
        if asked > policy.max_delay or (
            not alone and (asked or classify_error(error) is ErrorCategory.TIMEOUT)
        ):
            return None
        return max(self._chance() * backoff_ceiling(failures, policy), asked)

    def _rest(self, member: _Member, error: SupportError) -> None:
        asked = (error.retry_after or 0.0) if isinstance(error, ModelRateLimited) else 0.0
        rest = min(max(self._patience.rest, asked), self._patience.most_rest)
        member.rests_until = self._monotonic() + rest
        member.probing = False
        member.why = error.code

    def _answered(self, member: _Member) -> None:
        if member.rests_until:
            log.info("model_recovered", model=member.name)
        member.rests_until = 0.0
        member.probing = False
        member.why = None


def stand_bys(settings: Settings, *, offline: bool) -> list[StreamingChatOpenAI]:
    """The models that stand in for the configured one; none for the offline model.

    Raises:
        SetupError: there is a stand-by, and no key for it.
    """
    if offline or not (settings.openai_fallback_model or settings.openai_fallback_base_url):
        return []
    other = settings.model_copy(
        update={
            "openai_model": settings.openai_fallback_model or settings.openai_model,
            "openai_base_url": settings.openai_fallback_base_url or settings.openai_base_url,
            "openai_api_key": settings.openai_fallback_api_key or settings.openai_api_key,
        }
    )
    return [open_model(other)]
