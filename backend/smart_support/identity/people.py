"""People and their roles."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a person is here for. A person has one role."""

    CUSTOMER = "customer"
    LEAD = "lead"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who is signed in."""

    id: str
    role: Role
    name: str
    email: str | None = None

    def claims(self) -> Mapping[str, str]:
        """What can fill a bound argument in the model's place: only what is known."""
        known = {"customer_id": self.id, "name": self.name, "email": self.email}
        return {claim: value for claim, value in known.items() if value is not None}
