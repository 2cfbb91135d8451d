"""What is written down of who did what: one entry per act, never changed, never deleted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any


class Act(Enum):
    """What somebody did."""

    SIGNED_IN = "signed_in"
    SIGN_INS_ENDED = "sign_ins_ended"
    DENIED = "access_denied"
    IMPORTED = "document_imported"
    DECIDED = "operations_decided"
    UNDONE = "decisions_undone"
    ADDRESS_SET = "address_set"
    ENVIRONMENT_CHOSEN = "environment_chosen"
    CREDENTIAL_SET = "credential_set"
    CREDENTIAL_DELETED = "credential_deleted"
    CREDENTIAL_TESTED = "credential_tested"
    RESEALED = "credentials_resealed"
    CONNECTED = "account_connected"
    DISCONNECTED = "account_disconnected"
    APPROVAL_DECIDED = "approval_decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act. `number` counts from 1 without gaps; each `hash` covers the entry before it."""

    number: int
    at: datetime
    actor: str
    role: str
    """The role of the actor; `command_line` and `system` stand for themselves."""
    act: str
    subject: str
    """What it was done to, as an id or a name."""
    details: Mapping[str, Any]
    correlation_id: str | None
    hash: str
