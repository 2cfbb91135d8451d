"""Specs, their operations, and what a person decided about each.

A *draft* is what reading a document gives: no ids, nobody has looked at it yet. Stored, it
becomes a `Spec` and its `Operation`s, which carry a review. Everything here survives pickling
(reading runs in a child process) and, field by field, JSON.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal, NewType, NotRequired, TypedDict

from smart_support.operations.approval_rules import NO_RULES, ApprovalRules
from smart_support.operations.effects import Lookup, StatusCheck

SpecId = NewType("SpecId", str)
OperationId = NewType("OperationId", str)
JsonObject = Mapping[str, Any]

CLAIMS = ("customer_id", "email", "name")
"""What is known of a signed-in customer and can fill an argument in the model's place."""

DEFAULT_AGENT = "support"
DEFAULT_ENVIRONMENT = "live"
ENVIRONMENT = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")
"""What an environment may be called."""


class Access(Enum):
    """Whether calling the operation can change anything upstream."""

    READ = "read"
    WRITE = "write"


class Risk(Enum):
    """What a call in error would cost. HIGH: money, contact details, credentials, deletion."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class ReviewState(Enum):
    """Where the review of one operation stands. Only APPROVED ones can be called."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    CHANGED = "changed"
    """Was approved; the document has changed it since, so that it waits for a person again."""
    REMOVED = "removed"
    """Was decided about; the document does not have it any more. Kept for its history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One thing that was said of an operation, why, and where the document says so."""

    about: str
    """The field of the classification that it speaks of, e.g. `access`; `description` for a
    remark on the text itself."""
    reason: str
    """One sentence for people."""
    confidence: float
    """0 to 1: how likely it is right. Below CLEAR a person should look at this one by itself."""
    place: str = ""
    """The part of the operation's own description it was read from, e.g. `summary`, `parameters`,
    `x-readOnlyHint`; empty: its path."""
    quote: str = ""
    """The word or name there that says so."""
    source: Literal["rules", "model"] = "rules"


CLEAR = 0.8
"""From this confidence on, the rules agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What an operation is: suggested from the document, or as a person decided."""

    access: Access
    confirm: bool
    """Whether the customer must say yes to each call."""
    agent: str = DEFAULT_AGENT
    """Name of the agent that owns the operation."""
    bindings: Mapping[str, str] = field(default_factory=dict)
    """Argument -> claim (one of CLAIMS) that fills it; the model does not see bound arguments."""
    risk: Risk = Risk.MEDIUM
    idempotency_header: str | None = None
    """Header that takes an idempotency key, if the document has one; the executor fills it."""
    confirm_locked: bool = False
    """No person may lower `confirm`. Set by the suggestion; a decision cannot change it."""
    reasons: tuple[str, ...] = ()
    """Why, one sentence each."""
    approval_rules: ApprovalRules = NO_RULES
    """What is demanded beyond the customer's yes."""
    grounds: tuple[Ground, ...] = ()
    """The same with what each speaks of, how sure it is, and from where it was read."""
    unbindable: bool = False
    """It shows or changes things of one customer, and no argument says whose: it is not offered
    to a customer who is not known."""
    idempotency_lifetime_s: int | None = None
    """How long the API remembers an idempotency key, in seconds; None: not known."""
    repeatable: bool | None = None
    """Doing it twice is the same as doing it once, as a person says; None: nobody has said, and
    what its method promises counts."""
    lookup: Lookup | None = None
    """How to find out whether a write whose answer was lost took effect."""
    status: StatusCheck | None = None
    """How to follow a request that was accepted but is not done (202)."""
    breaker_group: str | None = None
    """Operations of one group of an origin fail together; None: those with the same first tag."""
    cacheable_s: int | None = None
    """How old, in seconds, an answer may be that stands in, marked as old, while the API is down;
    None: none does."""
    answer_fields: tuple[str, ...] = ()
    """What the model is shown of an answer; empty: all of it."""
    pagination: Mapping[str, Any] | None = None
    """How its pages are walked; None: it has none."""


UNKNOWN = Classification(
    access=Access.WRITE,
    confirm=True,
    risk=Risk.MEDIUM,
    reasons=("Nothing is known about this operation, so it counts as a write.",),
)

Location = Literal["path", "query", "header", "cookie", "part"]
"""Where an argument is sent; `part` is a header of one part of a multipart body."""

INSIDE_LIST = "[]"
"""Stands in a path for every item of a list."""


class ParameterPlan(TypedDict):
    """How one argument is written into the request."""

    argument: str
    """Its name in the tool's schema; differs from `name` where two parameters share one."""
    name: str
    location: Location
    style: str
    """OpenAPI's styles, `tabDelimited` for Swagger 2.0's tsv, and `querystring` for a parameter
    that is the whole query."""
    explode: bool
    allow_reserved: bool
    media_type: str | None
    """Set for a `content` parameter: the value is serialised as this media type first."""
    required: bool
    """Of a part's header: it must be there where its part is."""
    default: NotRequired[Any]
    """Sent if no argument is given: of what is required, and so need not be said."""
    part: NotRequired[str | list[str | int]]
    """Of a part's header: the property that is that part; or, of one inside of another or without
    a name, the way to it through `encoding` (names) and `positions` (places)."""
    each: NotRequired[bool]
    """Of a part's header: there may be several such parts, and a list has a value for each, in
    the order in which they are sent. What is no list counts for all of them."""
    encoding: NotRequired[dict[str, "EncodingPlan"]]
    """How the fields of a query are written that is one parameter (`querystring`)."""


