"""The catalogue of operations in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from smart_support.errors import NotFound
from smart_support.operations.decisions_postgres import PostgresDecisions
from smart_support.operations.imports_postgres import PostgresImports
from smart_support.operations.offers_postgres import PostgresOffers
from smart_support.operations.records import Access, Operation, ReviewState
from smart_support.operations.rows import OPERATION, operation_of
from smart_support.operations.specs_postgres import PostgresSpecs
from smart_support.operations.tables import operations


@dataclass(frozen=True, slots=True)
class Listed:
    """The names of one operation, and its access as decided."""

    key: str
    tool_name: str
    access: Access


class PostgresOperations(PostgresOffers, PostgresSpecs, PostgresImports, PostgresDecisions):
    """What upstream APIs offer. Each method is one transaction."""

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
            sa.select(*OPERATION)
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
            return tuple(operation_of(row) for row in await session.execute(statement))

    async def operation(self, operation_id: str) -> Operation:
        """One operation.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._sessions() as session:
            row = (
                await session.execute(sa.select(*OPERATION).where(operations.c.id == operation_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"no operation {operation_id}")
        return operation_of(row)

    async def chosen(self, spec_id: str, ids: Sequence[str]) -> tuple[Operation, ...]:
        """These operations of a document, in the order of their keys.

        Raises:
            NotFound: one of them is not there.
        """
        statement = (
            sa.select(*OPERATION)
            .where(operations.c.spec_id == spec_id, operations.c.id.in_(ids))
            .order_by(operations.c.key)
        )
        async with self._sessions() as session:
            found = tuple(operation_of(row) for row in await session.execute(statement))
        if len(found) != len(set(ids)):
            raise NotFound(f"{len(set(ids)) - len(found)} operations are not of spec {spec_id}")
        return found

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
