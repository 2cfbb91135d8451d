"""Decisions about operations in PostgreSQL: made at once, undone at once, never over each other."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from uuid_utils import uuid7

from smart_support.database import Row, Session
from smart_support.errors import InvalidInput, NotFound
from smart_support.operations.decisions import (
    Batch,
    Conflict,
    Decided,
    Decision,
    OperationRemoved,
    Review,
    ReviewConflict,
)
from smart_support.operations.records import Classification, Operation, OperationId, ReviewState
from smart_support.operations.rows import (
    OPERATION,
    CatalogueRows,
    classification_json,
    classification_of,
    note,
    operation_of,
)
from smart_support.operations.tables import operations, reviews
from smart_support.security.audit import Act


class PostgresDecisions(CatalogueRows):
    """What people decided. Each method is one transaction."""

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
        decision = Decision(
            operation_id=operation_id,
            version=version,
            state=state,
            classification=classification,
            reason=reason,
        )
        return (await self.decide_all([decision], by=by)).operations[0]

    async def decide_all(self, decisions: Sequence[Decision], *, by: str) -> Decided:
        """Write down decisions that a person made at once: all of them, or none.

        Raises:
            ReviewConflict: some are not at the version that was looked at; it names each.
            NotFound: one of the operations is not there.
        """
        async with self._changing() as session:
            standing = await self._locked(session, [one.operation_id for one in decisions])
            now = await session.scalar(sa.select(sa.func.now()))
            _check_there(standing)
            await _check_versions(
                session, {one.operation_id: one.version for one in decisions}, standing
            )
            return await self._write(
                session,
                standing,
                {
                    one.operation_id: {
                        "state": one.state.value,
                        "classification": classification_json(one.classification),
                        "decided_by": by,
                        "decided_at": now,
                        "decision_reason": one.reason,
                        # What has changed was looked at.
                        "previous": None,
                        "changes": None,
                    }
                    for one in decisions
                },
                by=by,
                reasons={one.operation_id: one.reason for one in decisions},
            )

    async def undo(self, batch_id: str, *, by: str) -> Decided:
        """Put everything that was decided in a batch back to what stood before: all, or nothing.

        It is a decision of its own in the history, and can be undone like any other.

        Raises:
            ReviewConflict: somebody decided about one of the operations since; it names each.
            NotFound: there is no such batch.
            InvalidInput: it is older than undoing is.
        """
        async with self._changing() as session:
            made = {
                row.operation_id: row
                for row in await session.execute(
                    sa.select(reviews.c.operation_id, reviews.c.version, reviews.c.before).where(
                        reviews.c.batch_id == batch_id
                    )
                )
            }
            if not made:
                raise NotFound(f"no batch of decisions {batch_id}")
            if any(row.before is None for row in made.values()):
                raise InvalidInput("It was decided before decisions could be undone.")
            standing = await self._locked(session, list(made))
            _check_there(standing)
            await _check_versions(
                session, {id_: row.version for id_, row in made.items()}, standing
            )
            return await self._write(
                session,
                standing,
                {id_: _restored(row.before) for id_, row in made.items()},
                by=by,
                reasons=dict.fromkeys(made, "Undone."),
                undoes=batch_id,
            )

    async def advise(self, suggestions: Mapping[str, Classification]) -> int:
        """Put these suggestions, by operation, in the place of those there; how many were.

        Only where nobody has decided yet: what a person said stands.
        """
        changed = 0
        async with self._changing() as session:
            for id_ in sorted(suggestions):  # everybody locks in one order
                stored = classification_json(suggestions[id_])
                result = await session.execute(
                    sa.update(operations)
                    .where(
                        operations.c.id == id_,
                        operations.c.decided_by.is_(None),
                        operations.c.state == ReviewState.PENDING.value,
                    )
                    .values(
                        suggestion=stored,
                        classification=stored,
                        version=operations.c.version + 1,
                    )
                    .returning(operations.c.id)
                )
                changed += len(result.all())
        return changed

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
                    batch_id=row.batch_id,
                    undoes=row.undoes,
                )
                for row in await session.execute(statement)
            )

    async def batches(self, spec_id: str, *, limit: int = 50) -> tuple[Batch, ...]:
        """What was decided at once about operations of a document, the latest first."""
        statement = (
            sa.select(
                reviews.c.batch_id,
                reviews.c.by,
                reviews.c.undoes,
                sa.func.min(reviews.c.at).label("at"),
                sa.func.array_agg(reviews.c.state.distinct()).label("states"),
                sa.func.count().label("count"),
                sa.func.min(operations.c.key).label("first_key"),
                sa.func.min(reviews.c.reason).label("reason"),
                sa.func.bool_and(
                    sa.and_(
                        reviews.c.before.is_not(None),
                        sa.func.coalesce(reviews.c.version, 0) == operations.c.version,
                    )
                ).label("undoable"),
            )
            .join(operations, operations.c.id == reviews.c.operation_id)
            .where(operations.c.spec_id == spec_id)
            .group_by(reviews.c.batch_id, reviews.c.by, reviews.c.undoes)
            .order_by(sa.func.max(reviews.c.id).desc())
            .limit(limit)
        )
        async with self._sessions() as session:
            return tuple(
                Batch(
                    batch_id=row.batch_id,
                    at=row.at,
                    by=row.by,
                    states=tuple(ReviewState(state) for state in row.states),
                    count=row._mapping["count"],
                    first_key=row.first_key,
                    reason=row.reason,
                    undoes=row.undoes,
                    undoable=row.undoable,
                )
                for row in await session.execute(statement)
            )

    async def _locked(self, session: Session, ids: Sequence[str]) -> dict[str, Any]:
        # Everybody locks in one order, so that two bulks cannot wait for each other.
        statement = (
            sa.select(
                operations.c.id,
                operations.c.key,
                operations.c.state,
                operations.c.classification,
                operations.c.decided_by,
                operations.c.decided_at,
                operations.c.decision_reason,
                operations.c.previous,
                operations.c.changes,
                operations.c.version,
            )
            .where(operations.c.id.in_(ids))
            .order_by(operations.c.id)
            .with_for_update()
        )
        found: dict[str, Any] = {row.id: row for row in (await session.execute(statement)).all()}
        if missing := set(ids) - found.keys():
            raise NotFound(f"no operation {min(missing)}")
        return found

    async def _write(
        self,
        session: Session,
        standing: Mapping[str, Any],
        values: Mapping[str, Mapping[str, Any]],
        *,
        by: str,
        reasons: Mapping[str, str | None],
        undoes: str | None = None,
    ) -> Decided:
        batch_id = str(uuid7())
        await session.execute(
            sa.update(operations)
            .where(operations.c.id == sa.bindparam("of"))
            .values(
                **{name: sa.bindparam(f"new_{name}") for name in _DECIDED},
                version=operations.c.version + 1,
            ),
            [
                {"of": id_, **{f"new_{name}": new[name] for name in _DECIDED}}
                for id_, new in values.items()
            ],
        )
        await session.execute(
            insert(reviews),
            [
                {
                    "operation_id": id_,
                    "by": by,
                    "state": new["state"],
                    "classification": new["classification"],
                    "reason": reasons[id_],
                    "batch_id": batch_id,
                    "version": standing[id_].version + 1,
                    "before": _standing(standing[id_]),
                    "undoes": undoes,
                }
                for id_, new in values.items()
            ],
        )
        statement = (
            sa.select(*OPERATION).where(operations.c.id.in_(values)).order_by(operations.c.key)
        )
        rows = (await session.execute(statement)).all()
        states = sorted({str(new["state"]) for new in values.values()})
        facts = {
            "spec_id": rows[0].spec_id,
            "count": len(values),
            "states": states,
            **({"undoes": undoes} if undoes else {}),
        }
        await note(session, Act.UNDONE if undoes else Act.DECIDED, by, batch_id, facts)
        return Decided(batch_id=batch_id, operations=tuple(operation_of(row) for row in rows))


_DECIDED = (
    "state", "classification", "decided_by", "decided_at", "decision_reason", "previous", "changes",
)  # fmt: skip


def _standing(row: Row) -> dict[str, Any]:
    """What a decision overwrites, as JSON."""
    at = row.decided_at
    return {name: row._mapping[name] for name in _DECIDED} | {"decided_at": at and at.isoformat()}


def _restored(before: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `_standing` made this JSON from."""
    at = before["decided_at"]
    standing = {name: before.get(name) for name in _DECIDED}  # older ones lack some
    return {**standing, "decided_at": at and datetime.fromisoformat(at)}


