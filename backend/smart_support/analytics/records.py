"""The figures of the dashboard: what each means, and how it comes from counts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

from smart_support.analytics.episode import Figure
from smart_support.analytics.histogram import percentile
from smart_support.analytics.listings import CountedPage, Selection
from smart_support.analytics.sums import AMOUNT, Counts, number
from smart_support.errors import InvalidInput
from smart_support.events.consumer import EventConsumer
from smart_support.events.records import ThreadId

Bucket: TypeAlias = Literal["hour", "day"]
BUCKETS: Mapping[Bucket, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
LONGEST_SERIES = 1000
"""Points that one series may have."""
LONGEST_DAYS = 400
"""Days that errors can be asked for at once."""
EXACT_MEDIAN = 1000
"""Answers up to which a median is looked for among all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The conversations opened in a range, as they stand now. All rates share `handled`.

    `handled`: the agent answered, or handed over. `resolved`: settled now, in whatever way;
    `resolved_alone`: settled now, after an answer of the agent, and never handed over.
    `reopened`: went on at least once after they were resolved or abandoned. `answered`: the agent
    has answered at least once; the median is over these.
    `median_first_reply_ms`: from the opening to the first answer, None without answers; exact
    over at most `EXACT_MEDIAN` of them, else read from a histogram, within 2.5 % of the truth.
    """

    conversations: int
    handled: int
    resolved: int
    resolved_alone: int
    handed_off: int
    abandoned: int
    reopened: int
    answered: int
    handoff_reasons: Mapping[str, int]
    median_first_reply_ms: float | None

    @property
    def auto_resolution_rate(self) -> float | None:
        """`resolved_alone` of `handled`; None when nothing was handled."""
        return _ratio(self.resolved_alone, self.handled)

    @property
    def handoff_rate(self) -> float | None:
        """`handed_off` of `handled`; None when nothing was handled."""
        return _ratio(self.handed_off, self.handled)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTimes:
    """From a message until its answer or a question for approval, in milliseconds.

    Waiting in the queue counts, waiting for an approval does not, and turns that failed or were
    cancelled without an answer are left out. Read from a histogram: within 2.5 % of the truth.
    None when nothing was answered.
    """

    answered: int
    median_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFigures:
    """One operation. `done` to `unknown` are how its calls ended, `attempts` the HTTP requests."""

    operation: str
    calls: int
    done: int
    failed: int
    declined: int
    unknown: int
    attempts: int
    retries: int
    mean_attempt_ms: float | None

    @property
    def errors(self) -> int:
        """Failed or unknown."""
        return self.failed + self.unknown

    @property
    def error_rate(self) -> float | None:
        """Failed or unknown, of all that ended; what a person declined is left out."""
        return _ratio(self.errors, self.done + self.errors)

    @property
    def retries_per_call(self) -> float | None:
        return _ratio(self.retries, self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalFigures:
    asked: int
    approved: int
    rejected: int
    expired: int


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What happened in a range, whenever the conversations were opened. Means in milliseconds.

    `turns` were begun in the range; `turns_failed` (by error code) and the others ended in it.
    `operations` are in the order of their names.
    """

    opened: int
    resolved: int
    abandoned: int
    reopened: int
    handoffs: Mapping[str, int]
    messages: int
    replies: int
    turns: int
    turns_done: int
    turns_failed: Mapping[str, int]
    turns_cancelled: int
    response: ResponseTimes
    mean_first_token_ms: float | None
    mean_turn_ms: float | None
    input_tokens: int
    output_tokens: int
    operations: tuple[OperationFigures, ...]
    approvals: ApprovalFigures

    @cached_property
    def handed_off(self) -> int:
        return sum(self.handoffs.values())

    @cached_property
    def failed(self) -> int:
        return sum(self.turns_failed.values())

    @cached_property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @cached_property
    def tool_calls(self) -> int:
        return sum(operation.calls for operation in self.operations)

    @cached_property
    def tool_errors(self) -> int:
        """Calls that failed or whose outcome is unknown."""
        return sum(operation.errors for operation in self.operations)

    @cached_property
    def tool_error_rate(self) -> float | None:
        """As of a single operation; None when no call ended."""
        ended = sum(operation.done + operation.errors for operation in self.operations)
        return _ratio(self.tool_errors, ended)

    @cached_property
    def retries(self) -> int:
        return sum(operation.retries for operation in self.operations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One hour or one day (of UTC) of a series: [start, end).

    The first and the last day are cut where the range of the series begins and ends, so that all
    points together are the range, no more and no less.
    """

    start: datetime
    end: datetime
    activity: Activity


class AnalyticsRecorder(EventConsumer, Protocol):
    """Counts what happens in the conversations. Each method is one transaction."""

    async def cohort(self, start: datetime, end: datetime) -> Cohort:
        """The conversations opened in [start, end), widened to whole hours.

        Raises:
            InvalidInput: `end` is not after `start`, or one of them has no time zone.
        """
        ...

    async def activity(self, start: datetime, end: datetime) -> Activity:
        """What happened in [start, end), widened to whole hours.

        Raises:
            InvalidInput: as in `cohort`.
        """
        ...

    async def series(self, start: datetime, end: datetime, bucket: Bucket) -> list[Point]:
        """Every hour or day of [start, end), widened to whole hours, those without events too.

        Raises:
            InvalidInput: as in `cohort`; or there were more than `LONGEST_SERIES` points.
        """
        ...

    async def counted(
        self, which: Selection, after: ThreadId | None = None, limit: int = 50
    ) -> CountedPage:
        """At most `limit` of the conversations that a figure counts, beginning behind `after`.

        What the figure says and the sum of the parts are the same number, always: both are worked
        out from the same rows. An unknown `after` gives a page without conversations.

        Raises:
            InvalidInput: as in `cohort`.
        """
        ...


def widen(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The whole hours of UTC that [start, end) touches.

    Raises:
        InvalidInput: `end` is not after `start`, or one of them has no time zone.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise InvalidInput("The range needs times with a time zone, such as 2026-01-31T00:00:00Z.")
    if end <= start:
        raise InvalidInput("The end of the range must be after its start.")
    first, last = floor(start, "hour"), floor(end, "hour")
    return first, last if last == end else last + BUCKETS["hour"]


def floor(at: datetime, bucket: Bucket) -> datetime:
    """The beginning of the hour or day of UTC in which `at` lies."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour.replace(hour=0) if bucket == "day" else hour


def check_length(start: datetime, end: datetime, bucket: Bucket) -> None:
    """Refuse a series that would be too long to read, before anything is read.

    Raises:
        InvalidInput: it has more than `LONGEST_SERIES` points.
    """
    count = _count_points(start, end, bucket)
    if count > LONGEST_SERIES:
        raise InvalidInput(
            f"The range has {count} points, more than {LONGEST_SERIES}; "
            "ask for days instead of hours, or for a shorter range."
        )


def check_days(start: datetime, end: datetime) -> None:
    """Refuse a range that is too long for a list of errors.

    Raises:
        InvalidInput: it has more than `LONGEST_DAYS` days.
    """
    if end - start > timedelta(days=LONGEST_DAYS):
        raise InvalidInput(f"Errors can be asked for {LONGEST_DAYS} days at once, not more.")


def _count_points(start: datetime, end: datetime, bucket: Bucket) -> int:
    return -((floor(start, bucket) - end) // BUCKETS[bucket])


def points(
    start: datetime,
    end: datetime,
    bucket: Bucket,
    sums: Mapping[datetime, Counts],
    activity: Callable[[datetime, Counts], Activity] | None = None,
) -> list[Point]:
    """A point for each hour or day that [start, end), in whole hours, touches.

    `sums` holds, by the beginning of each hour or day, what was counted in [start, end) alone.
    `activity` is `activity_of` for whoever remembers what it gave for the same counts.
    """
    first = floor(start, bucket)
    starts = (first + place * BUCKETS[bucket] for place in range(_count_points(start, end, bucket)))
    return [
        Point(
            start=max(at, start),
            end=min(at + BUCKETS[bucket], end),
            activity=activity(at, counts) if activity and counts else activity_of(counts),
        )
        for at in starts
        for counts in (sums.get(at, {}),)
    ]


def activity_of(counted: Counts) -> Activity:
    """The figures that these counts give."""

    def counts(figure: Figure) -> dict[str, int]:
        return dict(sorted(counted.get(figure.value, {}).items()))

    def count(figure: Figure) -> int:
        return number(counted, figure.value)

    def total(figure: Figure) -> int:
        return number(counted, figure.value + AMOUNT)

    def mean(figure: Figure) -> float | None:
        return _ratio(total(figure), count(figure))

    durations = {int(place): n for place, n in counts(Figure.RESPONSE_MS).items()}
    return Activity(
        opened=count(Figure.CONVERSATIONS_OPENED),
        resolved=count(Figure.CONVERSATIONS_RESOLVED),
        abandoned=count(Figure.CONVERSATIONS_ABANDONED),
        reopened=count(Figure.CONVERSATIONS_REOPENED),
        handoffs=counts(Figure.HANDOFFS),
        messages=count(Figure.MESSAGES),
        replies=count(Figure.REPLIES),
        turns=count(Figure.TURNS),
        turns_done=count(Figure.TURNS_DONE),
        turns_failed=counts(Figure.TURNS_FAILED),
        turns_cancelled=count(Figure.TURNS_CANCELLED),
        response=ResponseTimes(
            answered=count(Figure.RESPONSE_MS),
            median_ms=percentile(durations, 0.5),
            p95_ms=percentile(durations, 0.95),
        ),
        mean_first_token_ms=mean(Figure.FIRST_TOKEN_MS),
        mean_turn_ms=mean(Figure.TURN_MS),
        input_tokens=total(Figure.INPUT_TOKENS),
        output_tokens=total(Figure.OUTPUT_TOKENS),
        operations=_operations(counted),
        approvals=ApprovalFigures(
            asked=count(Figure.APPROVALS_ASKED),
            approved=count(Figure.APPROVALS_APPROVED),
            rejected=count(Figure.APPROVALS_REJECTED),
            expired=count(Figure.APPROVALS_EXPIRED),
        ),
    )


_OPERATION_FIGURES: Sequence[str] = (
    Figure.TOOL_CALLS.value,
    Figure.TOOL_CALLS_DONE.value,
    Figure.TOOL_CALLS_FAILED.value,
    Figure.TOOL_CALLS_DECLINED.value,
    Figure.TOOL_CALLS_UNKNOWN.value,
    Figure.ATTEMPTS.value,
    Figure.ATTEMPTS.value + AMOUNT,
    Figure.RETRIES.value,
)


def _operations(counted: Counts) -> tuple[OperationFigures, ...]:
    tables = [counted.get(figure, {}) for figure in _OPERATION_FIGURES]
    operations = []
    for name in sorted({name for table in tables for name in table}):
        calls, done, failed, declined, unknown, attempts, took, retries = (
            table.get(name, 0) for table in tables
        )
        operations.append(
            OperationFigures(
                operation=name,
                calls=calls,
                done=done,
                failed=failed,
                declined=declined,
                unknown=unknown,
                attempts=attempts,
                retries=retries,
                mean_attempt_ms=_ratio(took, attempts),
            )
        )
    return tuple(operations)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
