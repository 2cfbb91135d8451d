"""Importing an API's document, and deciding what each of its operations is."""

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field

from smart_support.api.access import Operator, Staff
from smart_support.api.parts import Parts, Running
from smart_support.api.problems import PROBLEMS
from smart_support.errors import InvalidInput
from smart_support.operations.advice import MOST, SWITCHED_OFF, advise_page
from smart_support.operations.approval_rules import ApprovalRules
from smart_support.operations.binding import arguments_of
from smart_support.operations.changes import turned_write
from smart_support.operations.decisions import Batch, Decided
from smart_support.operations.document import FileTooLarge
from smart_support.operations.effects import DONE_WORDS, FAILED_WORDS, Lookup, StatusCheck
from smart_support.operations.evidence import evidence_of
from smart_support.operations.importing import fetch_document, import_document
from smart_support.operations.imports_postgres import Imported
from smart_support.operations.records import (
    CLAIMS,
    Access,
    Classification,
    Operation,
    ReviewState,
    Risk,
    Spec,
)
from smart_support.operations.review import Correction, Verdict, decide, decide_all
from smart_support.operations.schema import size_of, tokens_of, tool_schema
from smart_support.operations.suggest import is_clear
from smart_support.tools.dry_run import SAMPLE, dry_run

router = APIRouter(prefix="/api", tags=["review"], responses=PROBLEMS)

AnswerField = Annotated[str, Field(min_length=1, max_length=200)]
ImportId = Annotated[
    UUID | None,
    Query(description="Made by the client, to ask with it how far the import is."),
]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w .()/-]+$")]


class SkippedOperation(BaseModel):
    """An operation of the document that cannot be used."""

    key: str
    reason: str
    line: int | None = Field(default=None, description="Where the document speaks of it, from 1.")


class SpecSummary(BaseModel):
    """An imported document."""

    id: UUID
    name: str
    title: str
    version_text: str = Field(description="The API's own version.")
    dialect: str = Field(description="OpenAPI or Swagger version of the document.")
    source: str
    hash: str
    base_url: str | None = Field(description="Where its API is; without it nothing is callable.")
    imported_at: datetime
    operation_count: int
    waiting_count: int = Field(description="Operations that wait for a person.")
    skipped: list[SkippedOperation]


class Specs(BaseModel):
    """Every imported document."""

    specs: list[SpecSummary]


class ImportResult(BaseModel):
    """What an import changed."""

    spec: SpecSummary
    added: int
    changed: int = Field(description="Operations that wait for a review again.")
    removed: int
    unchanged: int = Field(description="Operations that keep their review.")
    breaking: int = Field(description="Changed ones of which calls as before would fail.")
    turned_write: int = Field(description="Changed ones that were reads and are writes now.")


class ImportProgress(BaseModel):
    """How far an import is."""

    stage: Literal["reading", "converting", "locating", "storing"]
    done: int = Field(description="Operations done in this stage; 0 of 0 where it has none.")
    total: int


class FromUrl(BaseModel):
    """A document behind a URL."""

    url: AnyHttpUrl
    name: Name | None = None


class BaseUrl(BaseModel):
    """Where an API is."""

    base_url: AnyHttpUrl


class LookupLink(BaseModel):
    """A read that shows whether a write took effect.

    Pointers into the call begin with `/arguments/` or `/answer/`, or are `/key`.
    """

    operation: str = Field(max_length=2000, description="Its key; empty: none.")
    arguments: dict[str, str] = Field({}, description="Its argument -> pointer into the call.")
    items: str = Field("", description="Pointer into its answer to the list to search.")
    equal: dict[str, str] = Field({}, description="Pointer into an item -> one into the call.")
    since: str | None = Field(None, description="Pointer into an item to its date-time.")


class StatusLink(BaseModel):
    """A read that says how far an accepted request (202) has come."""

    operation: str = Field(max_length=2000, description="Its key; empty: none.")
    arguments: dict[str, str] = Field({}, description="Its argument -> pointer into the call.")
    state: str = Field("/status", description="Pointer into its answer.")
    done: list[str] = Field(list(DONE_WORDS), description="Words that mean: done.")
    failed: list[str] = Field(list(FAILED_WORDS), description="Words that mean: failed.")


