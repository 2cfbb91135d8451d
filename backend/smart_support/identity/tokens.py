"""Signed tokens: a JSON Web Token (RFC 7519) with HMAC-SHA-256 carries who somebody is."""

import secrets
from datetime import datetime, timedelta
from pathlib import Path

import jwt

from smart_support.errors import NotSignedIn, SetupError
from smart_support.identity.people import Person, Role
from smart_support.security.keyfile import kept

_ISSUER = "smart-support"


class Tokens:
    """Makes and reads the tokens of one installation."""

    def __init__(self, key: str) -> None:
        self._key = key

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
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                issuer=_ISSUER,
                options={"require": ["exp", "iss", "sub"]},
            )
            return Person(
                id=str(claims["sub"]),
                role=Role(claims["role"]),
                name=str(claims["name"]),
                email=claims.get("email"),
            )
        except (jwt.InvalidTokenError, KeyError, ValueError) as error:
            raise NotSignedIn(f"token refused: {type(error).__name__}") from None

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
