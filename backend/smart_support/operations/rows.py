"""The rows of the catalogue, and what they say as records."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from smart_support.database import Row, Session, Sessions
from smart_support.errors import NotFound
from smart_support.operations.approval_rules import rules_of
from smart_support.operations.effects import lookup_of, status_of
from smart_support.operations.records import (
    Access,
    Change,
    Classification,
    DraftOperation,
    Ground,
    Operation,
    OperationId,
    ReviewState,
    Risk,
    Skipped,
    Spec,
    SpecId,
)
from smart_support.operations.tables import operations, specs
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import record


class CatalogueRows:
    """The tables of the catalogue, and whether this process has changed them."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._changes = 0

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Session]:
        """A transaction that changes the catalogue; this process then knows that it has."""
        try:
            async with self._sessions.begin() as session:
                yield session
        finally:
            self._changes += 1


# Not the words that it is searched by, nor what it was before.
OPERATION = [column for column in operations.columns if column.name not in {"search", "previous"}]
"""The columns that make an `Operation`."""

ADDRESS = sa.func.coalesce(specs.c.address, specs.c.base_url).label("where")
"""Where the API of a document is: the operator's word goes before the document's."""

SPECS = sa.select(
    specs,
    ADDRESS,
    sa.select(sa.func.count())
    .where(operations.c.spec_id == specs.c.id, operations.c.state != ReviewState.REMOVED.value)
    .scalar_subquery()
    .label("operation_count"),
    sa.select(sa.func.count())
    .where(
        operations.c.spec_id == specs.c.id,
        operations.c.state.in_([ReviewState.PENDING.value, ReviewState.CHANGED.value]),
    )
    .scalar_subquery()
    .label("waiting_count"),
)


async def spec_row(session: Session, spec_id: str) -> Row:
    """The row of a document, as of `SPECS`.

    Raises:
        NotFound: there is none with this id.
    """
    row = (await session.execute(SPECS.where(specs.c.id == spec_id))).one_or_none()
    if row is None:
        raise NotFound(f"no spec {spec_id}")
    return row


def operation_of(row: Row) -> Operation:
    """The operation of a row that has the columns `OPERATION`."""
    values = {column.name: row._mapping[column.name] for column in OPERATION}
    return Operation(
        **values
        | {
            "id": OperationId(row.id),
            "spec_id": SpecId(row.spec_id),
            "tags": tuple(row.tags),
            "security": tuple(row.security),
            "state": ReviewState(row.state),
            "suggestion": classification_of(row.suggestion),
            "classification": classification_of(row.classification),
            "changes": tuple(Change(**change) for change in row.changes or ()),
        }
    )


def spec_of(row: Row) -> Spec:
    """The document of a row of `SPECS`."""
    return Spec(
        id=SpecId(row.id),
        name=row.name,
        title=row.title,
        version_text=row.version_text,
        dialect=row.dialect,
        source=row.source,
        hash=row.hash,
        base_url=row.where,
        imported_at=row.imported_at,
        operation_count=row.operation_count,
        waiting_count=row.waiting_count,
        skipped=tuple(Skipped(**skipped) for skipped in row.skipped),
        environment=row.environment,
        environments=row.environments,
        schemes=row.schemes,
    )


def classification_json(classification: Classification) -> dict[str, Any]:
    """The classification as plain JSON, equal to what is read back of it."""
    said = asdict(classification)
    plain: dict[str, Any] = json.loads(json.dumps(said, default=lambda kind: kind.value))
    return plain


def classification_of(stored: Mapping[str, Any]) -> Classification:
    """The classification that `classification_json` made this JSON from.

    What a row of an older version lacks has its default; what a newer one has more is left out.
    """
    known = {name: value for name, value in stored.items() if name in _CLASSIFIED}
    return Classification(
        **{
            **known,
            "access": Access(stored["access"]),
            "risk": Risk(stored["risk"]),
            "reasons": tuple(stored["reasons"]),
            "lookup": lookup_of(stored.get("lookup")),
            "status": status_of(stored.get("status")),
            "approval_rules": rules_of(stored.get("approval_rules")),
            "grounds": tuple(Ground(**ground) for ground in stored.get("grounds", ())),
            "answer_fields": tuple(stored.get("answer_fields", ())),
        }
    )


_CLASSIFIED = {field.name for field in fields(Classification)}


def described(operation: DraftOperation) -> dict[str, Any]:
    """The columns of what a document says of an operation, as JSON."""
    return {
        "method": operation.method,
        "path": operation.path,
        "operation_id": operation.operation_id,
        "tool_name": operation.tool_name,
        "summary": operation.summary,
        "description": operation.description,
        "tags": list(operation.tags),
        "deprecated": operation.deprecated,
        "pointer": operation.pointer,
        "schema": dict(operation.schema),
        "schema_hash": operation.schema_hash,
        "request_plan": operation.request_plan,
        "hints": dict(operation.hints),
        "suggestion": classification_json(operation.suggestion),
        "security": [dict(requirement) for requirement in operation.security],
        "starts_at": operation.starts_at,
        "ends_at": operation.ends_at,
    }


async def note(
    session: Session, act: Act, by: str, subject: str, details: Mapping[str, Any]
) -> None:
    """Write down what was done; only operators do such things, from the page or a terminal."""
    await record(session, act, actor=by, role="operator", subject=subject, details=details)