class Classified(BaseModel):
    """What an operation is."""

    access: Access
    confirm: bool = Field(description="Whether the customer must say yes to each call.")
    agent: str
    bindings: dict[str, str] = Field(
        description="Argument -> claim of the signed-in customer that fills it."
    )
    risk: Risk
    idempotency_header: str | None
    idempotency_lifetime_s: int | None = Field(
        description="How long the API keeps an idempotency key."
    )
    repeatable: bool | None = Field(
        description="The same request twice has the effect of one; none: as its method promises."
    )
    lookup: LookupLink | None = Field(description="Shows whether a write took effect.")
    status: StatusLink | None = Field(description="Follows a request that was accepted (202).")
    breaker_group: str | None = Field(description="Which operations fail together.")
    cacheable_s: int | None = Field(
        description="How old an answer may be that stands in while the API is down."
    )
    confirm_locked: bool = Field(description="Nobody may lower `confirm`.")
    approval_rules: ApprovalRules = Field(description="What is demanded beyond the customer's yes.")
    reasons: list[str]
    unbindable: bool = Field(
        description="One customer's own, and no argument says whose: not for one who is not known."
    )
    answer_fields: list[str] = Field(
        description="What the model is shown of an answer; empty: all of it."
    )
    pagination: dict[str, Any] | None = Field(
        description="How its pages are walked behind one cursor; null: they are not."
    )


class GroundShown(BaseModel):
    """One thing that was said of an operation, and where the document says so."""

    model_config = ConfigDict(from_attributes=True)

    about: str = Field(description="The field that it speaks of.")
    reason: str
    confidence: float = Field(ge=0, le=1)
    place: str = Field(description="Part of the operation's description; empty: its path.")
    quote: str
    source: Literal["rules", "model"]


class GroundFound(GroundShown):
    """The same, with the line."""

    line: int | None = Field(description="Number of the line among those shown.")


class ChangeShown(BaseModel):
    """One difference from what was decided on."""

    model_config = ConfigDict(from_attributes=True)

    field: str
    kind: Literal["added", "removed", "changed"]
    before: str | None
    after: str | None
    breaking: bool = Field(description="A call as before fails now, or does something else.")


class ReviewOperation(BaseModel):
    """One operation, the suggestion, and what was decided."""

    id: UUID
    spec_id: UUID
    key: str
    method: str
    path: str
    operation_id: str | None
    tool_name: str
    summary: str
    description: str
    tags: list[str]
    deprecated: bool
    pointer: str = Field(description="Where in the document it is described.")
    suggestion: Classified
    classification: Classified
    state: ReviewState
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    version: int
    schema_bytes: int = Field(description="Size of what the model must read to know the tool.")
    tokens: int = Field(description="About what offering it costs a turn, in the model's tokens.")
    clear: bool = Field(description="All rules agree on what is suggested.")
    breaking: bool = Field(description="Of what changed since the decision, something breaks.")
    turned_write: bool = Field(description="Was a read when it was decided about; is a write.")


class OperationDetail(ReviewOperation):
    """One operation with the arguments that the model sees, and the history of decisions."""

    tool_schema: dict[str, Any]
    arguments: list[str] = Field(description="All of them, those bound to the customer too.")
    claims: list[str] = Field(description="What of the signed-in customer can fill an argument.")
    grounds: list[GroundShown] = Field(description="What the suggestion rests on.")
    changes: list[ChangeShown] = Field(description="What changed since the decision.")
    history: list["PastReview"]


class PastReview(BaseModel):
    """One decision."""

    at: datetime
    by: str
    state: ReviewState
    classification: Classified
    reason: str | None
    batch_id: UUID = Field(description="What was decided at once with it; to be undone at once.")
    undoes: UUID | None = Field(description="The batch that this one took back.")


