"""The catalogue of operations in PostgreSQL."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from uuid_utils import uuid7

from smart_support.database import Row, Session, Sessions
from smart_support.errors import InvalidInput, NotFound, Severity, SupportError
from smart_support.operations.approval_rules import rules_of
from smart_support.operations.changes import changes_between, is_stricter, turned_write
from smart_support.operations.effects import lookup_of, status_of
from smart_support.operations.naming import keep_names
from smart_support.operations.records import (
    Access,
    Change,
    Classification,
    DraftOperation,
    DraftSpec,
    Ground,
    Operation,
    OperationId,
    ReviewState,
    Risk,
    Skipped,
    Spec,
    SpecId,
)
from smart_support.operations.search import RANKED
from smart_support.operations.security import Requirement, Scheme
from smart_support.operations.tables import operations, reviews, specs
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import record


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """An operation that is not any more as somebody saw it, and how it stands now."""

    operation_id: OperationId
    key: str
    state: ReviewState
    version: int
    decided_by: str | None
    """Who made it what it is now, by deciding or by undoing; None: a new import did."""
    decided_at: datetime | None


class ReviewConflict(SupportError):
    """Somebody else decided about operations since they were read; read them again."""

    code = "CONF_REVIEW_CONFLICT"
    status = 409
    severity = Severity.LOW
    user_message = "Somebody else changed this in the meantime."

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        shown = "; ".join(
            f"{one.key} is at version {one.version}, "
            + (
                "changed by a new import"
                if one.decided_by is None
                else f"last decided by {one.decided_by}"
            )
            for one in conflicts[:5]
        )
        more = f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        super().__init__(f"nothing was changed: {shown}{more}")
        self.conflicts = tuple(conflicts)


class OperationRemoved(SupportError):
    """There is nothing to decide about: the document does not have the operation any more."""

    code = "CONF_OPERATION_REMOVED"
    status = 409
    severity = Severity.LOW
    user_message = "The document does not have this operation any more."

    def __init__(self, keys: Sequence[str]) -> None:
        more = f", and {len(keys) - 5} more" if len(keys) > 5 else ""
        super().__init__(
            f"nothing was changed: the document does not have {', '.join(keys[:5])}{more} any more"
        )


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import changed, as numbers of operations."""

    spec: Spec
    added: int
    changed: int
    removed: int
    unchanged: int
    breaking: int = 0
    """Of the changed ones: calls as they were made before would fail or do something else."""
    turned_write: int = 0
    """Of the changed ones: were reads, and change something now."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Ways to call an operation, and how many operations have exactly these."""

    ways: tuple[Requirement, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Guard:
    """What guards an API: its security schemes, and the environment that is called."""

    schemes: Mapping[str, Scheme]
    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decides about one operation, looked at as of `version`."""

    operation_id: str
    version: int
    state: ReviewState
    classification: Classification
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided at once, and how the operations stand now."""

    batch_id: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """The names of one operation, and its access as decided."""

    key: str
    tool_name: str
    access: Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What must be known of an approved operation to say whether it may be offered, and by whom."""

    id: OperationId
    key: str
    tool_name: str
    access: Access
    agent: str
    """Its owner, as the review names it."""
    claims: frozenset[str]
    """What must be known of a customer for its bound arguments."""
    unbindable: bool
    address: str | None
    """Where its API is, if that is known."""

    @classmethod
    def of(cls, operation: Operation, base_url: str | None) -> "Offer":
        """What must be known of `operation`, whose API is at `base_url`."""
        decided = operation.classification
        return cls(
            id=operation.id,
            key=operation.key,
            tool_name=operation.tool_name,
            access=decided.access,
            agent=decided.agent,
            claims=frozenset(decided.bindings.values()),
            unbindable=decided.unbindable,
            address=address_of(base_url, operation.request_plan["server"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One decision of a person about one operation."""

    at: datetime
    by: str
    state: ReviewState
    classification: Classification
    reason: str | None
    batch_id: str
    undoes: str | None
    """The batch that this one took back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Decisions of a person that were made at once."""

    batch_id: str
    at: datetime
    by: str
    states: tuple[ReviewState, ...]
    count: int
    first_key: str
    reason: str | None
    undoes: str | None
    undoable: bool
    """Nobody has decided about any of its operations since."""


class PostgresOperations:
    """What upstream APIs offer. Each method is one transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def save_draft(
        self, draft: DraftSpec, *, name: str, document: bytes, by: str
    ) -> Imported:
        """Store a document under `name`; a second import of that name is compared with the first.

        An operation that is as it was keeps its review. One that changed, or of which the rules
        ask more care now, waits for a person again and cannot be called until then; it remembers
        what it was when it was decided about. One that is gone cannot be called any more; it is
        kept if somebody has ever decided about it.
        """
        async with self._sessions.begin() as session:
            spec_id = await self._save_spec(session, draft, name, document, by)
            # Whoever decides meanwhile waits, and is then told that it has changed.
            rows = await session.execute(
                sa.select(*_OPERATION, operations.c.previous)
                .where(operations.c.spec_id == spec_id)
                .order_by(operations.c.id)
                .with_for_update()
            )
            before: dict[str, Any] = {row.key: row for row in rows}
            counts = Counter[str]()
            fresh = []
            # What was decided about keeps its name: conversations and people know it by that.
            names = keep_names(
                {operation.key: operation.tool_name for operation in draft.operations},
                {row.key: row.tool_name for row in before.values() if row.decided_by},
            )
            for read in draft.operations:
                operation = replace(read, tool_name=names[read.key])
                known = before.pop(operation.key, None)
                if known is None:
                    counts["added"] += 1
                    fresh.append(_new_row(spec_id, operation))
                    continue
                what, values = _compared(known, operation)
                counts.update(what)
                if values:
                    await session.execute(
                        sa.update(operations).where(operations.c.id == known.id).values(**values)
                    )
            if fresh:
                await session.execute(insert(operations), fresh)
            counts["removed"] = await self._remove(session, before.values())
            row = await self._spec_row(session, spec_id)
            facts = {"name": name, "hash": draft.hash, **counts}
            await _note(session, Act.IMPORTED, by, spec_id, facts)
        return Imported(
            _spec(row),
            **{
                name: counts[name]
                for name in ("added", "changed", "removed", "unchanged", "breaking", "turned_write")
            },
        )

    async def _remove(self, session: Session, gone: Collection[Any]) -> int:
        """Take operations back that the document has not any more; how many were still there."""
        still = [row for row in gone if row.state != ReviewState.REMOVED.value]
        kept = [row.id for row in still if row.decided_by is not None]
        await session.execute(
            sa.update(operations)
            .where(operations.c.id.in_(kept))
            .values(state=ReviewState.REMOVED.value, version=operations.c.version + 1)
        )
        never = [row.id for row in still if row.decided_by is None]
        await session.execute(sa.delete(operations).where(operations.c.id.in_(never)))
        return len(still)

    async def _save_spec(
        self, session: Session, draft: DraftSpec, name: str, document: bytes, by: str
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
            "schemes": dict(draft.schemes),
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

    async def _spec_row(self, session: Session, spec_id: str) -> Row:
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

    async def set_base_url(self, spec_id: str, base_url: str, *, by: str = "system") -> Spec:
        """Say where the API of a document is; the operator's word goes before the document's.

        Raises:
            NotFound: there is no such document.
        """
        async with self._sessions.begin() as session:
            await session.execute(
                sa.update(specs).where(specs.c.id == spec_id).values(address=base_url)
            )
            spec = _spec(await self._spec_row(session, spec_id))
            await _note(session, Act.ADDRESS_SET, by, spec_id, {"base_url": base_url})
        return spec

    async def set_environment(
        self, spec_id: str, name: str, base_url: str | None, *, by: str, choose: bool = True
    ) -> Spec:
        """Say where an environment of an API is, and call it from now on if it is chosen.

        Each has credentials of its own. `base_url`: where it is; None if that was said before.
        The address of the one before is kept under its name.

        Raises:
            InvalidInput: nobody has said where it is.
            NotFound: there is no such document.
        """
        async with self._sessions.begin() as session:
            row = (
                await session.execute(
                    sa.select(specs.c.environment, specs.c.environments, _ADDRESS)
                    .where(specs.c.id == spec_id)
                    .with_for_update()
                )
            ).one_or_none()
            if row is None:
                raise NotFound(f"no spec {spec_id}")
            known = {**row.environments, row.environment: row.where}
            known[name] = base_url or known.get(name)
            if known[name] is None:
                raise InvalidInput(f"Say where the environment {name!r} is: it has no base URL.")
            called = name if choose else row.environment
            await session.execute(
                sa.update(specs)
                .where(specs.c.id == spec_id)
                .values(environment=called, environments=known, address=known[called])
            )
            spec = _spec(await self._spec_row(session, spec_id))
            act = Act.ENVIRONMENT_CHOSEN if choose else Act.ADDRESS_SET
            await _note(session, act, by, spec_id, {"environment": name, "base_url": known[name]})
        return spec

    async def guard(self, spec_id: str) -> Guard:
        """What guards an API.

        Raises:
            NotFound: there is no such document.
        """
        statement = sa.select(specs.c.schemes, specs.c.environment).where(specs.c.id == spec_id)
        async with self._sessions() as session:
            row = (await session.execute(statement)).one_or_none()
        if row is None:
            raise NotFound(f"no spec {spec_id}")
        return Guard(row.schemes or {}, row.environment)

    async def requirements(self, spec_id: str) -> tuple[Needs, ...]:
        """Which credentials operations of a document need, and how many need which.

        Those that a person rejected are not counted.
        """
        statement = (
            sa.select(operations.c.security, sa.func.count().label("count"))
            .where(
                operations.c.spec_id == spec_id, operations.c.state != ReviewState.REJECTED.value
            )
            .group_by(operations.c.security)
        )
        async with self._sessions() as session:
            return tuple(
                Needs(tuple(row.security), row._mapping["count"])
                for row in await session.execute(statement)
            )

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
            sa.select(*_OPERATION)
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
                await session.execute(sa.select(*_OPERATION).where(operations.c.id == operation_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"no operation {operation_id}")
        return _operation(row)

    async def chosen(self, spec_id: str, ids: Sequence[str]) -> tuple[Operation, ...]:
        """These operations of a document, in the order of their keys.

        Raises:
            NotFound: one of them is not there.
        """
        statement = (
            sa.select(*_OPERATION)
            .where(operations.c.spec_id == spec_id, operations.c.id.in_(ids))
            .order_by(operations.c.key)
        )
        async with self._sessions() as session:
            found = tuple(_operation(row) for row in await session.execute(statement))
        if len(found) != len(set(ids)):
            raise NotFound(f"{len(set(ids)) - len(found)} operations are not of spec {spec_id}")
        return found

    async def document(self, spec_id: str) -> bytes:
        """The document of a spec, byte for byte as it came.

        Raises:
            NotFound: there is no such spec.
        """
        async with self._sessions() as session:
            raw = await session.scalar(sa.select(specs.c.document).where(specs.c.id == spec_id))
        if raw is None:
            raise NotFound(f"no spec {spec_id}")
        return bytes(raw)

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
        async with self._sessions.begin() as session:
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
        async with self._sessions.begin() as session:
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
            sa.select(*_OPERATION).where(operations.c.id.in_(values)).order_by(operations.c.key)
        )
        rows = (await session.execute(statement)).all()
        states = sorted({str(new["state"]) for new in values.values()})
        facts = {"count": len(values), "states": states, **({"undoes": undoes} if undoes else {})}
        await _note(session, Act.UNDONE if undoes else Act.DECIDED, by, batch_id, facts)
        return Decided(batch_id=batch_id, operations=tuple(_operation(row) for row in rows))

    async def advise(self, suggestions: Mapping[str, Classification]) -> int:
        """Put these suggestions, by operation, in the place of those there; how many were.

        Only where nobody has decided yet: what a person said stands.
        """
        changed = 0
        async with self._sessions.begin() as session:
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

    async def listed(self) -> tuple[Listed, ...]:
        """Every operation of the documents by its names, whatever was decided about it."""
        statement = sa.select(
            operations.c.key,
            operations.c.tool_name,
            operations.c.classification["access"].astext.label("access"),
        ).where(operations.c.state != ReviewState.REMOVED.value)
        async with self._sessions() as session:
            return tuple(
                Listed(row.key, row.tool_name, Access(row.access))
                for row in await session.execute(statement)
            )

    async def approved_read(self, spec_id: str, key: str) -> tuple[Operation, str | None] | None:
        """The approved read with this key of a document, and where its API is; None if none is."""
        statement: sa.Select[Any] = (
            sa.select(*_OPERATION, _ADDRESS)
            .join(specs, specs.c.id == operations.c.spec_id)
            .where(
                operations.c.spec_id == spec_id,
                operations.c.key == key,
                operations.c.state == ReviewState.APPROVED.value,
                operations.c.classification["access"].astext == Access.READ.value,
            )
        )
        async with self._sessions() as session:
            row = (await session.execute(statement)).one_or_none()
        return None if row is None else (_operation(row), row.where)

    async def offers(self) -> tuple[Offer, ...]:
        """Every operation that may be called, without what only a call needs."""
        decided = operations.c.classification
        statement = (
            sa.select(
                operations.c.id,
                operations.c.key,
                operations.c.tool_name,
                decided["access"].astext.label("access"),
                decided["agent"].astext.label("agent"),
                decided["bindings"].label("bindings"),
                decided["unbindable"].astext.label("unbindable"),
                operations.c.request_plan["server"].astext.label("server"),
                _ADDRESS,
            )
            .join(specs, specs.c.id == operations.c.spec_id)
            .where(operations.c.state == ReviewState.APPROVED.value)
            .order_by(operations.c.tool_name, operations.c.id)
        )
        async with self._sessions() as session:
            return tuple(
                Offer(
                    id=OperationId(row.id),
                    key=row.key,
                    tool_name=row.tool_name,
                    access=Access(row.access),
                    agent=row.agent,
                    claims=frozenset(row.bindings.values()),
                    unbindable=row.unbindable == "true",
                    address=address_of(row.where, row.server),
                )
                for row in await session.execute(statement)
            )

    async def ranked(self, words: Mapping[str, float]) -> tuple[OperationId, ...]:
        """The approved operations that have some of `words`, the likeliest first.

        Args:
            words: what to look for, and how much each counts (`search.question_words`).
        """
        if not words:
            return ()
        given = {"words": list(words), "counts": list(words.values())}
        async with self._sessions() as session:
            rows = await session.execute(_RANKED, given)
            return tuple(OperationId(str(row.id)) for row in rows)

    async def approved(
        self, ids: Sequence[str] | None = None
    ) -> tuple[tuple[Operation, str | None], ...]:
        """Every operation that may be called, or those with these ids that still may be.

        Each comes with the base URL of its API.
        """
        statement: sa.Select[Any] = (
            sa.select(*_OPERATION, _ADDRESS)
            .join(specs, specs.c.id == operations.c.spec_id)
            .where(operations.c.state == ReviewState.APPROVED.value)
            .order_by(operations.c.tool_name, operations.c.id)
        )
        if ids is not None:
            statement = statement.where(operations.c.id.in_(ids))
        async with self._sessions() as session:
            return tuple((_operation(row), row.where) for row in await session.execute(statement))


def address_of(base_url: str | None, server: str | None) -> str | None:
    """Where an operation is called: at its document's address, else at an absolute one of its own.

    A relative server of its own is so to the document's.
    """
    address = base_url or server
    return address if address is not None and "://" in address else None


# Not the words that it is searched by, nor what it was before.
_OPERATION = [column for column in operations.columns if column.name not in {"search", "previous"}]

_RANKED = sa.text(RANKED).bindparams(
    sa.bindparam("words", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("counts", type_=sa.ARRAY(sa.Float)),
)

_ADDRESS = sa.func.coalesce(specs.c.address, specs.c.base_url).label("where")

_SPECS = sa.select(
    specs,
    _ADDRESS,
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


async def _note(
    session: Session, act: Act, by: str, subject: str, details: Mapping[str, Any]
) -> None:
    """Write down what was done; only operators do such things, from the page or a terminal."""
    await record(session, act, actor=by, role="operator", subject=subject, details=details)


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


def classification_json(classification: Classification) -> dict[str, Any]:
    """The classification as plain JSON."""
    return asdict(classification) | {
        "access": classification.access.value,
        "risk": classification.risk.value,
        "bindings": dict(classification.bindings),
        "reasons": list(classification.reasons),
        "grounds": [asdict(ground) for ground in classification.grounds],
        "answer_fields": list(classification.answer_fields),
    }


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
        "security": [dict(requirement) for requirement in operation.security],
        "starts_at": operation.starts_at,
        "ends_at": operation.ends_at,
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


def _compared(known: Row, operation: DraftOperation) -> tuple[list[str], dict[str, Any]]:
    """What a new document makes of a known operation: what to count, and the values to store."""
    stored = _operation(known)
    removed = stored.state is ReviewState.REMOVED
    same = stored.schema_hash == operation.schema_hash and not is_stricter(stored, operation)
    # Only what differs: a column that is named is indexed anew, even if it is what it was.
    values = {
        name: value
        for name, value in _described(operation).items()
        if value != known._mapping[name]
    }
    if known.decided_by is None:
        if "suggestion" in values:
            values |= _suggested(operation)
        if not same:
            values |= {"version": operations.c.version + 1}
        return ["unchanged" if same else "changed"], values
    decided_on = known.previous or _snapshot(stored)  # a decision clears it
    changes = changes_between(_of_snapshot(stored, decided_on), operation)
    if changes or known.previous:
        values |= {"previous": decided_on, "changes": [asdict(change) for change in changes]}
    if same and not removed:
        return ["unchanged"], values
    was_open = stored.state in {ReviewState.REJECTED, ReviewState.PENDING}
    state = ReviewState.PENDING if was_open else ReviewState.CHANGED
    values |= {"state": state.value, "version": operations.c.version + 1}
    what = ["added" if removed else "changed"]
    what += ["breaking"] if any(change.breaking for change in changes) else []
    what += ["turned_write"] if turned_write(changes) else []
    return what, values


def _snapshot(operation: Operation) -> dict[str, Any]:
    """What `changes_between` needs to know of an operation later, as JSON."""
    described = _described(operation)
    return {name: described[name] for name in _COMPARED}


def _of_snapshot(operation: Operation, snapshot: Mapping[str, Any]) -> Operation:
    suggestion = classification_of(snapshot["suggestion"])
    return replace(operation, **{**snapshot, "suggestion": suggestion})


_COMPARED = (
    "tool_name", "summary", "description", "deprecated", "schema", "schema_hash", "request_plan",
    "suggestion",
)  # fmt: skip


def _operation(row: Row) -> Operation:
    values = {column.name: row._mapping[column.name] for column in _OPERATION}
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


def _spec(row: Row) -> Spec:
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