def _check_there(standing: Mapping[str, Any]) -> None:
    """Raise OperationRemoved unless all of them are in their document still."""
    gone = [row.key for row in standing.values() if row.state == ReviewState.REMOVED.value]
    if gone:
        raise OperationRemoved(sorted(gone))


async def _check_versions(
    session: Session, seen: Mapping[str, int], standing: Mapping[str, Any]
) -> None:
    """Raise ReviewConflict unless everything is at the version that was seen."""
    late = [row for id_, row in standing.items() if row.version != seen[id_]]
    if not late:
        return
    rows = await session.execute(
        sa.select(reviews.c.operation_id, reviews.c.by, reviews.c.at, reviews.c.version).where(
            sa.tuple_(reviews.c.operation_id, reviews.c.version).in_(
                [(row.id, row.version) for row in late]
            )
        )
    )
    made = {row.operation_id: row for row in rows}
    conflicts = []
    for row in late:
        decision = made.get(row.id)  # what no decision made, an import did
        conflicts.append(
            Conflict(
                operation_id=OperationId(row.id),
                key=row.key,
                state=ReviewState(row.state),
                version=row.version,
                decided_by=decision.by if decision else None,
                decided_at=decision.at if decision else None,
            )
        )
    raise ReviewConflict(sorted(conflicts, key=lambda one: one.key))
