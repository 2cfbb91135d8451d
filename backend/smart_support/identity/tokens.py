"""Signed tokens: a JSON Web Token (RFC 7519) with HMAC-SHA-256 carries who somebody is."""

import hashlib
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import jwt

from smart_support.errors import NotSignedIn, SetupError
from smart_support.identity.people import Person, Role
from smart_support.security.keyfile import kept

_ISSUER = "smart-support"
MOST_KNOWN = 10_000
"""Tokens whose signature was checked that are remembered. Beyond, all are checked once more."""


class Tokens:
    """Makes and reads the tokens of one installation."""

    def __init__(self, key: str, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` says the seconds since 1970."""
        self._key = key
        self._clock = clock
        # By its digest, so that nobody finds a token in memory: who it names, and until when.
        self._known: dict[bytes, tuple[Person, float]] = {}

    def issue(self, person: Person, *, now: datetime, ttl: float) -> str:
        """Return a token for `person`, valid for `ttl` seconds from `now`."""
        return jwt.encode(
            {
                "iss": _ISSUER,
                "sub": person.id,
                "role": person.role.value,
                "name": person.name,
                "email": person.email,
                "iat": now,
                "exp": now + timedelta(seconds=ttl),
            },
            self._key,
            algorithm="HS256",
        )

    def read(self, token: str) -> Person:
        """Return the person that a token names.

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
        person, until = known
        if until <= self._clock():
            raise NotSignedIn("token refused: it has expired since it was read first")
        return person

    def _checked(self, token: str) -> tuple[Person, float]:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                issuer=_ISSUER,
                options={"require": ["exp", "iss", "sub"]},
            )
            person = Person(
                id=str(claims["sub"]),
                role=Role(claims["role"]),
                name=str(claims["name"]),
                email=claims.get("email"),
            )
        except (jwt.InvalidTokenError, KeyError, ValueError) as error:
            raise NotSignedIn(f"token refused: {type(error).__name__}") from None
        return person, float(claims["exp"])

    def valid_until(self, token: str) -> float:
        """When a token that was read before ends, in seconds since 1970."""
        return float(jwt.decode(token, options={"verify_signature": False})["exp"])


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