class EncodingPlan(TypedDict, total=False):
    """How one property of a form or multipart body is written. A key left out has its default."""

    style: str
    explode: bool
    allow_reserved: bool
    content_type: str
    content_types: list[str]
    """What a file may be, if that is more than one type or a wildcard; the caller chooses."""
    binary: bool
    """The part is a file: given as text, or as `{"base64": ..., "filename": ...}`."""
    headers: dict[str, str]
    """Headers of the part that have one possible value, and so are no arguments."""
    encoding: "dict[str, EncodingPlan]"
    """The part is a form or a multipart document itself: how each of its properties is written."""
    positions: "list[EncodingPlan]"
    """The same where its parts have no names, as in BodyPlan."""


Framing = Literal["lines", "records"]
"""How JSON texts that are sent one after the other are told apart: each ends its line, or is a
record of RFC 7464."""


class BodyPlan(TypedDict):
    """How the argument `argument` becomes the request's body."""

    argument: str
    media_type: str
    required: bool
    binary: bool
    """The whole body is a file: given as text, or as `{"base64": ...}`."""
    encoding: dict[str, EncodingPlan]
    read_only: NotRequired[list[str]]
    """Fields that only answers have. They are not in the schema, and not sent if given anyway."""
    read_only_inside: NotRequired[list[list[str]]]
    """The same further inside: the way to each, with INSIDE_LIST for the items of a list."""
    positions: NotRequired[list[EncodingPlan]]
    """Of a multipart body whose parts have no names: how each is written; the last one counts for
    all that follow."""
    framing: NotRequired[Framing]
    """Of a body that is a sequence of JSON texts, one for each item of the argument."""


class RequestPlan(TypedDict):
    """All that is needed to turn arguments into a request, without the document. Plain JSON."""

    method: str
    """Upper case."""
    path: str
    """The template, as in the document."""
    server: str | None
    """Set if the operation has a server of its own: absolute, or relative to the base URL."""
    parameters: list[ParameterPlan]
    body: BodyPlan | None
    accept: str | None
    """Media type of the successful answer to ask for, if the document names any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOperation:
    """One operation as read from a document."""

    key: str
    """Method and path, e.g. `GET /orders/{order_id}`; the same operation after a re-import."""
    method: str
    path: str
    operation_id: str | None
    tool_name: str
    """Matches ^[a-zA-Z0-9_-]{1,64}$ and is unique in its spec."""
    summary: str
    description: str
    """What the model reads; at most 1024 characters, without control or invisible ones."""
    tags: tuple[str, ...] = ()
    deprecated: bool = False
    pointer: str
    """JSON pointer of the operation in its document, e.g. `#/paths/~1orders/get`."""
    schema: JsonObject
    """JSON Schema 2020-12 of the arguments, self-contained, bound arguments still included."""
    schema_hash: str
    """SHA-256, hex, over what a call depends on (schema and request plan)."""
    request_plan: RequestPlan
    hints: JsonObject = field(default_factory=dict)
    """The document's own words on the effect: the `x-` fields that `suggest` understands, and
    `idempotency_header`."""
    suggestion: Classification = UNKNOWN
    security: tuple[Mapping[str, list[str]], ...] = ()
    """Which credentials a call needs: one of these, each naming schemes that go together, with
    their scopes. Empty: none."""
    starts_at: int | None = None
    """Where in the document's text it is described: characters before it, and (`ends_at`) up to
    its end. None if that is not known."""
    ends_at: int | None = None


Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between an operation as it was decided on and as it is described now."""

    field: str
    """E.g. `summary`, `access`, `argument customer_id`, `argument /body/amount`."""
    kind: Kind
    before: str | None
    after: str | None
    breaking: bool = False
    """A call as it was made before fails now, or does something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(DraftOperation):
    """One stored operation and its review."""

    id: OperationId
    spec_id: SpecId
    classification: Classification
    """As decided; the suggestion until somebody decides."""
    state: ReviewState = ReviewState.PENDING
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str | None = None
    version: int = 1
    """Counts decisions and re-imports; a decision names the version it was made on."""
    changes: tuple[Change, ...] = ()
    """What later documents changed since the decision that they count against."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """One operation of a document that cannot be used, and why."""

    key: str
    reason: str
    line: int | None = None
    """Where the document speaks of it, from 1; None if that is not known."""
    pointer: str | None = None
    """Where it stands, as a JSON pointer, if it stands in the document itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftSpec:
    """A document as read: its operations, and the ones that cannot be used."""

    title: str
    version_text: str
    """`info.version`: the API's own version, as text."""
    dialect: str
    """The version of the description language, e.g. `2.0` or `3.1.0`."""
    source: str
    """File name or URL that the document came from."""
    hash: str
    """SHA-256 of the document's bytes, hex."""
    base_url: str | None
    """Absolute, without a trailing slash; None if the document does not say where the API is."""
    operations: tuple[DraftOperation, ...]
    skipped: tuple[Skipped, ...]
    schemes: JsonObject = field(default_factory=dict)
    """The document's security schemes by name, as `operations.security.Scheme`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A stored document: what it is called here, and how much it holds."""

    id: SpecId
    name: str
    """Chosen by the operator, unique; a re-import under the same name is a new version of it."""
    title: str
    version_text: str
    dialect: str
    source: str
    hash: str
    base_url: str | None
    imported_at: datetime
    operation_count: int
    waiting_count: int = 0
    """Operations that wait for a person."""
    skipped: tuple[Skipped, ...] = ()
    environment: str = DEFAULT_ENVIRONMENT
    """Which of its environments is called; each has a base URL and credentials of its own."""
    environments: Mapping[str, str | None] = field(default_factory=dict)
    """Name -> base URL, as the operator gave them."""
    schemes: JsonObject | None = None
    """The document's security schemes; None if it was imported before they were read."""

    def known_environments(self) -> dict[str, str | None]:
        """Name -> base URL of all of them, the one that is called among them."""
        return {**self.environments, self.environment: self.base_url}
