"""The audit log, for operators."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from smart_support.api.access import Operator
from smart_support.api.parts import Running
from smart_support.security.audit import Act

router = APIRouter(prefix="/api/audit", tags=["audit"])


class AuditEntry(BaseModel):
    """Something that somebody did."""

    number: int
    at: datetime
    actor: str
    role: str
    act: str
    subject: str = Field(description="What it was done to: an id, a name, or a path.")
    details: dict[str, Any]
    correlation_id: str | None = Field(description="Of the request; find it in the log.")
    hash: str = Field(description="SHA-256 over this entry and the hash before.")


class AuditPage(BaseModel):
    """Entries, the newest first."""

    entries: list[AuditEntry]
    next_before: int | None = Field(description="Give it as `before` for the next page.")


class AuditCheck(BaseModel):
    """Whether the log is as it was written."""

    whole: bool
    first_broken: int | None = Field(
        description="The first entry that was changed or follows a gap."
    )


@router.get("", summary="Who did what")
async def read_audit(
    person: Operator,  # noqa: ARG001
    parts: Running,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="`next_before` of a page.")
    ] = None,
    act: Act | None = None,
    actor: Annotated[str | None, Query(max_length=200)] = None,
    since: Annotated[AwareDatetime | None, Query(description="From then on.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Before then.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditPage:
    """Sign-ins, refused access, imports, decisions, credentials and approvals."""
    found = await parts.audit.page(
        before=before,
        act=act.value if act else None,
        actor=actor,
        since=since,
        until=until,
        limit=limit,
    )
    return AuditPage(
        entries=[AuditEntry.model_validate(entry, from_attributes=True) for entry in found],
        next_before=found[-1].number if len(found) == limit else None,
    )


@router.get("/check", summary="Whether the audit log is whole")
async def check_audit(person: Operator, parts: Running) -> AuditCheck:  # noqa: ARG001
    """Compute its chain of hashes again. Takes a second for a hundred thousand entries."""
    broken = await parts.audit.first_broken()
    return AuditCheck(whole=broken is None, first_broken=broken)
