"""Importing the documents of APIs, and where each API is."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AnyHttpUrl, BaseModel, Field

from smart_support.api.access import Operator, Staff
from smart_support.api.parts import Parts, Running
from smart_support.api.problems import PROBLEMS
from smart_support.operations.document import FileTooLarge
from smart_support.operations.importing import fetch_document, import_document
from smart_support.operations.imports_postgres import Imported
from smart_support.operations.records import (
    Spec,
)

router = APIRouter(prefix="/api", tags=["review"], responses=PROBLEMS)

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

    stage: Literal["unknown", "reading", "converting", "locating", "storing"]
    done: int = Field(description="Operations done in this stage; 0 of 0 where it has none.")
    total: int


class FromUrl(BaseModel):
    """A document behind a URL."""

    url: AnyHttpUrl
    name: Name | None = None


class BaseUrl(BaseModel):
    """Where an API is."""

    base_url: AnyHttpUrl


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
    """Of one's own import, while it goes on and in the process where it does.

    Before, after and elsewhere it is `unknown`, which is no error: whoever asks cannot know.
    """
    progress = parts.imports.progress(str(import_id), person.id)
    if progress is None:
        return ImportProgress(stage="unknown", done=0, total=0)
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
    return _result(imported)


def _result(imported: Imported) -> ImportResult:
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
