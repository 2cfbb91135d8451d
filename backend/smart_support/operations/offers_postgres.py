"""What may be called, in PostgreSQL, and what of it a message may be about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from smart_support.database import Sessions
from smart_support.operations.records import Access, Operation, OperationId, ReviewState
from smart_support.operations.rows import ADDRESS, OPERATION, operation_of
from smart_support.operations.search import RANKED
from smart_support.operations.tables import operations, specs


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


class PostgresOffers:
    """Approved operations. Each method is one transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

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
                ADDRESS,
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
            sa.select(*OPERATION, ADDRESS)
            .join(specs, specs.c.id == operations.c.spec_id)
            .where(operations.c.state == ReviewState.APPROVED.value)
            .order_by(operations.c.tool_name, operations.c.id)
        )
        if ids is not None:
            statement = statement.where(operations.c.id.in_(ids))
        async with self._sessions() as session:
            return tuple((operation_of(row), row.where) for row in await session.execute(statement))

    async def approved_read(self, spec_id: str, key: str) -> tuple[Operation, str | None] | None:
        """The approved read with this key of a document, and where its API is; None if none is."""
        statement: sa.Select[Any] = (
            sa.select(*OPERATION, ADDRESS)
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
        return None if row is None else (operation_of(row), row.where)


def address_of(base_url: str | None, server: str | None) -> str | None:
    """Where an operation is called: at its document's address, else at an absolute one of its own.

    A relative server of its own is so to the document's.
    """
    address = base_url or server
    return address if address is not None and "://" in address else None


_RANKED = sa.text(RANKED).bindparams(
    sa.bindparam("words", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("counts", type_=sa.ARRAY(sa.Float)),
)
