"""What people decide about operations, and what keeps them from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from smart_support.errors import Severity, SupportError
from smart_support.operations.records import Classification, Operation, OperationId, ReviewState


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """An operation that is not any more as somebody saw it, and how it stands now."""

    operation_id: OperationId
    key: str
    state: ReviewState
    version: int
    decided_by: str | None
    """Who made it what it is now, by deciding or by undoing; None: a new import did."""
    decided_at: datetime | None


class ReviewConflict(SupportError):
    """Somebody else decided about operations since they were read; read them again."""

    code = "CONF_REVIEW_CONFLICT"
    status = 409
    severity = Severity.LOW
    user_message = "Somebody else changed this in the meantime."

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        shown = "; ".join(
            f"{one.key} is at version {one.version}, "
            + (
                "changed by a new import"
                if one.decided_by is None
                else f"last decided by {one.decided_by}"
            )
            for one in conflicts[:5]
        )
        more = f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        super().__init__(f"nothing was changed: {shown}{more}")
        self.conflicts = tuple(conflicts)


class OperationRemoved(SupportError):
    """There is nothing to decide about: the document does not have the operation any more."""

    code = "CONF_OPERATION_REMOVED"
    status = 409
    severity = Severity.LOW
    user_message = "The document does not have this operation any more."

    def __init__(self, keys: Sequence[str]) -> None:
        more = f", and {len(keys) - 5} more" if len(keys) > 5 else ""
        super().__init__(
            f"nothing was changed: the document does not have {', '.join(keys[:5])}{more} any more"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decides about one operation, looked at as of `version`."""

    operation_id: str
    version: int
    state: ReviewState
    classification: Classification
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided at once, and how the operations stand now."""

    batch_id: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One decision of a person about one operation."""

    at: datetime
    by: str
    state: ReviewState
    classification: Classification
    reason: str | None
    batch_id: str
    undoes: str | None
    """The batch that this one took back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Decisions of a person that were made at once."""

    batch_id: str
    at: datetime
    by: str
    states: tuple[ReviewState, ...]
    count: int
    first_key: str
    reason: str | None
    undoes: str | None
    undoable: bool
    """Nobody has decided about any of its operations since."""
