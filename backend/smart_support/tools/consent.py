"""Whose yes a call needs, by the rules of its operation and its real arguments."""

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from smart_support.ledger.consent import Demand, Total
from smart_support.operations.approval_rules import number_of, value_at
from smart_support.operations.records import Classification


def demand_of(classification: Classification, arguments: Mapping[str, Any]) -> Demand:
    """What the rules demand of a call with these complete arguments."""
    rules = classification.approval_rules
    hit = [threshold for threshold in rules.thresholds if threshold.applies_to(arguments)]
    return Demand(
        lead=tuple(threshold.words() for threshold in hit if threshold.who == "lead"),
        totals=tuple(
            Total(
                amount=_amount(limit.argument),
                limit=limit.limit,
                window=timedelta(hours=limit.window_hours),
                words=limit.words(),
            )
            for limit in rules.limits
        ),
        standing=rules.standing_consent and not hit,
    )


def _amount(pointer: str | None) -> Callable[[Mapping[str, Any]], float]:
    if pointer is None:
        return lambda _: 1.0

    def amount(arguments: Mapping[str, Any]) -> float:
        number = number_of(value_at(arguments, pointer))
        # What cannot be told may be anything, and a negative amount must not make room.
        return math.inf if number is None else abs(number)

    return amount
