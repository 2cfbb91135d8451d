"""The attempts of one call, as the ledger keeps them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from smart_support.ledger.records import Attempt
from smart_support.resilience.records import AttemptReport


class Recorder:
    """Notes every attempt of one call, with its times, as it ends."""

    def __init__(
        self,
        request: httpx.Request,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.attempts: list[Attempt] = []
        self._line = f"{request.method} {request.url.copy_with(query=None)}"
        self._began = (clock(), monotonic())

    def __call__(self, report: AttemptReport) -> None:
        began_at, began = self._began
        category = "cancelled" if report.cancelled else None
        if report.category is not None:
            category = report.category.value
        self.attempts.append(
            Attempt(
                number=len(self.attempts) + 1,
                started_at=began_at + timedelta(seconds=report.started - began),
                duration_ms=round(report.duration_s * 1000, 3),
                waited_ms=round(report.waited_s * 1000, 3),
                request=self._line,
                status=report.status,
                category=category,
                outcome=report.outcome,
                error=None if report.error is None else _for_operators(report.error),
            )
        )

    def surely_without_effect(self) -> bool:
        """Whether every attempt, that which was stopped too, is known to have changed nothing."""
        told = bool(self.attempts) and self.attempts[-1].category == "cancelled"
        return told and all(each.outcome in {"not_sent", "rejected"} for each in self.attempts)


def _for_operators(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
