"""A document that was read, stored as a spec with its operations, or compared with the last one."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from uuid_utils import uuid7

from smart_support.database import Row, Session
from smart_support.operations.changes import changes_between, is_stricter, turned_write
from smart_support.operations.naming import keep_names
from smart_support.operations.records import (
    DraftOperation,
    DraftSpec,
    Operation,
    ReviewState,
    Spec,
    SpecId,
)
from smart_support.operations.rows import (
    OPERATION,
    CatalogueRows,
    classification_json,
    classification_of,
    described,
    note,
    operation_of,
    spec_of,
    spec_row,
)
from smart_support.operations.tables import operations, specs
from smart_support.security.audit import Act


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


class PostgresImports(CatalogueRows):
    """Imported documents. Each method is one transaction."""

    async def save_draft(
        self, draft: DraftSpec, *, name: str, document: bytes, by: str
    ) -> Imported:
        """Store a document under `name`; a second import of that name is compared with the first.

        An operation that is as it was keeps its review. One that changed, or of which the rules
        ask more care now, waits for a person again and cannot be called until then; it remembers
        what it was when it was decided about. One that is gone cannot be called any more; it is
        kept if somebody has ever decided about it.
        """
        async with self._changing() as session:
            spec_id = await self._save_spec(session, draft, name, document, by)
            # Whoever decides meanwhile waits, and is then told that it has changed.
            rows = await session.execute(
                sa.select(*OPERATION, operations.c.previous)
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
            row = await spec_row(session, spec_id)
            facts = {"name": name, "hash": draft.hash, **counts}
            await note(session, Act.IMPORTED, by, spec_id, facts)
        return Imported(
            spec_of(row),
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


def _new_row(spec_id: str, operation: DraftOperation) -> dict[str, Any]:
    return {
        "id": str(uuid7()),
        "spec_id": spec_id,
        "key": operation.key,
        "state": ReviewState.PENDING.value,
        **described(operation),
        **_suggested(operation),
    }


def _suggested(operation: DraftOperation) -> dict[str, Any]:
    """Nobody has decided what it is, so it counts as what is suggested."""
    return {"classification": classification_json(operation.suggestion)}


def _compared(known: Row, operation: DraftOperation) -> tuple[list[str], dict[str, Any]]:
    """What a new document makes of a known operation: what to count, and the values to store."""
    stored = operation_of(known)
    removed = stored.state is ReviewState.REMOVED
    same = stored.schema_hash == operation.schema_hash and not is_stricter(stored, operation)
    # Only what differs: a column that is named is indexed anew, even if it is what it was.
    values = {
        name: value for name, value in described(operation).items() if value != known._mapping[name]
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
    values = described(operation)
    return {name: values[name] for name in _COMPARED}


def _of_snapshot(operation: Operation, snapshot: Mapping[str, Any]) -> Operation:
    suggestion = classification_of(snapshot["suggestion"])
    return replace(operation, **{**snapshot, "suggestion": suggestion})


_COMPARED = (
    "tool_name", "summary", "description", "deprecated", "schema", "schema_hash", "request_plan",
    "suggestion",
)  # fmt: skip