class Operations(BaseModel):
    """A page of operations in the order of their keys."""

    operations: list[ReviewOperation]
    next_after: str | None = Field(description="Give it as `after` for the next page.")


class ReviewDecision(BaseModel):
    """What a person decides; what is left out stays as it is."""

    version: int = Field(description="Version of the operation that was looked at.")
    state: Literal["approved", "rejected", "pending"]
    access: Access | None = None
    confirm: bool | None = None
    agent: str | None = Field(None, min_length=1, max_length=60)
    bindings: dict[str, str] | None = None
    risk: Risk | None = None
    idempotency_header: str | None = Field(
        None, max_length=100, pattern=r"^[A-Za-z0-9-]*$", description="Empty: it takes none."
    )
    unbindable: bool | None = None
    idempotency_lifetime_s: int | None = Field(
        None, ge=0, le=366 * 86_400, description="0: nobody knows."
    )
    repeatable: bool | None = None
    lookup: LookupLink | None = None
    status: StatusLink | None = None
    breaker_group: str | None = Field(None, max_length=100, description="Empty: by its tag.")
    cacheable_s: int | None = Field(None, ge=0, le=86_400, description="0: never.")
    approval_rules: ApprovalRules | None = None
    answer_fields: list[AnswerField] | None = Field(
        None, max_length=100, description="Such as `data.id`. Empty: the whole answer is shown."
    )
    paged: bool | None = Field(
        None, description="Whether its pages are walked as suggested, or not at all."
    )
    reason: str | None = Field(None, max_length=1000)


class OperationDecision(ReviewDecision):
    """A decision about one of several operations."""

    operation_id: UUID


class Decisions(BaseModel):
    """Decisions to be made at once: all of them or none."""

    decisions: list[OperationDecision] = Field(min_length=1, max_length=5000)


class DecidedTogether(BaseModel):
    """What was decided at once, and how the operations stand now."""

    batch_id: UUID = Field(description="To undo it with.")
    operations: list[ReviewOperation]


class DecisionBatch(BaseModel):
    """What a person decided at once."""

    batch_id: UUID
    at: datetime
    by: str
    states: list[ReviewState]
    count: int
    first_key: str = Field(description="The first of its operations.")
    reason: str | None
    undoes: UUID | None = Field(description="The batch that this one took back.")
    undoable: bool = Field(description="Nobody has decided about any of its operations since.")


class DecisionHistory(BaseModel):
    """The latest decisions about a document's operations, the newest first."""

    batches: list[DecisionBatch]


class OperationEvidence(BaseModel):
    """The lines of the document that an operation was read from."""

    source: str
    pointer: str
    document_line: int = Field(description="Line of the document on which it begins; 0: unknown.")
    first_line: int = Field(description="Number of the first of `lines`.")
    lines: list[str]
    highlight_first: int = Field(description="The operation itself: from this line …")
    highlight_last: int = Field(description="… to this one.")
    reformatted: bool = Field(
        description="The document has it on one long line, which is indented here."
    )
    left_out: int = Field(description="Lines of the operation behind the last one shown.")
    grounds: list[GroundFound] = Field(description="What the suggestion rests on, with its lines.")


class Advice(BaseModel):
    """What came of asking the model."""

    asked: int
    advised: int = Field(description="Operations whose suggestion has the model's word now.")
    unanswered: list[str] = Field(description="Keys of those on which it gave no answer.")
    next_after: str | None = Field(description="Give it as `after` to ask about the next ones.")


class AdviceOffer(BaseModel):
    """Whether the model can be asked."""

    offered: bool


class DryRunWanted(BaseModel):
    """For which arguments, and for whom, a request is to be shown."""

    arguments: dict[str, Any] | None = Field(
        None, description="As the model would give them; without them, some are made up."
    )
    customer: dict[str, Annotated[str, Field(max_length=500)]] | None = Field(
        None, description="Claim -> value of the customer; without them, a sample customer."
    )


class HeaderShown(BaseModel):
    """One header of a request."""

    name: str
    value: str


