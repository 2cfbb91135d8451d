"""Failures on demand: the shop misbehaves as often and as badly as it is told to."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["status", "status_after", "delay", "drop_before", "drop_after", "garbage"]


class Fault(BaseModel):
    """How the next calls of an operation go wrong.

    status: answer `status` and do nothing. status_after: do it, then answer `status`.
    delay: wait `seconds`, holding the Idempotency-Key, then do it. drop_before: close the
    connection and do nothing. drop_after: do it, then close the connection without an answer.
    garbage: do it, then answer with something that is not JSON.
    """

    model_config = ConfigDict(extra="forbid")

    operation: str = Field(default="*", description="An operationId, or * for every operation.")
    kind: Kind
    status: int = Field(default=503, ge=400, le=599)
    retry_after: int | None = Field(default=None, ge=0, description="Seconds.")
    seconds: float = Field(default=0.5, ge=0, le=3600)
    times: int = Field(default=1, ge=1, description="How many calls it spoils.")


class Faults:
    """The faults still to come, first told first."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Have `fault` happen after those added before it."""
        self.pending.append(fault.model_copy())

    def clear(self) -> None:
        """Behave again."""
        self.pending.clear()

    def take(self, operation: str) -> Fault | None:
        """Use up one occurrence of the first fault that concerns `operation`."""
        for fault in self.pending:
            if fault.operation in ("*", operation):
                fault.times -= 1
                if not fault.times:
                    self.pending.remove(fault)
                return fault
        return None
