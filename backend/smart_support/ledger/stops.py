"""The kill switch: what an operator has switched off, since when, and why."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from smart_support.errors import Severity, SupportError


class StopScope(Enum):
    """How much is switched off."""

    EVERYTHING = "everything"
    API = "api"
    OPERATION = "operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Something that may not be called, or might not: who said so, and who took it back."""

    id: str
    scope: StopScope
    target: str | None
    """Id of the spec or operation; None for everything."""
    title: str
    """What it is called, for people; also after it is gone."""
    stopped_by: str
    stopped_at: datetime
    reason: str
    lifted_by: str | None = None
    lifted_at: datetime | None = None
    lifted_reason: str | None = None

    def covers(self, *, operation_id: str, api_id: str | None) -> bool:
        """Whether a call of this operation is switched off by it."""
        match self.scope:
            case StopScope.EVERYTHING:
                return True
            case StopScope.API:
                return self.target == api_id
            case StopScope.OPERATION:
                return self.target == operation_id


class Stopped(SupportError):
    """An operator has switched this off; nothing was sent."""

    code = "TOOL_STOPPED"
    status = 503
    severity = Severity.MEDIUM
    user_message = "That is switched off at the moment."

    def __init__(self, scope: StopScope) -> None:
        what = "Everything" if scope is StopScope.EVERYTHING else f"This {scope.value}"
        super().__init__(
            f"{what} is switched off by the company for now. Nothing was sent. "
            "Say so, and do not try again in this turn."
        )
