"""The documents in PostgreSQL: where their APIs are, and what guards them."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from smart_support.database import Prepared
from smart_support.errors import InvalidInput, NotFound
from smart_support.operations.records import ReviewState, Spec
from smart_support.operations.rows import ADDRESS, SPECS, CatalogueRows, note, spec_of, spec_row
from smart_support.operations.security import Requirement, Scheme
from smart_support.operations.tables import operations, specs
from smart_support.security.audit import Act


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


_GUARD = Prepared(
    sa.select(specs.c.schemes, specs.c.environment).where(specs.c.id == sa.bindparam("spec_id"))
)


class PostgresSpecs(CatalogueRows):
    """Imported documents as a whole. Each method is one transaction."""

    async def specs(self) -> tuple[Spec, ...]:
        """Every imported document, newest first."""
        async with self._sessions() as session:
            rows = await session.execute(SPECS.order_by(specs.c.imported_at.desc(), specs.c.id))
            return tuple(spec_of(row) for row in rows)

    async def spec(self, spec_id: str) -> Spec:
        """One imported document.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._sessions() as session:
            return spec_of(await spec_row(session, spec_id))

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

    async def set_base_url(self, spec_id: str, base_url: str, *, by: str = "system") -> Spec:
        """Say where the API of a document is; the operator's word goes before the document's.

        Raises:
            NotFound: there is no such document.
        """
        async with self._changing() as session:
            await session.execute(
                sa.update(specs).where(specs.c.id == spec_id).values(address=base_url)
            )
            spec = spec_of(await spec_row(session, spec_id))
            await note(session, Act.ADDRESS_SET, by, spec_id, {"base_url": base_url})
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
        async with self._changing() as session:
            row = (
                await session.execute(
                    sa.select(specs.c.environment, specs.c.environments, ADDRESS)
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
            spec = spec_of(await spec_row(session, spec_id))
            act = Act.ENVIRONMENT_CHOSEN if choose else Act.ADDRESS_SET
            await note(session, act, by, spec_id, {"environment": name, "base_url": known[name]})
        return spec

    async def guard(self, spec_id: str) -> Guard:
        """What guards an API.

        Raises:
            NotFound: there is no such document.
        """
        async with self._sessions() as session:
            row = (await session.execute(_GUARD, {"spec_id": spec_id})).one_or_none()
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
