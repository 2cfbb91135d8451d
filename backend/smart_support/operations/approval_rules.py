"""What an operator demands of a write beyond the customer's yes: thresholds, totals, consent.

Part of the reviewed classification. A value that cannot be compared (absent, no number) counts
as one that the rule is about: what is left out may mean "all of it".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from smart_support.errors import SupportError

Comparison = Literal["gt", "ge", "lt", "le", "eq", "ne"]
Who = Literal["customer", "lead"]

MAX_RULES = 20
MAX_WINDOW_HOURS = 24 * 366

_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "eq": "=", "ne": "≠"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """From some value of one argument on, `who` must say yes, e.g. a lead to over 100."""

    argument: str
    """JSON pointer into the complete arguments, e.g. `/body/amount`."""
    comparison: Comparison
    value: float | str
    who: Who = "lead"
    """`lead`: a support lead beside the customer. `customer`: standing consent is not enough."""

    def applies_to(self, arguments: Mapping[str, Any]) -> bool:
        """Whether a call with these complete arguments needs the yes."""
        given = value_at(arguments, self.argument)
        if isinstance(self.value, str):
            return not isinstance(given, str) or _compared(self.comparison, given, self.value)
        number = number_of(given)
        return number is None or _compared(self.comparison, number, self.value)

    def words(self) -> str:
        """The rule as a lead reads it."""
        return f"{self.argument} {_SIGNS[self.comparison]} {_plain(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CumulativeLimit:
    """What one customer may reach in a window of time before a lead must say yes."""

    limit: float
    window_hours: float
    argument: str | None = None
    """JSON pointer of what is summed; None counts the calls."""

    def words(self) -> str:
        """The rule as a lead reads it."""
        what = "calls" if self.argument is None else f"sum of {self.argument}"
        return f"{what} > {_plain(self.limit)} in {_plain(self.window_hours)} h"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRules:
    """All that is demanded of one operation; empty for most."""

    standing_consent: bool = False
    """The customer may say yes once for a conversation. Only for what has a low impact."""
    thresholds: tuple[Threshold, ...] = ()
    limits: tuple[CumulativeLimit, ...] = ()


NO_RULES = ApprovalRules()


class RuleInvalid(SupportError):
    """An approval rule that is unsafe or cannot work."""

    code = "CONF_RULE_INVALID"
    status = 422
    user_message = "That approval rule cannot work."

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.user_message = text


def check_rules(
    rules: ApprovalRules, *, confirm: bool, low_impact: bool, schema: Mapping[str, Any]
) -> None:
    """Say no to rules that are unsafe or cannot work.

    `low_impact`: the operation was reviewed as of low risk, and nothing locks its confirmation.

    Raises:
        RuleInvalid: the text says which rule and why.
    """
    if rules == NO_RULES:
        return
    if not confirm:
        raise RuleInvalid("Approval rules need an operation that asks the customer.")
    if rules.standing_consent and not low_impact:
        raise RuleInvalid("Standing consent is for writes of low risk only.")
    if len(rules.thresholds) + len(rules.limits) > MAX_RULES:
        raise RuleInvalid(f"At most {MAX_RULES} rules for one operation.")
    pointers = [threshold.argument for threshold in rules.thresholds]
    pointers += [limit.argument for limit in rules.limits if limit.argument is not None]
    for pointer in pointers:
        first = pointer.split("/")[1] if pointer.startswith("/") else ""
        if _unescaped(first) not in schema.get("properties", {}):
            raise RuleInvalid(f"“{pointer}” does not point to an argument of the operation.")
    for threshold in rules.thresholds:
        if isinstance(threshold.value, str):
            if threshold.comparison not in {"eq", "ne"}:
                raise RuleInvalid(f"{threshold.words()}: texts are only compared by = and ≠.")
        elif not math.isfinite(threshold.value):
            raise RuleInvalid("A threshold is a finite number.")
    for limit in rules.limits:
        if not (math.isfinite(limit.limit) and limit.limit >= 0):
            raise RuleInvalid("A limit is a number from 0 on.")
        if not 0 < limit.window_hours <= MAX_WINDOW_HOURS:
            raise RuleInvalid(f"A window is more than 0 and at most {MAX_WINDOW_HOURS} hours.")


def value_at(arguments: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to; None where there is nothing."""
    found = arguments
    for part in pointer.split("/")[1:]:
        key = _unescaped(part)
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isascii() and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def number_of(value: Any) -> float | None:
    """The number that this is or says; None if it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def rules_of(stored: Mapping[str, Any] | None) -> ApprovalRules:
    """The rules that `dataclasses.asdict` made this JSON from; none where none are stored."""
    if not stored:
        return NO_RULES
    return ApprovalRules(
        standing_consent=stored["standing_consent"],
        thresholds=tuple(Threshold(**each) for each in stored["thresholds"]),
        limits=tuple(CumulativeLimit(**each) for each in stored["limits"]),
    )


def _compared(comparison: Comparison, given: Any, value: Any) -> bool:
    match comparison:
        case "gt":
            return bool(given > value)
        case "ge":
            return bool(given >= value)
        case "lt":
            return bool(given < value)
        case "le":
            return bool(given <= value)
        case "eq":
            return bool(given == value)
        case "ne":
            return bool(given != value)


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
