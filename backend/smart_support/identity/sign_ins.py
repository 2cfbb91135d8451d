"""Sign-ins: which tokens hold, the first time that each is shown, and their end before its time.

What was ended is remembered here, so that no request asks the database. The table is read at the
start, when any process says that it has grown, and every few seconds for what was not heard.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from smart_support.errors import NotSignedIn
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import LONGEST_LIFE, SignIn, Tokens
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.endings import Ending
from smart_support.security.endings_postgres import HINT, PostgresEndings
from smart_support.telemetry.handler import ErrorContext, ErrorHandler

REMEMBERED = 10_000
"""Tokens whose sign-in is known to be written down without asking the database."""

LOOK_SECONDS = 5.0
"""How often the table is looked at, should nobody have been heard."""


class SignIns:
    """Says which tokens hold, and ends them."""

    def __init__(
        self,
        tokens: Tokens,
        audit: PostgresAudit,
        endings: PostgresEndings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` says when somebody ends sign-ins, `now` whether a token has ended by itself."""
        self._tokens = tokens
        self._audit = audit
        self._endings = endings
        self._clock = clock
        self._now = now
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._ended: dict[str, Ending] = {}
        self._since: datetime | None = None
        self._wake = asyncio.Event()
        self._news = False

    def read(self, token: str) -> SignIn:
        """Return who shows this token.

        Raises:
            NotSignedIn: it does not verify, has expired, or was ended.
        """
        sign_in = self._tokens.read(token)
        self.check(sign_in)
        return sign_in

    def check(self, sign_in: SignIn) -> None:
        """Return if a token that was read once still holds.

        Raises:
            NotSignedIn: it has expired, or was ended.
        """
        if sign_in.valid_until <= self._now():
            raise NotSignedIn("the token has expired")
        if _token(sign_in.token_id) in self._ended:
            raise NotSignedIn("this sign-in was ended")
        ending = self._ended.get(_person(sign_in.person))
        if ending is not None and sign_in.issued_at <= ending.ended_at.timestamp():
            raise NotSignedIn("all sign-ins of this person until then were ended")

    async def notice(self, sign_in: SignIn) -> None:
        """Somebody has shown a token that holds; the first time is written down."""
        person, mark = sign_in.person, (sign_in.person.id, sign_in.token_id)
        if mark in self._seen:
            self._seen.move_to_end(mark)
            return
        await self._audit.add_once(
            Act.SIGNED_IN,
            actor=person.id,
            role=person.role.value,
            subject=_token(sign_in.token_id),
        )
        self._seen[mark] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    async def sign_out(self, sign_in: SignIn, *, everywhere: bool) -> datetime:
        """End this token, or all that this person has; return when that was."""
        person, role = sign_in.person, sign_in.person.role
        if everywhere:
            return await self.end_person(person.id, [role], actor=person.id, role=role.value)
        ends = datetime.fromtimestamp(sign_in.valid_until, UTC)
        return await self.end_token(
            sign_in.token_id, actor=person.id, role=role.value, valid_until=ends
        )

    async def end_person(
        self, person_id: str, roles: Iterable[Role], *, actor: str, role: str
    ) -> datetime:
        """End every token that was issued to a person in these roles until now.

        Return when that was. `actor` and `role` say for the audit log who did it.
        """
        at, names = self._clock(), sorted(one.value for one in roles)
        whose = [f"{name} {person_id}" for name in names]
        details = {"roles": names}
        await self._end(whose, at, at + LONGEST_LIFE, actor, role, f"person {person_id}", details)
        return at

    async def end_token(
        self, token_id: str, *, actor: str, role: str, valid_until: datetime | None = None
    ) -> datetime:
        """End one token, which would have been valid until then at most; return when that was."""
        at, whose = self._clock(), _token(token_id)
        forget_at = at + LONGEST_LIFE if valid_until is None else max(at, valid_until)
        await self._end([whose], at, forget_at, actor, role, whose, {})
        return at

    async def _end(
        self,
        whose: Iterable[str],
        at: datetime,
        forget_at: datetime,
        actor: str,
        role: str,
        subject: str,
        details: Mapping[str, Any],
    ) -> None:
        endings = [Ending(whose=one, ended_at=at, forget_at=forget_at) for one in whose]
        await self._endings.end(endings, actor=actor, role=role, subject=subject, details=details)
        self._take(endings)
        self._wake.set()

    def hear(self, payload: str) -> None:
        """Take in what a process tells the others."""
        if payload == HINT:
            self._wake.set()

    def look(self) -> None:
        """Look soon whether more was ended: something may not have been heard."""
        self._wake.set()

    async def catch_up(self) -> None:
        """Learn what was ended anywhere.

        Raises:
            DatabaseUnavailable: the table cannot be read now.
        """
        noted, self._since = await self._endings.noted(self._since)
        self._take(noted)
        now = datetime.fromtimestamp(self._now(), UTC)
        self._ended = {whose: one for whose, one in self._ended.items() if one.forget_at > now}

    async def run(self, when_ended: Callable[[], Awaitable[None]], errors: ErrorHandler) -> None:
        """Keep up with what is ended, and call `when_ended` after it grew, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):  # nothing was heard, which proves nothing
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            with errors.guarding(ErrorContext(place="job", operation="sign-ins")):
                await self.catch_up()
            if self._news:
                self._news = False
                await when_ended()

    def _take(self, endings: Iterable[Ending]) -> None:
        for one in endings:
            known = self._ended.get(one.whose)
            if known is None or known.ended_at < one.ended_at:
                self._ended[one.whose] = one
                self._news = True


def _person(person: Person) -> str:
    return f"{person.role.value} {person.id}"


def _token(token_id: str) -> str:
    return f"token {token_id}"
