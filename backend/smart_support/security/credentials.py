"""What is kept of a credential: which it is, what may be shown of it, and the sealed rest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from smart_support.security.sealing import Context

COMPANY = ""
"""The owner of what belongs to no customer."""


class Kind(Enum):
    """What a credential is for."""

    SCHEME = "scheme"
    """An operator's, for a security scheme of a document."""
    HEADER = "header"
    """An operator's, a header that every request carries."""
    TOKEN = "token"  # noqa: S105 - the word, not one
    """What an OAuth server gave, to the company or to a customer."""
    PENDING = "pending"
    """A customer is on the way to an OAuth server and back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The place of a credential; there is one in each at most."""

    spec_id: str
    environment: str
    name: str
    kind: Kind
    owner: str = COMPANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One credential as it is kept. The secret in it is sealed."""

    id: str
    slot: Slot
    origins: tuple[str, ...]
    """Where it may be sent, each as `https://host`, with its port where that is another one."""
    scheme_hash: str
    sealed: str = field(repr=False)
    shown: Mapping[str, Any]
    """What may be shown of it; nothing secret."""
    set_by: str
    set_at: datetime
    version: int

    @property
    def context(self) -> Context:
        """What its seal is bound to."""
        return context_of(self.slot, self.scheme_hash, self.origins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Since when calls of an API fail for want of a good credential, and how the last one did."""

    since: datetime
    last_at: datetime
    count: int
    reason: str
    operation: str
    correlation_id: str


def context_of(slot: Slot, scheme_hash: str, origins: tuple[str, ...]) -> Context:
    """What the seal of a credential is bound to: its place, its scheme and its origins."""
    place = (slot.spec_id, slot.environment, slot.name, slot.kind.value, slot.owner)
    return ("credentials", *place, scheme_hash, *origins)


def hint_of(secret: str) -> str:
    """How a person recognises a secret: its last four characters, if it is long enough."""
    return f"…{secret[-4:]}" if len(secret) >= 12 else "…"
