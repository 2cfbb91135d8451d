"""A sign-in is the first time that a token is shown; it is written down once."""

import hashlib
from collections import OrderedDict

from smart_support.identity.people import Person
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import PostgresAudit

REMEMBERED = 10_000
"""Tokens that are known without asking the database."""


class SignIns:
    """Writes sign-ins into the audit log."""

    def __init__(self, audit: PostgresAudit) -> None:
        self._audit = audit
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def notice(self, person: Person, token: str) -> None:
        """A person has shown this token, which verifies."""
        mark = hashlib.sha256(token.encode()).hexdigest()[:16]
        if mark in self._seen:
            self._seen.move_to_end(mark)
            return
        await self._audit.add_once(
            Act.SIGNED_IN, actor=person.id, role=person.role.value, subject=f"token {mark}"
        )
        self._seen[mark] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