class DryRunShown(BaseModel):
    """The request as it would be sent; credentials are added only to what is."""

    method: str
    url: str
    headers: list[HeaderShown]
    body: str | None
    body_bytes: int
    arguments: dict[str, Any] = Field(description="What the model gave, or what was made up.")
    filled: dict[str, Any] = Field(description="With what the customer fills.")


@router.post(
    "/specs",
    status_code=201,
    summary="Import a document",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The OpenAPI document itself, JSON or YAML; or a ZIP or TAR of "
            "it and the files that it refers to. `source!/path` names the main one.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def upload_document(
    request: Request,
    person: Operator,
    parts: Running,
    source: Annotated[str, Query(max_length=500, description="File name.")] = "upload",
    name: Annotated[Name | None, Query()] = None,
    import_id: ImportId = None,
) -> ImportResult:
    """Read a document; the same name again is compared with what was imported before."""
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        limit = parts.settings.smart_support_spec_max_bytes
        if len(raw) > limit:
            raise FileTooLarge(source, len(raw), limit)
    return await _import(parts, bytes(raw), source, name, person.id, import_id)


@router.post("/specs/from-url", status_code=201, summary="Import a document from a URL")
async def import_from_url(
    wanted: FromUrl, person: Operator, parts: Running, import_id: ImportId = None
) -> ImportResult:
    """Fetch a document and read it. Redirects are not followed."""
    url = str(wanted.url)
    raw = await fetch_document(
        parts.documents,
        url,
        within=parts.settings.smart_support_spec_timeout,
        max_bytes=parts.settings.smart_support_spec_max_bytes,
    )
    return await _import(parts, raw, url, wanted.name, person.id, import_id)


@router.get("/imports/{import_id}", summary="How far an import is")
async def read_import(import_id: UUID, person: Operator, parts: Running) -> ImportProgress:
    """Of one's own import, while it goes on and in the process where it does."""
    progress = parts.imports.progress(str(import_id), person.id)
    return ImportProgress.model_validate(progress, from_attributes=True)


@router.get("/specs", summary="List documents")
async def list_specs(person: Staff, parts: Running) -> Specs:  # noqa: ARG001 - names who may
    """Every imported document, the newest first."""
    return Specs(specs=[_spec(spec) for spec in await parts.operations.specs()])


@router.get("/specs/{spec_id}", summary="One document")
async def read_spec(spec_id: UUID, person: Staff, parts: Running) -> SpecSummary:  # noqa: ARG001
    """What was imported, and what of it cannot be used."""
    return _spec(await parts.operations.spec(str(spec_id)))


@router.put("/specs/{spec_id}/base-url", summary="Say where the API is")
async def set_base_url(
    spec_id: UUID,
    wanted: BaseUrl,
    person: Operator,
    parts: Running,
) -> SpecSummary:
    """The operator's word goes before the document's."""
    address = str(wanted.base_url).rstrip("/")
    return _spec(await parts.operations.set_base_url(str(spec_id), address, by=person.id))


