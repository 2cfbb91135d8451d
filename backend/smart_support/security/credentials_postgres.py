"""Credentials in PostgreSQL: sealed, each bound to its row."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from uuid_utils import uuid7

from smart_support.database import Prepared, Row, Session, Sessions
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import record
from smart_support.security.credentials import (
    COMPANY,
    Credential,
    Kind,
    Slot,
    Trouble,
    context_of,
)
from smart_support.security.sealing import Keys
from smart_support.security.tables import credential_troubles, credentials

_HELD = Prepared(
    sa.select(credentials).where(
        credentials.c.spec_id == sa.bindparam("spec_id"),
        credentials.c.environment == sa.bindparam("environment"),
        sa.or_(credentials.c.owner == COMPANY, credentials.c.owner == sa.bindparam("owner")),
        credentials.c.kind != Kind.PENDING.value,
    )
)

_ACTS = {
    Kind.SCHEME: (Act.CREDENTIAL_SET, Act.CREDENTIAL_DELETED),
    Kind.HEADER: (Act.CREDENTIAL_SET, Act.CREDENTIAL_DELETED),
    Kind.TOKEN: (Act.CONNECTED, Act.DISCONNECTED),
}


class PostgresCredentials:
    """Keeps what opens APIs. Each method is one transaction."""

    def __init__(self, sessions: Sessions, keys: Keys) -> None:
        self._sessions = sessions
        self._keys = keys

    def open(self, credential: Credential) -> dict[str, Any]:
        """The secret of a credential; hand it to nothing that writes.

        Raises:
            SealBroken: its row was tampered with, or its key is not here.
        """
        return self._keys.open(credential.sealed, credential.context)

    async def put(
        self,
        slot: Slot,
        secret: Mapping[str, Any],
        *,
        origins: tuple[str, ...],
        scheme_hash: str,
        shown: Mapping[str, Any],
        by: str,
        role: str,
        audited: bool = True,
    ) -> Credential:
        """Keep a secret in a place, instead of what was there.

        An operator's replaces the tokens that were had with the one before: the company's own,
        and the customers' if the client is another one now.
        """
        values = {
            "id": str(uuid7()),
            "origins": list(origins),
            "scheme_hash": scheme_hash,
            "sealed": self._keys.seal(secret, context_of(slot, scheme_hash, origins)),
            "shown": dict(shown),
            "set_by": by,
        }
        statement = (
            insert(credentials)
            .values(**_key(slot), **values)
            .on_conflict_do_update(
                index_elements=["spec_id", "environment", "name", "kind", "owner"],
                set_={
                    **values,
                    "set_at": sa.func.now(),
                    "version": credentials.c.version + 1,
                    "renewing_until": None,
                },
            )
            .returning(credentials)
        )
        async with self._sessions.begin() as session:
            if slot.kind is Kind.SCHEME:
                await self._drop_tokens(session, slot, shown.get("client_id"))
            if slot.kind in {Kind.SCHEME, Kind.HEADER}:
                await session.execute(_no_trouble(slot.spec_id))
            row = (await session.execute(statement)).one()
            if audited:
                await _record(session, slot, by=by, role=role, deleted=False)
        return _credential(row)

    async def _drop_tokens(self, session: Session, slot: Slot, client_id: str | None) -> None:
        tokens = [
            credentials.c.spec_id == slot.spec_id,
            credentials.c.environment == slot.environment,
            credentials.c.name == slot.name,
            credentials.c.kind.in_([Kind.TOKEN.value, Kind.PENDING.value]),
        ]
        if client_id is not None:
            others = credentials.c.shown["client_id"].astext.is_distinct_from(client_id)
            tokens.append(sa.or_(credentials.c.owner == COMPANY, others))
        await session.execute(sa.delete(credentials).where(*tokens))

    async def held(self, spec_id: str, environment: str, owner: str) -> tuple[Credential, ...]:
        """What the company has for an API, and what this customer has."""
        values = {"spec_id": spec_id, "environment": environment, "owner": owner}
        async with self._sessions() as session:
            return tuple(_credential(row) for row in await session.execute(_HELD, values))

    async def get(self, slot: Slot) -> Credential | None:
        """What is in a place."""
        async with self._sessions() as session:
            row = (await session.execute(sa.select(credentials).where(*_at(slot)))).one_or_none()
        return None if row is None else _credential(row)

    async def of_owner(self, owner: str) -> tuple[Credential, ...]:
        """The tokens of a customer."""
        statement = (
            sa.select(credentials)
            .where(credentials.c.owner == owner, credentials.c.kind == Kind.TOKEN.value)
            .order_by(credentials.c.set_at, credentials.c.id)
        )
        async with self._sessions() as session:
            return tuple(_credential(row) for row in await session.execute(statement))

    async def connected(self, spec_id: str, environment: str) -> dict[str, int]:
        """How many customers have a token, by the name of the scheme."""
        statement = (
            sa.select(credentials.c.name, sa.func.count().label("customers"))
            .where(
                credentials.c.spec_id == spec_id,
                credentials.c.environment == environment,
                credentials.c.kind == Kind.TOKEN.value,
                credentials.c.owner != COMPANY,
            )
            .group_by(credentials.c.name)
        )
        async with self._sessions() as session:
            return {row.name: row.customers for row in await session.execute(statement)}

    async def all_connected(self) -> dict[tuple[str, str], int]:
        """How many customers have a token, by API and scheme, in whatever environment."""
        statement = (
            sa.select(
                credentials.c.spec_id,
                credentials.c.name,
                sa.func.count(credentials.c.owner.distinct()).label("customers"),
            )
            .where(credentials.c.kind == Kind.TOKEN.value, credentials.c.owner != COMPANY)
            .group_by(credentials.c.spec_id, credentials.c.name)
        )
        async with self._sessions() as session:
            rows = await session.execute(statement)
            return {(row.spec_id, row.name): row.customers for row in rows}

    async def delete(self, slot: Slot, *, by: str, role: str) -> bool:
        """Forget what is in a place, with all tokens that were had with it; False: nothing was."""
        async with self._sessions.begin() as session:
            if slot.kind is Kind.SCHEME:
                await self._drop_tokens(session, slot, None)
            gone = await session.execute(
                sa.delete(credentials).where(*_at(slot)).returning(credentials.c.id)
            )
            found = gone.one_or_none() is not None
            if found:
                await _record(session, slot, by=by, role=role, deleted=True)
        return found

    async def take_pending(self, credential_id: str) -> Credential | None:
        """What a customer left when they went to the OAuth server. It can be taken once."""
        statement = (
            sa.delete(credentials)
            .where(credentials.c.id == credential_id, credentials.c.kind == Kind.PENDING.value)
            .returning(credentials)
        )
        async with self._sessions.begin() as session:
            row = (await session.execute(statement)).one_or_none()
        return None if row is None else _credential(row)

    async def claim(self, token: Credential, *, seconds: float) -> bool:
        """Be the one who renews this token, for so many seconds; False: somebody else is."""
        until = sa.func.now() + timedelta(seconds=seconds)
        free = sa.or_(
            credentials.c.renewing_until.is_(None), credentials.c.renewing_until < sa.func.now()
        )
        return await self._changed(token, [free], renewing_until=until)

    async def release(self, token: Credential) -> None:
        """Let somebody else renew it."""
        await self._changed(token, [], renewing_until=None)

    async def renew(self, token: Credential, secret: Mapping[str, Any]) -> bool:
        """Put what was given in the place of a token; False: it was replaced meanwhile."""
        return await self._changed(
            token,
            [],
            sealed=self._keys.seal(secret, token.context),
            version=token.version + 1,
            renewing_until=None,
        )

    async def drop(self, token: Credential) -> None:
        """Forget a token that is worth nothing any more, unless it was replaced meanwhile."""
        async with self._sessions.begin() as session:
            await session.execute(
                sa.delete(credentials).where(
                    credentials.c.id == token.id, credentials.c.version == token.version
                )
            )

    async def _changed(
        self, token: Credential, where: list[sa.ColumnElement[bool]], **values: Any
    ) -> bool:
        statement = (
            sa.update(credentials)
            .where(credentials.c.id == token.id, credentials.c.version == token.version, *where)
            .values(**values)
            .returning(credentials.c.id)
        )
        async with self._sessions.begin() as session:
            return (await session.execute(statement)).one_or_none() is not None

    async def reseal(self, *, by: str, role: str) -> int:
        """Seal everything with the newest key; how many were sealed with another.

        Raises:
            SealBroken: one cannot be opened; then nothing is changed.
        """
        changed = 0
        async with self._sessions.begin() as session:
            rows = await session.execute(sa.select(credentials).with_for_update())
            for credential in map(_credential, rows.all()):
                if self._keys.is_newest(credential.sealed):
                    continue
                sealed = self._keys.seal(self.open(credential), credential.context)
                await session.execute(
                    sa.update(credentials)
                    .where(credentials.c.id == credential.id)
                    .values(sealed=sealed)
                )
                changed += 1
            if changed:
                await record(
                    session,
                    Act.RESEALED,
                    actor=by,
                    role=role,
                    subject=self._keys.newest,
                    details={"count": changed},
                )
        return changed

    async def note_trouble(
        self, spec_id: str, *, reason: str, operation: str, correlation_id: str
    ) -> None:
        """Let operators see that calls of an API fail for want of a good credential."""
        values = {"reason": reason, "operation": operation, "correlation_id": correlation_id}
        async with self._sessions.begin() as session:
            await session.execute(
                insert(credential_troubles)
                .values(spec_id=spec_id, **values)
                .on_conflict_do_update(
                    index_elements=["spec_id"],
                    set_={
                        **values,
                        "last_at": sa.func.now(),
                        "count": credential_troubles.c.count + 1,
                    },
                )
            )

    async def clear_trouble(self, spec_id: str) -> None:
        """A call was accepted again."""
        async with self._sessions.begin() as session:
            await session.execute(_no_trouble(spec_id))

    async def troubled(self, spec_id: str) -> bool:
        """Whether calls of this API have failed for want of a good credential."""
        known = sa.select(sa.exists().where(credential_troubles.c.spec_id == spec_id))
        async with self._sessions() as session:
            return bool(await session.scalar(known))

    async def troubles(self) -> dict[str, Trouble]:
        """The troubles of all APIs, by the id of the spec."""
        async with self._sessions() as session:
            rows = await session.execute(sa.select(credential_troubles))
            return {
                row.spec_id: Trouble(
                    **{name: value for name, value in row._mapping.items() if name != "spec_id"}
                )
                for row in rows
            }


def _key(slot: Slot) -> dict[str, str]:
    return {
        "spec_id": slot.spec_id,
        "environment": slot.environment,
        "name": slot.name,
        "kind": slot.kind.value,
        "owner": slot.owner,
    }


def _at(slot: Slot) -> list[sa.ColumnElement[bool]]:
    return [credentials.c[name] == value for name, value in _key(slot).items()]


def _no_trouble(spec_id: str) -> sa.Delete:
    return sa.delete(credential_troubles).where(credential_troubles.c.spec_id == spec_id)


async def _record(session: Session, slot: Slot, *, by: str, role: str, deleted: bool) -> None:
    acts = _ACTS.get(slot.kind)
    if acts is not None:
        await record(
            session,
            acts[deleted],
            actor=by,
            role=role,
            subject=slot.spec_id,
            details={
                "name": slot.name,
                "environment": slot.environment,
                "kind": slot.kind.value,
                **({"owner": slot.owner} if slot.owner else {}),
            },
        )


def _credential(row: Row) -> Credential:
    return Credential(
        id=row.id,
        slot=Slot(
            spec_id=row.spec_id,
            environment=row.environment,
            name=row.name,
            kind=Kind(row.kind),
            owner=row.owner,
        ),
        origins=tuple(row.origins),
        scheme_hash=row.scheme_hash,
        sealed=row.sealed,
        shown=row.shown,
        set_by=row.set_by,
        set_at=row.set_at,
        version=row.version,
    )
