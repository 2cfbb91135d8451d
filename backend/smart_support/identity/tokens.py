"""Signed tokens: a JSON Web Token (RFC 7519) with HMAC-SHA-256 carries who somebody is."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import jwt

from smart_support.errors import NotSignedIn, SetupError
from smart_support.identity.people import Person, Role
from smart_support.security.keyfile import kept

_ISSUER = "smart-support"
MOST_KNOWN = 10_000
"""Tokens whose signature was checked that are remembered. Beyond, all are checked once more."""

LONGEST_LIFE = timedelta(days=366)
"""No token is valid for longer than that from when it was issued, whatever it says. So what was
ended before its time must not be remembered for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What a token says; all times in seconds since 1970."""

    person: Person
    token_id: str
    issued_at: float
    """Of a token that does not say when: as long ago as may be."""
    valid_until: float


class Tokens:
    """Makes and reads the tokens of one installation."""

    def __init__(self, key: str, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` says the seconds since 1970."""
        self._key = key
        self._clock = clock
        # By its digest, so that nobody finds a token in memory.
        self._known: dict[bytes, SignIn] = {}

    def issue(self, person: Person, *, now: datetime, ttl: float) -> str:
        """Return a token for `person`, valid for `ttl` seconds from `now`."""
        return jwt.encode(
            {
                "iss": _ISSUER,
                "sub": person.id,
                "role": person.role.value,
                "name": person.name,
                "email": person.email,
                "jti": secrets.token_hex(8),
                # To the microsecond: one that is issued just after others were ended is good.
                "iat": now.timestamp(),
                "exp": now + timedelta(seconds=ttl),
            },
            self._key,
            algorithm="HS256",
        )

    def read(self, token: str) -> SignIn:
        """Return what a token says: who it is, and since when and until when.

        Raises:
            NotSignedIn: the token is broken, foreign, or has expired.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None:
            known = self._checked(token)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = known
        if not known.issued_at <= self._clock() < known.valid_until:
            raise NotSignedIn("token refused: it has expired, or is valid for too long")
        return known

    def _checked(self, token: str) -> SignIn:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                issuer=_ISSUER,
                options={"require": ["exp", "iss", "sub"]},
            )
            ends = float(claims["exp"])
            issued = float(claims.get("iat", ends - LONGEST_LIFE.total_seconds()))
            return SignIn(
                person=Person(
                    id=str(claims["sub"]),
                    role=Role(claims["role"]),
                    name=str(claims["name"]),
                    email=claims.get("email"),
                ),
                token_id=claims.get("jti") or hashlib.sha256(token.encode()).hexdigest()[:16],
                issued_at=issued,
                valid_until=min(ends, issued + LONGEST_LIFE.total_seconds()),
            )
        except (jwt.InvalidTokenError, KeyError, ValueError) as error:
            raise NotSignedIn(f"token refused: {type(error).__name__}") from None


def signing_key(path: Path) -> str:
    """Return the installation's own key, made at the first call and kept at `path` (mode 0600).

    Raises:
        SetupError: the file cannot be read or written; the text says which and what to do.
    """
    try:
        key = kept(path, lambda: secrets.token_urlsafe(48))
    except OSError as error:
        raise SetupError(
            f"The signing key {path} cannot be read or written ({error.strerror}). "
            "Give this user write permission there, or set SMART_SUPPORT_SECRET_KEY."
        ) from error
    if len(key) < 32:
        raise SetupError(
            f"The signing key in {path} is too short. Delete the file to have a new one made; "
            "everybody must then sign in again."
        )
    return key
