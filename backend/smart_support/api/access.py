"""Who may: every route names the roles it is for; without a name it is for nobody."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from smart_support.api.parts import parts_of
from smart_support.errors import NotAllowed, NotSignedIn
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import SignIn
from smart_support.security.audit import Act

_SCHEME = HTTPBearer.__name__


class _Bearer(HTTPBearer):
    """The sign-in whose token came with the request, in a single dependency.

    Each dependency of a route costs a request a twentieth of what an empty answer does.
    """

    def __init__(self) -> None:
        super().__init__(scheme_name=_SCHEME, description="The token of a sign-in link.")

    def read(self, request: HTTPConnection) -> SignIn:
        """Return whose token it is.

        Raises:
            NotSignedIn: there is none, or it does not hold.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotSignedIn("no Authorization header with a bearer token")
        sign_in = parts_of(request).sign_ins.read(token.strip())
        request.scope["user_id"] = sign_in.person.id  # an error says whom it met
        return sign_in


class _Shown(_Bearer):
    async def __call__(self, request: HTTPConnection) -> SignIn:  # type: ignore[override]
        return self.read(request)


class _Allowed(_Bearer):
    """The person, who has one of these roles."""

    def __init__(self, *roles: Role) -> None:
        super().__init__()
        self._roles = roles

    async def __call__(self, request: Request) -> Person:  # type: ignore[override]
        person = self.read(request).person
        if person.role not in self._roles:
            await parts_of(request).audit.add(
                Act.DENIED,
                actor=person.id,
                role=person.role.value,
                subject=f"{request.method} {request.scope['path']}"[:500],
            )
            raise NotAllowed(f"{person.role.value} {person.id} is not one of {self._roles}")
        return person


Shown = Annotated[SignIn, Depends(_Shown())]
Anybody = Annotated[Person, Depends(_Allowed(*Role))]
Customer = Annotated[Person, Depends(_Allowed(Role.CUSTOMER))]
Lead = Annotated[Person, Depends(_Allowed(Role.LEAD))]
Operator = Annotated[Person, Depends(_Allowed(Role.OPERATOR))]
CustomerOrLead = Annotated[Person, Depends(_Allowed(Role.CUSTOMER, Role.LEAD))]
Staff = Annotated[Person, Depends(_Allowed(Role.LEAD, Role.OPERATOR))]