@router.get("/specs/{spec_id}/operations", summary="List operations")
async def list_operations(
    spec_id: UUID,
    person: Staff,  # noqa: ARG001
    parts: Running,
    state: ReviewState | None = None,
    access: Access | None = None,
    query: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[str, Query(max_length=2000, description="`next_after` of a page.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Operations:
    """Operations with their suggestions and decisions."""
    await parts.operations.spec(str(spec_id))
    found = await parts.operations.operations(
        str(spec_id), state=state, access=access, query=query, after=after, limit=limit
    )
    return Operations(
        operations=[ReviewOperation(**_described(operation)) for operation in found],
        next_after=found[-1].key if len(found) == limit else None,
    )


@router.post("/specs/{spec_id}/advice", summary="Ask the model for a second opinion")
async def advise_on_operations(
    spec_id: UUID,
    person: Operator,  # noqa: ARG001
    parts: Running,
    after: Annotated[str, Query(max_length=2000, description="`next_after` of the last.")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST)] = 20,
) -> Advice:
    """On operations that nobody has decided about. It can ask for more care, never for less."""
    if parts.ask_model is None:
        raise InvalidInput(SWITCHED_OFF)
    done = await advise_page(
        parts.operations, str(spec_id), parts.ask_model, after=after, limit=limit
    )
    return Advice(**asdict(done))


@router.get("/advice", summary="Whether the model gives second opinions")
async def read_advice_offer(person: Staff, parts: Running) -> AdviceOffer:  # noqa: ARG001
    """It does if SMART_SUPPORT_MODEL_ADVISES is set and there is a model."""
    return AdviceOffer(offered=parts.ask_model is not None)


@router.get("/operations/{operation_id}", summary="One operation")
async def read_operation(operation_id: UUID, person: Staff, parts: Running) -> OperationDetail:  # noqa: ARG001
    """With its arguments and the history of its review."""
    return await _detail(parts, await parts.operations.operation(str(operation_id)))


@router.post("/operations/{operation_id}/decision", summary="Decide about an operation")
async def decide_operation(
    operation_id: UUID, decision: ReviewDecision, person: Operator, parts: Running
) -> OperationDetail:
    """Correct, approve or reject. Only approved operations can be called."""
    decided = await decide(
        parts.operations,
        await parts.operations.operation(str(operation_id)),
        state=ReviewState(decision.state),
        correction=correction_of(decision),
        by=person.id,
        reason=decision.reason,
        version=decision.version,
    )
    return await _detail(parts, decided)


@router.post("/specs/{spec_id}/decisions", summary="Decide about operations at once")
async def decide_operations(
    spec_id: UUID, wanted: Decisions, person: Operator, parts: Running
) -> DecidedTogether:
    """Correct, approve or reject several operations of a document: all of them, or none."""
    decided = await decide_all(
        parts.operations,
        str(spec_id),
        [
            Verdict(
                operation_id=str(one.operation_id),
                version=one.version,
                state=ReviewState(one.state),
                correction=correction_of(one),
                reason=one.reason,
            )
            for one in wanted.decisions
        ],
        by=person.id,
    )
    return _together(decided)


@router.get("/specs/{spec_id}/decisions", summary="Latest decisions about a document")
async def list_decisions(spec_id: UUID, person: Staff, parts: Running) -> DecisionHistory:  # noqa: ARG001
    """Who decided what, when and why, the newest first; at most 50."""
    await parts.operations.spec(str(spec_id))
    return DecisionHistory(
        batches=[_batch(batch) for batch in await parts.operations.batches(str(spec_id))]
    )


@router.post("/reviews/{batch_id}/undo", summary="Take decisions back")
async def undo_decisions(batch_id: UUID, person: Operator, parts: Running) -> DecidedTogether:
    """Put back what stood before, unless somebody has decided since. Can be undone as well."""
    return _together(await parts.operations.undo(str(batch_id), by=person.id))


@router.get("/operations/{operation_id}/evidence", summary="The lines of the document")
async def read_evidence(operation_id: UUID, person: Staff, parts: Running) -> OperationEvidence:  # noqa: ARG001
    """What an operation was read from, and a few lines around it."""
    operation = await parts.operations.operation(str(operation_id))
    spec = await parts.operations.spec(operation.spec_id)
    raw = await parts.operations.document(operation.spec_id)
    start, end = operation.starts_at, operation.ends_at
    found = await asyncio.to_thread(
        evidence_of,
        raw,
        source=spec.source,
        pointer=operation.pointer,
        place=None if start is None or end is None else (start, end),
    )
    return OperationEvidence(
        **{
            name: getattr(found, name)
            for name in OperationEvidence.model_fields
            if name != "grounds"
        },
        grounds=[
            GroundFound(
                **GroundShown.model_validate(ground).model_dump(), line=found.line_of(ground)
            )
            for ground in operation.suggestion.grounds
        ],
    )


@router.post("/operations/{operation_id}/dry-run", summary="Show a request without sending it")
async def dry_run_operation(
    operation_id: UUID,
    wanted: DryRunWanted,
    person: Staff,  # noqa: ARG001
    parts: Running,
) -> DryRunShown:
    """The exact request for some arguments, approved or not. Nothing is sent."""
    operation = await parts.operations.operation(str(operation_id))
    spec = await parts.operations.spec(operation.spec_id)
    claims = SAMPLE if wanted.customer is None else wanted.customer
    shown = dry_run(operation, spec.base_url, wanted.arguments, claims)
    headers = [HeaderShown(name=name, value=value) for name, value in shown.headers]
    return DryRunShown(**{**asdict(shown), "headers": headers})


async def _import(
    parts: Parts, raw: bytes, source: str, name: str | None, by: str, import_id: UUID | None
) -> ImportResult:
    with parts.imports.watched(None if import_id is None else str(import_id), by) as told:
        imported = await import_document(
            parts.operations,
            raw,
            source=source,
            name=name,
            by=by,
            max_bytes=parts.settings.smart_support_spec_max_bytes,
            told=told,
        )
    return import_result(imported)


def correction_of(decision: ReviewDecision) -> Correction:
    """What a decision changes, as the review takes it."""
    said = {name: getattr(decision, name) for name in Correction.__slots__}
    if decision.answer_fields is not None:
        said["answer_fields"] = tuple(decision.answer_fields)
    if decision.lookup is not None:
        said["lookup"] = Lookup(**decision.lookup.model_dump())
    if (status := decision.status) is not None:
        words = {"done": tuple(status.done), "failed": tuple(status.failed)}
        said["status"] = StatusCheck(**status.model_dump() | words)
    return Correction(**said)


def _together(decided: Decided) -> DecidedTogether:
    return DecidedTogether(
        batch_id=UUID(decided.batch_id),
        operations=[ReviewOperation(**_described(operation)) for operation in decided.operations],
    )


def _batch(batch: Batch) -> DecisionBatch:
    return DecisionBatch.model_validate(batch, from_attributes=True)


def import_result(imported: Imported) -> ImportResult:
    """What an import changed, as it is shown."""
    return ImportResult(
        spec=_spec(imported.spec),
        added=imported.added,
        changed=imported.changed,
        removed=imported.removed,
        unchanged=imported.unchanged,
        breaking=imported.breaking,
        turned_write=imported.turned_write,
    )


def _spec(spec: Spec) -> SpecSummary:
    return SpecSummary(
        **{name: getattr(spec, name) for name in SpecSummary.model_fields if name != "skipped"},
        skipped=[
            SkippedOperation(key=one.key, reason=one.reason, line=one.line) for one in spec.skipped
        ],
    )


def _classified(classification: Classification) -> Classified:
    return Classified.model_validate(classification, from_attributes=True)


def _described(operation: Operation) -> dict[str, Any]:
    schema = tool_schema(operation)
    own: dict[str, Any] = {
        "suggestion": _classified(operation.suggestion),
        "classification": _classified(operation.classification),
        "schema_bytes": size_of(schema),
        "tokens": tokens_of(operation, schema),
        "clear": is_clear(operation.suggestion),
        "breaking": any(change.breaking for change in operation.changes),
        "turned_write": turned_write(operation.changes),
    }
    return own | {
        name: getattr(operation, name) for name in ReviewOperation.model_fields if name not in own
    }


async def _detail(parts: Parts, operation: Operation) -> OperationDetail:
    history = await parts.operations.history(operation.id)
    return OperationDetail(
        **_described(operation),
        tool_schema=tool_schema(operation),
        arguments=arguments_of(operation.schema),
        claims=list(CLAIMS),
        grounds=[GroundShown.model_validate(ground) for ground in operation.suggestion.grounds],
        changes=[ChangeShown.model_validate(change) for change in operation.changes],
        history=[
            PastReview(
                at=review.at,
                by=review.by,
                state=review.state,
                classification=_classified(review.classification),
                reason=review.reason,
                batch_id=UUID(review.batch_id),
                undoes=None if review.undoes is None else UUID(review.undoes),
            )
            for review in history
        ],
    )
