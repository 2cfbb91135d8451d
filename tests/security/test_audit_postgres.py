"""The audit log: added to, never changed, each entry bound to the one before."""

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smart_support.database import Sessions
from smart_support.security.audit import Act
from smart_support.security.audit_postgres import PostgresAudit, record


@pytest.fixture
def audit(sessions: Sessions) -> PostgresAudit:
    return PostgresAudit(sessions)


async def add(audit: PostgresAudit, count: int, **more: Any) -> None:
    for number in range(count):
        fields: dict[str, Any] = {"actor": "op", "role": "operator", "subject": f"s{number}"}
        await audit.add(Act.IMPORTED, **fields | more)


async def test_entries_are_read_back_newest_first_page_by_page(audit: PostgresAudit) -> None:
    await add(audit, 5, details={"name": "shop"})

    first = await audit.page(limit=3)
    second = await audit.page(before=first[-1].number, limit=3)

    assert [entry.number for entry in (*first, *second)] == [5, 4, 3, 2, 1]
    assert (first[0].actor, first[0].act, first[0].subject) == ("op", "document_imported", "s4")
    assert first[0].details == {"name": "shop"}


async def test_they_can_be_chosen_by_act_and_actor(audit: PostgresAudit) -> None:
    await add(audit, 2)
    await audit.add(Act.SIGNED_IN, actor="cus_ada", role="customer", subject="t")

    assert [entry.actor for entry in await audit.page(act="signed_in")] == ["cus_ada"]
    assert len(await audit.page(actor="op")) == 2


async def test_an_entry_names_the_request_it_belongs_to(audit: PostgresAudit) -> None:
    with structlog.contextvars.bound_contextvars(correlation_id="c-1"):
        await add(audit, 1)

    assert [entry.correlation_id for entry in await audit.page()] == ["c-1"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET actor = 'somebody else'",
        "UPDATE audit SET details = '{}' WHERE number = 2",
        "DELETE FROM audit WHERE number = 1",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ],
)
async def test_postgres_refuses_every_change(
    audit: PostgresAudit, sessions: Sessions, change: str
) -> None:
    await add(audit, 2)

    with pytest.raises(asyncpg.PostgresError, match="only ever added to"):
        async with sessions.begin() as session:
            await session.execute(sa.text(change))

    assert len(await audit.page()) == 2


async def test_an_act_that_is_rolled_back_was_not_done(
    audit: PostgresAudit, sessions: Sessions
) -> None:
    await add(audit, 1)
    with contextlib.suppress(ZeroDivisionError):
        async with sessions.begin() as session:
            await record(session, Act.DECIDED, actor="op", role="operator", subject="s")
            _ = 1 / 0
    await add(audit, 1)

    assert [entry.number for entry in await audit.page()] == [2, 1]
    assert await audit.first_broken() is None


async def test_many_at_once_are_chained_without_a_gap(audit: PostgresAudit) -> None:
    await asyncio.gather(*(add(audit, 5) for _ in range(8)))

    assert [entry.number for entry in await audit.page(limit=100)] == list(range(40, 0, -1))
    assert await audit.first_broken() is None


@pytest.mark.parametrize(
    ("forgery", "found"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE number = 3", 3),
        ("UPDATE audit SET details = '{\"x\": 1}' WHERE number = 1", 1),
        ("UPDATE audit SET at = at - interval '1 day' WHERE number = 2", 2),
        ("UPDATE audit SET correlation_id = 'x' WHERE number = 4", 4),
        ("DELETE FROM audit WHERE number = 2", 3),
        ("DELETE FROM audit WHERE number = 1", 2),
        ("UPDATE audit SET hash = audit_hash('', audit) WHERE number = 2", 2),
    ],
)
async def test_whoever_gets_past_postgres_is_found_by_the_chain(
    audit: PostgresAudit, sessions: Sessions, forgery: str, found: int
) -> None:
    await add(audit, 4)
    async with sessions.begin() as session:
        # As the superuser that the tests are, triggers can be left out.
        await session.execute(sa.text("SET LOCAL session_replication_role = replica"))
        await session.execute(sa.text(forgery))

    assert await audit.first_broken() == found


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    actor=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    details=st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        st.integers(-(2**40), 2**40) | st.booleans() | st.none(),
    ),
)
async def test_whatever_is_written_is_data(
    audit: PostgresAudit, actor: str, details: dict[str, Any]
) -> None:
    await audit.add(Act.DENIED, actor=actor, role="customer", subject=actor, details=details)

    (entry, *_) = await audit.page(limit=1)
    assert (entry.actor, entry.subject, entry.details) == (actor, actor, details)
    assert await audit.first_broken() is None


async def test_a_thing_that_counts_once_is_written_once(audit: PostgresAudit) -> None:
    for _ in range(3):
        await audit.add_once(Act.SIGNED_IN, actor="ada", role="customer", subject="token 1")
    await audit.add_once(Act.SIGNED_IN, actor="ada", role="customer", subject="token 2")

    assert len(await audit.page()) == 2
