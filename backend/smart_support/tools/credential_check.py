"""Tries a credential out: is it let in, refused, or is there nobody to ask."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

import structlog

from smart_support.errors import InvalidInput, NotFound
from smart_support.ledger.stops import Stopped
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.offers import address_of
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access, Operation, ReviewState, Spec
from smart_support.operations.schema import tool_schema
from smart_support.resilience.records import CallFailed, CallPlan
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.credentials import COMPANY, Credential, Kind
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.tools.arguments import validate_arguments
from smart_support.tools.authorize import CredentialMissing, Door
from smart_support.tools.build import Tool
from smart_support.tools.keyring import Keyring
from smart_support.tools.oauth import ConnectionNeeded, OAuth, OAuthRefused, OAuthUnavailable
from smart_support.tools.planning import breaker_group
from smart_support.tools.request import build_request

Result = Literal["accepted", "refused", "unreachable", "unclear"]

_ROLE = "operator"
_PAGE = 200
_LONGEST_SAID = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of it. Nothing in it is secret."""

    result: Result
    """`unclear`: the API answered, but with something that says neither yes nor no."""
    asked: str
    """What was called: the key of an operation, or the server that gives tokens."""
    status: int | None
    """Of the API's answer, if one came."""
    said: str
    """One sentence for operators."""
    correlation_id: str
    """Of the request, for both sides' logs."""


