"""The catalogue of operations in PostgreSQL."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils import uuid7

from smart_support.database import Sessions
from smart_support.errors import NotFound, Severity, SupportError
from smart_support.operations.records import (
    Access,
    Classification,
    DraftOperation,
    DraftSpec,
    Operation,
    OperationId,
    ReviewState,
    Risk,
    Skipped,
    Spec,
    SpecId,
)
from smart_support.operations.tables import operations, reviews, specs


class ReviewConflict(SupportError):
    """Somebody else decided about the operation since it was read; read it again."""

    code = "CONF_REVIEW_CONFLICT"
    status = 409
    severity = Severity.LOW
    user_message = "Somebody else changed this in the meantime."


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import changed, as numbers of operations."""

    spec: Spec
    added: int
    changed: int
    removed: int
    unchanged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One decision of a person about one operation."""

    at: datetime
    by: str
    state: ReviewState
    classification: Classification
    reason: str | None


class PostgresOperations:
    """What upstream APIs offer. Each method is one transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def save_draft(
        self, draft: DraftSpec, *, name: str, document: bytes, by: str
    ) -> Imported:
        """Store a document under `name`; a second import of that name is compared with the first.

        An operation that is as it was keeps its review. One that changed waits for a person
        again and cannot be called until then. One that is gone is removed.
        """
        async with self._sessions.begin() as session:
            spec_id = await self._save_spec(session, draft, name, document, by)
            before = {
                row.key: row
                for row in await session.execute(
                    sa.select(
                        operations.c.id,
                        operations.c.key,
                        operations.c.schema_hash,
                        operations.c.state,
                        operations.c.decided_by,
                    ).where(operations.c.spec_id == spec_id)
                )
            }
            added = changed = unchanged = 0
            fresh = []
            for operation in draft.operations:
                known = before.pop(operation.key, None)
                if known is None:
                    added += 1
                    fresh.append(_new_row(spec_id, operation))
                    continue
                same = known.schema_hash == operation.schema_hash
                unchanged += same
                changed += not same
                await session.execute(
                    sa.update(operations)
                    .where(operations.c.id == known.id)
                    .values(
                        **_described(operation),
                        **({} if same else _to_review(known.state)),
                        **({} if known.decided_by else _suggested(operation)),
                    )
                )
            if fresh:
                await session.execute(insert(operations), fresh)
            if before:
                gone = [row.id for row in before.values()]
                await session.execute(sa.delete(operations).where(operations.c.id.in_(gone)))
            row = await self._spec_row(session, spec_id)
        return Imported(_spec(row), added, changed, len(before), unchanged)

    async def _save_spec(
        self, session: AsyncSession, draft: DraftSpec, name: str, document: bytes, by: str
    ) -> SpecId:
        values = {
            "title": draft.title,
            "version_text": draft.version_text,
            "dialect": draft.dialect,
            "source": draft.source,
            "hash": draft.hash,
            "base_url": draft.base_url,
            "document": document,
            "skipped": [asdict(skipped) for skipped in draft.skipped],
            "imported_by": by,
        }
        return SpecId(
            await session.scalar(
                insert(specs)
                .values(id=str(uuid7()), name=name, **values)
                .on_conflict_do_update(
                    index_elements=[specs.c.name], set_={**values, "imported_at": sa.func.now()}
                )
                .returning(specs.c.id)
            )
            or ""
        )

    async def _spec_row(self, session: AsyncSession, spec_id: str) -> sa.Row[Any]:
        row = (await session.execute(_SPECS.where(specs.c.id == spec_id))).one_or_none()
        if row is None:
            raise NotFound(f"no spec {spec_id}")
        return row

    async def specs(self) -> tuple[Spec, ...]:
        """Every imported document, newest first."""
        async with self._sessions() as session:
            rows = await session.execute(_SPECS.order_by(specs.c.imported_at.desc(), specs.c.id))
            return tuple(_spec(row) for row in rows)

    async def spec(self, spec_id: str) -> Spec:
        """One imported document.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._sessions() as session:
            return _spec(await self._spec_row(session, spec_id))

    async def set_base_url(self, spec_id: str, base_url: str) -> Spec:
        """Say where the API of a document is; the operator's word goes before the document's.

        Raises:
            NotFound: there is no such document.
        """
        async with self._sessions.begin() as session:
            await session.execute(
                sa.update(specs).where(specs.c.id == spec_id).values(address=base_url)
            )
            return _spec(await self._spec_row(session, spec_id))

    async def operations(
        self,
        spec_id: str,
        *,
        state: ReviewState | None = None,
        access: Access | None = None,
        query: str = "",
        after: str = "",
        limit: int = 100,
    ) -> tuple[Operation, ...]:
        """Operations of a document in the order of their keys, those after the key `after`."""
        statement = (
            sa.select(operations)
            .where(operations.c.spec_id == spec_id, operations.c.key > after)
            .order_by(operations.c.key)
            .limit(limit)
        )
        if state is not None:
            statement = statement.where(operations.c.state == state.value)
        if access is not None:
            statement = statement.where(
                operations.c.classification["access"].astext == access.value
            )
        if query:
            searched = (operations.c.key, operations.c.summary, operations.c.tool_name)
            statement = statement.where(
                sa.or_(*(column.icontains(query, autoescape=True) for column in searched))
            )
        async with self._sessions() as session:
            return tuple(_operation(row) for row in await session.execute(statement))

    async def operation(self, operation_id: str) -> Operation:
        """One operation.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._sessions() as session:
            row = (
                await session.execute(sa.select(operations).where(operations.c.id == operation_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"no operation {operation_id}")
        return _operation(row)

    async def decide(
        self,
        operation_id: str,
        *,
        version: int,
        state: ReviewState,
        classification: Classification,
        by: str,
        reason: str | None,
    ) -> Operation:
        """Write down a person's decision, made on the operation as of `version`.

        Raises:
            ReviewConflict: it is not at that version any more.
            NotFound: there is no such operation.
        """
        async with self._sessions.begin() as session:
            row = (
                await session.execute(
                    sa.update(operations)
                    .where(operations.c.id == operation_id, operations.c.version == version)
                    .values(
                        state=state.value,
                        classification=classification_json(classification),
                        decided_by=by,
                        decided_at=sa.func.now(),
                        decision_reason=reason,
                        version=operations.c.version + 1,
                    )
                    .returning(operations)
                )
            ).one_or_none()
            if row is None:
                found = (
                    await session.execute(
                        sa.select(operations.c.version, operations.c.decided_by).where(
                            operations.c.id == operation_id
                        )
                    )
                ).one_or_none()
                if found is None:
                    raise NotFound(f"no operation {operation_id}")
                raise ReviewConflict(
                    f"operation {operation_id} is at version {found.version}, not {version}; "
                    f"last decided by {found.decided_by}"
                )
            await session.execute(
                insert(reviews).values(
                    operation_id=operation_id,
                    by=by,
                    state=state.value,
                    classification=classification_json(classification),
                    reason=reason,
                )
            )
        return _operation(row)

    async def history(self, operation_id: str) -> tuple[Review, ...]:
        """Every decision about one operation, oldest first."""
        statement = (
            sa.select(reviews).where(reviews.c.operation_id == operation_id).order_by(reviews.c.id)
        )
        async with self._sessions() as session:
            return tuple(
                Review(
                    at=row.at,
                    by=row.by,
                    state=ReviewState(row.state),
                    classification=classification_of(row.classification),
                    reason=row.reason,
                )
                for row in await session.execute(statement)
            )

    async def approved(self) -> tuple[tuple[Operation, str | None], ...]:
        """Every operation that may be called, each with the base URL of its API."""
        statement = (
            sa.select(operations, _ADDRESS)
            .join(specs, specs.c.id == operations.c.spec_id)
            .where(operations.c.state == ReviewState.APPROVED.value)
            .order_by(operations.c.tool_name, operations.c.id)
        )
        async with self._sessions() as session:
            return tuple((_operation(row), row.where) for row in await session.execute(statement))


_ADDRESS = sa.func.coalesce(specs.c.address, specs.c.base_url).label("where")

_SPECS = sa.select(
    specs,
    _ADDRESS,
    sa.select(sa.func.count())
    .where(operations.c.spec_id == specs.c.id)
    .scalar_subquery()
    .label("operation_count"),
)


def classification_json(classification: Classification) -> dict[str, Any]:
    """The classification as plain JSON."""
    return asdict(classification) | {
        "access": classification.access.value,
        "risk": classification.risk.value,
        "bindings": dict(classification.bindings),
        "reasons": list(classification.reasons),
    }


def classification_of(stored: Mapping[str, Any]) -> Classification:
    """The classification that `classification_json` made this JSON from."""
    return Classification(
        **{
            **stored,
            "access": Access(stored["access"]),
            "risk": Risk(stored["risk"]),
            "reasons": tuple(stored["reasons"]),
        }
    )


def _described(operation: DraftOperation) -> dict[str, Any]:
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
    }


def _new_row(spec_id: str, operation: DraftOperation) -> dict[str, Any]:
    return {
        "id": str(uuid7()),
        "spec_id": spec_id,
        "key": operation.key,
        "state": ReviewState.PENDING.value,
        **_described(operation),
        **_suggested(operation),
    }


def _suggested(operation: DraftOperation) -> dict[str, Any]:
    """Nobody has decided what it is, so it counts as what is suggested."""
    return {"classification": classification_json(operation.suggestion)}


def _to_review(state: str) -> dict[str, Any]:
    decided = state in {ReviewState.APPROVED.value, ReviewState.CHANGED.value}
    return {
        "state": (ReviewState.CHANGED if decided else ReviewState.PENDING).value,
        "version": operations.c.version + 1,
    }


def _operation(row: sa.Row[Any]) -> Operation:
    values = {column.name: row._mapping[column.name] for column in operations.columns}
    return Operation(
        **values
        | {
            "id": OperationId(row.id),
            "spec_id": SpecId(row.spec_id),
            "tags": tuple(row.tags),
            "state": ReviewState(row.state),
            "suggestion": classification_of(row.suggestion),
            "classification": classification_of(row.classification),
        }
    )


def _spec(row: sa.Row[Any]) -> Spec:
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
        skipped=tuple(Skipped(**skipped) for skipped in row.skipped),
    )
