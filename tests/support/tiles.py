"""Every number of the dashboard, and the list that a click on it opens."""

from collections.abc import Iterator
from typing import NamedTuple

from smart_support.analytics.listings import Listing
from smart_support.analytics.records import Activity, Cohort, OperationFigures


class Tile(NamedTuple):
    listing: Listing
    dimension: str | None
    number: int


def cohort_tiles(cohort: Cohort) -> Iterator[Tile]:
    for listing, number in (
        (Listing.CONVERSATIONS, cohort.conversations),
        (Listing.HANDLED, cohort.handled),
        (Listing.ANSWERED, cohort.answered),
        (Listing.RESOLVED, cohort.resolved),
        (Listing.RESOLVED_ALONE, cohort.resolved_alone),
        (Listing.HANDED_OFF, cohort.handed_off),
        (Listing.ABANDONED, cohort.abandoned),
        (Listing.REOPENED, cohort.reopened),
    ):
        yield Tile(listing, None, number)
    for reason, number in cohort.handoff_reasons.items():
        yield Tile(Listing.HANDED_OFF, reason, number)


def activity_tiles(activity: Activity) -> Iterator[Tile]:
    approvals, operations = activity.approvals, activity.operations
    for listing, number in (
        (Listing.OPENED, activity.opened),
        (Listing.SETTLED, activity.resolved),
        (Listing.GIVEN_UP, activity.abandoned),
        (Listing.WENT_ON, activity.reopened),
        (Listing.HANDOFFS, activity.handed_off),
        (Listing.MESSAGES, activity.messages),
        (Listing.REPLIES, activity.replies),
        (Listing.RESPONSES, activity.response.answered),
        (Listing.TURNS, activity.turns),
        (Listing.TURNS_DONE, activity.turns_done),
        (Listing.TURNS_FAILED, activity.failed),
        (Listing.TURNS_CANCELLED, activity.turns_cancelled),
        (Listing.TOOL_CALLS, activity.tool_calls),
        (Listing.TOOL_ERRORS, activity.tool_errors),
        (Listing.RETRIES, activity.retries),
        (Listing.APPROVALS_ASKED, approvals.asked),
        (Listing.APPROVALS_APPROVED, approvals.approved),
        (Listing.APPROVALS_REJECTED, approvals.rejected),
        (Listing.APPROVALS_EXPIRED, approvals.expired),
        (Listing.INPUT_TOKENS, activity.input_tokens),
        (Listing.OUTPUT_TOKENS, activity.output_tokens),
        (Listing.TOKENS, activity.tokens),
    ):
        yield Tile(listing, None, number)
    for reason, number in activity.handoffs.items():
        yield Tile(Listing.HANDOFFS, reason, number)
    for code, number in activity.turns_failed.items():
        yield Tile(Listing.TURNS_FAILED, code, number)
    for operation in operations:
        yield from _operation_tiles(operation)


def _operation_tiles(operation: OperationFigures) -> Iterator[Tile]:
    for listing, number in (
        (Listing.TOOL_CALLS, operation.calls),
        (Listing.TOOL_CALLS_DONE, operation.done),
        (Listing.TOOL_CALLS_FAILED, operation.failed),
        (Listing.TOOL_CALLS_DECLINED, operation.declined),
        (Listing.TOOL_CALLS_UNKNOWN, operation.unknown),
        (Listing.TOOL_ERRORS, operation.errors),
        (Listing.ATTEMPTS, operation.attempts),
        (Listing.RETRIES, operation.retries),
    ):
        yield Tile(listing, operation.operation, number)
