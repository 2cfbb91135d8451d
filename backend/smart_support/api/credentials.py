"""Credentials of imported APIs: given by operators, written and never read back."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr

from smart_support.api.access import Operator, Staff
from smart_support.api.parts import Parts, Running
from smart_support.api.problems import PROBLEMS
from smart_support.operations.records import ENVIRONMENT
from smart_support.operations.security import Flow, SchemeType
from smart_support.security.credentials import Credential, Kind
from smart_support.tools.keyring import Given, Ring, SchemeState

router = APIRouter(prefix="/api/specs/{spec_id}", tags=["credentials"], responses=PROBLEMS)

Secret = Annotated[SecretStr, Field(min_length=1, max_length=16_384)]
SchemeName = Annotated[str, Path(min_length=1, max_length=200)]
HeaderName = Annotated[str, Path(min_length=1, max_length=100)]
EnvironmentName = Annotated[str, Path(pattern=ENVIRONMENT.pattern)]


class SchemeCredential(BaseModel):
    """A security scheme of the document, and whether a credential is there for it."""

    name: str
    type: SchemeType
    place: Literal["header", "query", "cookie"] | None = Field(
        description="Where an API key is sent."
    )
    parameter: str | None = Field(description="Name of the API key's header, parameter or cookie.")
    description: str
    flows: list[Flow] = Field(description="Of OAuth 2.0: the ways to a token that can be used.")
    operations: int = Field(description="How many operations can use it.")
    scopes: list[str] = Field(description="Scopes that those operations need.")
    state: Literal["set", "missing", "stale", "refused"]
    reason: str | None = Field(description="Why it is stale or refused.")
    hint: str | None = Field(description="The last characters of the secret, if it is long.")
    client_id: str | None
    flow: Flow | None
    token_server: str | None = Field(description="Where the client's secret is sent.")
    origins: list[str] = Field(description="The only servers that it is sent to.")
    connected: int = Field(description="Customers who have connected their account.")
    set_by: str | None
    set_at: datetime | None


class HeaderCredential(BaseModel):
    """A header that every request to this API carries."""

    name: str
    claim: str | None = Field(description="Claim of the signed-in customer that fills it.")
    hint: str | None = Field(description="Of a fixed value.")
    origins: list[str]
    set_by: str
    set_at: datetime


class CredentialTrouble(BaseModel):
    """Calls fail for want of a good credential."""

    since: datetime
    last_at: datetime
    count: int
    reason: str
    operation: str
    correlation_id: str


class Environment(BaseModel):
    """One installation of the API, such as its sandbox."""

    name: str
    base_url: str | None
    active: bool


class Credentials(BaseModel):
    """What opens an API, in the environment that is called."""

    environment: str
    environments: list[Environment]
    schemes_read: bool = Field(
        description="False: the document was imported before its schemes were read; import it anew."
    )
    schemes: list[SchemeCredential]
    headers: list[HeaderCredential]
    trouble: CredentialTrouble | None


class GivenCredential(BaseModel):
    """A credential; which fields it needs depends on the type of its scheme."""

    value: Secret | None = Field(None, description="Of an API key or a bearer token.")
    username: Secret | None = Field(None, description="Of HTTP basic.")
    password: Secret | None = Field(None, description="Of HTTP basic.")
    client_id: str | None = Field(None, max_length=500, description="Of OAuth 2.0.")
    client_secret: Secret | None = Field(None, description="Of OAuth 2.0.")
    flow: Flow | None = Field(None, description="Of OAuth 2.0, if there are several.")
    scopes: list[str] | None = Field(
        None, max_length=200, description="Default: those that the operations need."
    )
    in_body: bool = Field(
        default=False,
        description="Send client id and secret in the body instead of as HTTP basic.",
    )
    origins: list[AnyHttpUrl] | None = Field(
        None, max_length=20, description="Servers it may be sent to. Default: the base URL's."
    )


class CheckWanted(BaseModel):
    """With which read a credential is tried."""

    operation: str | None = Field(
        None, max_length=2000, description="Key of an approved read. Default: one is found."
    )
    arguments: dict[str, Any] | None = Field(None, description="Of that read.")


class CredentialChecked(BaseModel):
    """What came of it; no secret is among it."""

    model_config = ConfigDict(from_attributes=True)

    result: Literal["accepted", "refused", "unreachable", "unclear"] = Field(
        description="`refused`: 401 or 403, or no token. `unclear`: another answer of the API."
    )
    asked: str = Field(description="Key of the operation, or the server that gives tokens.")
    status: int | None = Field(description="Of the API's answer, if one came.")
    said: str
    correlation_id: str = Field(description="Of the request; the API was given it as well.")


class GivenHeader(BaseModel):
    """A header: either a fixed value or a claim of the customer."""

    value: Secret | None = None
    claim: str | None = Field(None, max_length=50)


class GivenEnvironment(BaseModel):
    """Where an environment is, and whether it is the one that is called."""

    base_url: AnyHttpUrl | None = Field(None, description="May be left out if it was said before.")
    choose: bool = Field(default=True, description="False: the one that is called stays.")


@router.get("/credentials", summary="What opens an API")
async def read_credentials(spec_id: UUID, person: Staff, parts: Running) -> Credentials:  # noqa: ARG001
    """Each security scheme and its state. No secret is ever among it."""
    return await _credentials(parts, spec_id)


@router.put("/credentials/{scheme}", summary="Give a credential")
async def give_credential(
    spec_id: UUID, scheme: SchemeName, given: GivenCredential, person: Operator, parts: Running
) -> Credentials:
    """Set or replace it. It is sealed, and sent to the servers that it is given for alone."""
    await parts.keyring.give(str(spec_id), scheme, _given(given), by=person.id)
    return await _credentials(parts, spec_id)


@router.delete("/credentials/{scheme}", summary="Delete a credential")
async def delete_credential(
    spec_id: UUID, scheme: SchemeName, person: Operator, parts: Running
) -> Credentials:
    """With every token that was had with it; customers must then connect again."""
    await parts.keyring.take(str(spec_id), scheme, Kind.SCHEME, by=person.id)
    return await _credentials(parts, spec_id)


@router.post("/credentials/{scheme}/test", summary="Try a credential out")
async def check_credential(
    spec_id: UUID, scheme: SchemeName, wanted: CheckWanted, person: Operator, parts: Running
) -> CredentialChecked:
    """Ask for a token, or call an approved read that needs no arguments, or the one named.

    It is sent as every call is, and is in the audit log.
    """
    checked = await parts.credential_check.check(
        str(spec_id),
        scheme,
        by=person.id,
        operation=wanted.operation,
        arguments=wanted.arguments,
    )
    return CredentialChecked.model_validate(checked, from_attributes=True)


@router.put("/headers/{header}", summary="Let every request carry a header")
async def give_header(
    spec_id: UUID, header: HeaderName, given: GivenHeader, person: Operator, parts: Running
) -> Credentials:
    """A fixed value, or what is known of the customer. The model sees neither."""
    value = given.value.get_secret_value() if given.value else None
    await parts.keyring.give_header(
        str(spec_id), header, value=value, claim=given.claim, by=person.id
    )
    return await _credentials(parts, spec_id)


@router.delete("/headers/{header}", summary="Delete a header")
async def delete_header(
    spec_id: UUID, header: HeaderName, person: Operator, parts: Running
) -> Credentials:
    """Requests do not carry it any more."""
    await parts.keyring.take(str(spec_id), header, Kind.HEADER, by=person.id)
    return await _credentials(parts, spec_id)


@router.put("/environments/{environment}", summary="Set or choose an environment")
async def choose_environment(
    spec_id: UUID,
    environment: EnvironmentName,
    given: GivenEnvironment,
    person: Operator,
    parts: Running,
) -> Credentials:
    """Which is called from now on. Each has a base URL and credentials of its own."""
    base_url = str(given.base_url).rstrip("/") if given.base_url else None
    await parts.operations.set_environment(
        str(spec_id), environment, base_url, by=person.id, choose=given.choose
    )
    return await _credentials(parts, spec_id)


def _given(given: GivenCredential) -> Given:
    def opened(secret: SecretStr | None) -> str | None:
        return secret.get_secret_value() if secret else None

    return Given(
        value=opened(given.value),
        username=opened(given.username),
        password=opened(given.password),
        client_id=given.client_id,
        client_secret=opened(given.client_secret),
        flow=given.flow,
        scopes=given.scopes,
        in_body=given.in_body,
        origins=[str(url) for url in given.origins] if given.origins else None,
    )


async def _credentials(parts: Parts, spec_id: UUID) -> Credentials:
    return _shown(await parts.keyring.ring(str(spec_id)))


def _shown(ring: Ring) -> Credentials:
    spec = ring.spec
    return Credentials(
        environment=spec.environment,
        environments=[
            Environment(name=name, base_url=url, active=name == spec.environment)
            for name, url in sorted(spec.known_environments().items())
        ],
        schemes_read=spec.schemes is not None,
        schemes=[_scheme(state) for state in ring.schemes],
        headers=[_header(header) for header in ring.headers],
        trouble=None
        if ring.trouble is None
        else CredentialTrouble.model_validate(ring.trouble, from_attributes=True),
    )


def _scheme(state: SchemeState) -> SchemeCredential:
    scheme, credential = state.scheme, state.credential
    shown = credential.shown if credential else {}
    flows: list[Flow] = [
        name
        for name in ("clientCredentials", "authorizationCode")
        if scheme["type"] == "openIdConnect" or name in scheme.get("flows", {})
    ]
    return SchemeCredential(
        name=state.name,
        type=scheme["type"],
        place=scheme.get("place"),
        parameter=scheme.get("name"),
        description=scheme.get("description", ""),
        flows=flows if scheme["type"] in {"oauth2", "openIdConnect"} else [],
        operations=state.operations,
        scopes=list(state.scopes),
        state=state.state,
        reason=state.reason,
        hint=shown.get("hint"),
        client_id=shown.get("client_id"),
        flow=shown.get("flow"),
        token_server=shown.get("token_server"),
        origins=list(credential.origins) if credential else [],
        connected=state.connected,
        set_by=credential.set_by if credential else None,
        set_at=credential.set_at if credential else None,
    )


def _header(header: Credential) -> HeaderCredential:
    return HeaderCredential(
        name=header.slot.name,
        claim=header.shown.get("claim"),
        hint=header.shown.get("hint"),
        origins=list(header.origins),
        set_by=header.set_by,
        set_at=header.set_at,
    )