class CredentialCheck:
    """Calls an approved read, or asks for a token, as a call of the agent would.

    The request takes the hardened way: addresses that are checked, time limits, the origin's
    breaker and budget, and the kill switch. Each try is in the audit log.
    """

    def __init__(
        self,
        keyring: Keyring,
        operations: PostgresOperations,
        credentials: PostgresCredentials,
        oauth: OAuth,
        stops: PostgresStops,
        audit: PostgresAudit,
        door: Door,
        *,
        total: float,
        attempt: float,
        max_bytes: int,
    ) -> None:
        """`total` and `attempt`: seconds that all of it and that one request may take."""
        self._keyring = keyring
        self._operations = operations
        self._credentials = credentials
        self._oauth = oauth
        self._stops = stops
        self._audit = audit
        self._door = door
        self._total = total
        self._attempt = attempt
        self._max_bytes = max_bytes

    async def check(
        self,
        spec_id: str,
        scheme: str,
        *,
        by: str,
        operation: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> Checked:
        """Try the credential that is set for `scheme`.

        The company's own OAuth client asks for a new token. All others are sent with an approved
        read that needs no argument, or with the one whose key is `operation`.

        Raises:
            NotFound: there is no such document, scheme or approved read.
            InvalidInput: there is no credential that could be tried, or no read to try it with.
            ArgumentsInvalid: the arguments do not fit the operation.
            Stopped: an operator has switched it off.
        """
        ring = await self._keyring.ring(spec_id)
        state = next((each for each in ring.schemes if each.name == scheme), None)
        if state is None:
            raise NotFound(f"{ring.spec.name} has no security scheme {scheme!r}")
        if state.state != "set" or state.credential is None:
            raise InvalidInput(state.reason or f"Nothing is set for {scheme}; give it first.")
        flow = state.credential.shown.get("flow")
        if flow == "authorizationCode":
            raise InvalidInput(
                f"Each customer connects an account of their own with {scheme}; the company has "
                "nothing that could be tried."
            )
        if flow == "clientCredentials" and operation is None:
            await self._refuse_stopped(spec_id, "")
            checked = await self._with_token(state.credential)
        else:
            read = await self._read(ring.spec, scheme, operation)
            await self._refuse_stopped(spec_id, read.id)
            checked = await self._with_read(ring.spec, read, arguments or {})
        await self._audit.add(
            Act.CREDENTIAL_TESTED,
            actor=by,
            role=_ROLE,
            subject=spec_id,
            details={"name": scheme, "result": checked.result, "operation": checked.asked},
        )
        return checked

    async def _refuse_stopped(self, spec_id: str, operation_id: str) -> None:
        for stop in await self._stops.standing():
            if stop.covers(operation_id=operation_id, api_id=spec_id):
                raise Stopped(stop.scope)

    async def _with_token(self, client: Credential) -> Checked:
        """Ask for a new token; one that is still good would say nothing of the client."""
        slot = replace(client.slot, kind=Kind.TOKEN, owner=COMPANY)
        held = await self._credentials.get(slot)
        result: Result = "accepted"
        said = "The server gave a token."
        try:
            await self._oauth.token(
                client, owner=COMPANY, not_version=None if held is None else held.version
            )
        except OAuthRefused as error:
            result, said = "refused", str(error)
        except OAuthUnavailable as error:
            result, said = "unreachable", str(error)
        server = str(client.shown.get("token_server", "the token server"))
        return _checked(result, server, None, said)

    async def _read(self, spec: Spec, scheme: str, key: str | None) -> Operation:
        """The read that is called, with `scheme` as its only way in."""
        if key is not None:
            found = await self._operations.approved_read(spec.id, key)
            if found is None:
                raise NotFound(f"{key} is no approved read of {spec.name}")
            only = _by_way_of(found[0], scheme)
            if only is None:
                raise InvalidInput(f"{key} is not called with {scheme}.")
            if only.classification.bindings:
                raise InvalidInput(f"{key} is about one customer; name a read that is not.")
            return only
        after = ""
        while page := await self._operations.operations(
            spec.id, state=ReviewState.APPROVED, access=Access.READ, after=after, limit=_PAGE
        ):
            for operation in page:
                only = _by_way_of(operation, scheme)
                if only is not None and _asks_for_nothing(only):
                    return only
            after = page[-1].key
        raise InvalidInput(
            f"No approved read without required arguments is called with {scheme}; name one, with "
            "its arguments."
        )

    async def _with_read(
        self, spec: Spec, operation: Operation, arguments: Mapping[str, Any]
    ) -> Checked:
        address = address_of(spec.base_url, operation.request_plan["server"])
        if address is None:
            raise InvalidInput("Nothing says where the API is. Set the base URL first.")
        validate_arguments(operation, arguments)
        correlation_id = _correlation_id()
        request = build_request(
            operation.request_plan,
            arguments,
            base_url=address,
            headers={"X-Correlation-Id": correlation_id},
        )
        plan = CallPlan(
            group=breaker_group(operation),
            writes=False,
            repeatable=True,
            total=self._total,
            attempt=self._attempt,
            max_bytes=self._max_bytes,
        )
        tool = Tool(operation.tool_name, operation, address)
        try:
            answer = await self._door.send(request, plan, tool, {})
        except CallFailed as error:
            return _checked(_result_of(error), operation.key, error.answered, str(error))
        except OAuthRefused as error:
            return _checked("refused", operation.key, None, str(error))
        except OAuthUnavailable as error:
            return _checked("unreachable", operation.key, None, str(error))
        except CredentialMissing as error:
            raise InvalidInput(f"Nothing was sent: {error.reason}.") from error
        except ConnectionNeeded as error:
            raise InvalidInput(
                f"Nothing was sent: {operation.key} needs a customer's own account as well."
            ) from error
        said = f"The API answered {answer.status}."
        return _checked("accepted", operation.key, answer.status, said)


def _checked(result: Result, asked: str, status: int | None, said: str) -> Checked:
    return Checked(
        result=result,
        asked=asked,
        status=status,
        said=said[:_LONGEST_SAID],
        correlation_id=_correlation_id(),
    )


def _correlation_id() -> str:
    """That of the request which asks for it; of a command, one of its own."""
    bound = structlog.contextvars.get_contextvars().get("correlation_id")
    if not isinstance(bound, str):
        bound = str(uuid4())
        structlog.contextvars.bind_contextvars(correlation_id=bound)
    return bound


def _result_of(failure: CallFailed) -> Result:
    match failure.answered:
        case 401 | 403:
            return "refused"
        case int(status) if status < 500:
            return "unclear"
        case _:
            return "unreachable"


def _by_way_of(operation: Operation, scheme: str) -> Operation | None:
    """`operation` with the ways in alone that go by `scheme`; None if there are none."""
    ways = tuple(way for way in operation.security if scheme in way)
    return replace(operation, security=ways) if ways else None


def _asks_for_nothing(operation: Operation) -> bool:
    return not operation.classification.bindings and not tool_schema(operation).get("required")
