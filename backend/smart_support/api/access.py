"""Who may: every route names the roles it is for; without a name it is for nobody."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from smart_support.api.parts import Parts, Running
from smart_support.errors import NotAllowed, NotSignedIn
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import SignIn
from smart_support.security.audit import Act

_bearer = HTTPBearer(auto_error=False, description="The token of a sign-in link.")

Token = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def shown(parts: Running, credentials: Token, request: Request) -> SignIn:
    """The sign-in whose token came with the request.

    Raises:
        NotSignedIn: there is none, or it does not hold.
    """
    if credentials is None:
        raise NotSignedIn("no Authorization header with a bearer token")
    sign_in = parts.sign_ins.read(credentials.credentials)
    request.scope["user_id"] = sign_in.person.id  # an error says whom it met
    return sign_in


Shown = Annotated[SignIn, Depends(shown)]


async def signed_in(sign_in: Shown) -> Person:
    """The person whose token came with the request."""
    return sign_in.person


def _allow(*roles: Role) -> Callable[[Request, Parts, Person], Awaitable[Person]]:
    async def check(
        request: Request, parts: Running, person: Annotated[Person, Depends(signed_in)]
    ) -> Person:
        if person.role not in roles:
            await parts.audit.add(
                Act.DENIED,
                actor=person.id,
                role=person.role.value,
                subject=f"{request.method} {request.scope['path']}"[:500],
            )
            raise NotAllowed(f"{person.role.value} {person.id} is not one of {roles}")
        return person

    return check


Anybody = Annotated[Person, Depends(_allow(*Role))]
Customer = Annotated[Person, Depends(_allow(Role.CUSTOMER))]
Lead = Annotated[Person, Depends(_allow(Role.LEAD))]
Operator = Annotated[Person, Depends(_allow(Role.OPERATOR))]
CustomerOrLead = Annotated[Person, Depends(_allow(Role.CUSTOMER, Role.LEAD))]
Staff = Annotated[Person, Depends(_allow(Role.LEAD, Role.OPERATOR))]
