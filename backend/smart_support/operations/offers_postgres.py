"""What may be called, in PostgreSQL, and what of it a message may be about.

A turn reads one row, the catalogue's version, and uses what this process remembers unless that
has changed; see `tables.catalogue`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from smart_support.database import Prepared, Session, Sessions
from smart_support.operations.offers import Approvals, Offer, Withdrawn, address_of
from smart_support.operations.records import Access, Operation, OperationId, ReviewState
from smart_support.operations.rows import ADDRESS, OPERATION, CatalogueRows, operation_of
from smart_support.operations.search import LEXEMES, WEIGHTS
from smart_support.operations.tables import catalogue, operations, specs

FRESH_SECONDS = 0.5
"""How long a read may go by what this process knows; as long as the kill switch."""

MAX_STEMS = 20_000
"""Words whose stems are remembered. Beyond, all are forgotten: those in use come back."""

LONGEST_WORD = 60
"""Characters; longer ones are in no document."""


class PostgresOffers(CatalogueRows):
    """Approved operations."""

    def __init__(
        self, sessions: Sessions, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(sessions)
        self._monotonic = monotonic
        self._approvals: Approvals | None = None
        self._looked = (-1, 0.0)
        self._loading = asyncio.Lock()
        self._stems: dict[str, tuple[str, ...]] = {}

    async def approvals(self) -> Approvals:
        """Everything that may be called now, whoever has changed it last."""
        looked = (self._changes, self._monotonic())
        async with self._sessions() as session:
            version = await session.scalar(_VERSION)
        async with self._loading:
            if self._approvals is None or self._approvals.version != version:
                # Read after its version: should it be newer, the next one reads it again.
                self._approvals = Approvals.of(version, await self._approved_offers())
            self._looked = looked
            return self._approvals

    async def ranked(self, words: Mapping[str, float]) -> tuple[OperationId, ...]:
        """The approved operations that have some of `words`, the likeliest first.

        Args:
            words: what to look for, and how much each counts (`search.question_words`).
        """
        return (await self.approvals()).index.ranked(await self.lexemes(words))

    async def lexemes(self, words: Mapping[str, float]) -> dict[str, float]:
        """The stems of `words`, and how much each counts at most."""
        stems = {word: self._stems[word] for word in words if word in self._stems}
        unknown = [word for word in words if word not in stems and len(word) <= LONGEST_WORD]
        if unknown:
            async with self._sessions() as session:
                found: list[list[str]] = await session.scalar(_LEXEMES, {"words": unknown})
            if len(self._stems) + len(unknown) > MAX_STEMS:
                self._stems.clear()
            learnt = dict(zip(unknown, map(tuple, found), strict=True))
            self._stems.update(learnt)
            stems |= learnt
        counts: dict[str, float] = {}
        for word, lexemes in stems.items():
            for lexeme in lexemes:
                counts[lexeme] = max(counts.get(lexeme, 0.0), words[word])
        return counts

    async def refuse_withdrawn(self, operation: Operation, address: str) -> None:
        """Raise unless exactly this may be called at `address`, as of FRESH_SECONDS ago at most.

        What was changed through this process counts at once.

        Raises:
            Withdrawn: it may not.
        """
        known, (changes, at) = self._approvals, self._looked
        if known is not None and changes == self._changes:
            fresh = self._monotonic() - at < FRESH_SECONDS
            if fresh and known.allow(operation, address):
                return
        if not (await self.approvals()).allow(operation, address):
            raise Withdrawn(operation.key)

    def unless_withdrawn(
        self, operation: Operation, address: str
    ) -> Callable[[Session], Awaitable[None]]:
        """The same for a write: asked in the transaction that lets it out, which sees all."""

        async def refuse(session: Session) -> None:
            statement = (
                sa.select(operations.c.request_plan["server"].astext.label("server"), ADDRESS)
                .join(specs, specs.c.id == operations.c.spec_id)
                .where(
                    operations.c.id == operation.id,
                    operations.c.version == operation.version,
                    operations.c.state == ReviewState.APPROVED.value,
                )
            )
            row = (await session.execute(statement)).one_or_none()
            if row is None or address_of(row.where, row.server) != address:
                raise Withdrawn(operation.key)

        return refuse

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

    async def _approved_offers(self) -> list[tuple[Offer, Mapping[str, float]]]:
        async with self._sessions() as session:
            return [
                (
                    Offer(
                        id=OperationId(row.id),
                        version=row.version,
                        key=row.key,
                        tool_name=row.tool_name,
                        access=Access(row.access),
                        agent=row.agent,
                        claims=frozenset(row.bindings.values()),
                        unbindable=row.unbindable == "true",
                        address=address_of(row.where, row.server),
                    ),
                    row.weights or {},
                )
                for row in await session.execute(_OFFERS)
            ]


_VERSION = Prepared(sa.select(catalogue.c.changed_by))

_LEXEMES = (
    sa.text(LEXEMES)
    .bindparams(sa.bindparam("words", type_=sa.ARRAY(sa.Text)))
    .columns(lexemes=JSONB)
)

_decided = operations.c.classification
_OFFERS = (
    sa.select(
        operations.c.id,
        operations.c.version,
        operations.c.key,
        operations.c.tool_name,
        _decided["access"].astext.label("access"),
        _decided["agent"].astext.label("agent"),
        _decided["bindings"].label("bindings"),
        _decided["unbindable"].astext.label("unbindable"),
        operations.c.request_plan["server"].astext.label("server"),
        ADDRESS,
        sa.literal_column(WEIGHTS, JSONB).label("weights"),
    )
    .join(specs, specs.c.id == operations.c.spec_id)
    .where(operations.c.state == ReviewState.APPROVED.value)
    .order_by(operations.c.tool_name, operations.c.id)
)
