"""What a process remembers of what may be called is what may be called, whoever changes it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from tests.operations.documents import openapi, spec_of
from tests.operations.test_review import approve, found, imported
from tests.support.turns import Clock

from smart_support.database import Sessions
from smart_support.database.engine import psycopg_dsn
from smart_support.operations.offers import Approvals, Withdrawn
from smart_support.operations.offers_postgres import FRESH_SECONDS
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Operation, ReviewState
from smart_support.operations.review import Correction, decide

HERE, THERE = "http://127.0.0.1:9", "http://127.0.0.1:10"
SERVER = {"servers": [{"url": HERE}]}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ours(sessions: Sessions, clock: Clock) -> PostgresOperations:
    """The catalogue as one process has it."""
    return PostgresOperations(sessions, monotonic=clock.monotonic)


@pytest.fixture
def theirs(sessions: Sessions, clock: Clock) -> PostgresOperations:
    """The same in another process."""
    return PostgresOperations(sessions, monotonic=clock.monotonic)


@pytest.fixture
async def approved(ours: PostgresOperations) -> Operation:
    spec = (await imported(ours, **SERVER)).spec
    return await approve(ours, await found(ours, spec.id, "listOrders"))


def names(approvals: Approvals) -> list[str]:
    return [offer.tool_name for offer in approvals.offers]


async def reject(operations: PostgresOperations, operation: Operation) -> Operation:
    return await decide(
        operations,
        operation,
        state=ReviewState.REJECTED,
        correction=Correction(),
        by="operator",
        reason="no more",
        version=operation.version,
    )


async def test_what_is_approved_is_known_at_once_in_every_process(
    ours: PostgresOperations, theirs: PostgresOperations
) -> None:
    spec = (await imported(ours, **SERVER)).spec
    assert names(await ours.approvals()) == names(await theirs.approvals()) == []

    await approve(ours, await found(ours, spec.id, "listOrders"))
    assert names(await ours.approvals()) == names(await theirs.approvals()) == ["listOrders"]

    await approve(theirs, await found(theirs, spec.id, "addNote"))
    both = ["addNote", "listOrders"]
    assert names(await ours.approvals()) == names(await theirs.approvals()) == both


async def rejected(operations: PostgresOperations, operation: Operation) -> None:
    await reject(operations, operation)


async def decided_again(operations: PostgresOperations, operation: Operation) -> None:
    await approve(operations, operation, confirm=True)


async def undone(operations: PostgresOperations, operation: Operation) -> None:
    (batch,) = await operations.batches(operation.spec_id)
    await operations.undo(batch.batch_id, by="operator")


async def imported_anew(operations: PostgresOperations, operation: Operation) -> None:
    del operation
    parameters = [{"name": "page", "in": "query", "schema": {"type": "integer"}}]
    await imported(
        operations,
        {"/orders": {"get": {"operationId": "listOrders", "parameters": parameters}}},
        **SERVER,
    )


async def gone_from_the_document(operations: PostgresOperations, operation: Operation) -> None:
    del operation
    await imported(operations, {"/notes": {"post": {"operationId": "addNote"}}}, **SERVER)


async def moved(operations: PostgresOperations, operation: Operation) -> None:
    await operations.set_base_url(operation.spec_id, THERE)


async def another_environment(operations: PostgresOperations, operation: Operation) -> None:
    await operations.set_environment(operation.spec_id, "test", THERE, by="operator")


CHANGES = [
    rejected,
    decided_again,
    undone,
    imported_anew,
    gone_from_the_document,
    moved,
    another_environment,
]
Changed = Callable[[PostgresOperations, Operation], Awaitable[None]]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
class TestAChange:
    async def test_is_seen_by_the_next_who_looks(
        self,
        change: Changed,
        elsewhere: bool,
        ours: PostgresOperations,
        theirs: PostgresOperations,
        approved: Operation,
    ) -> None:
        before = await ours.approvals()
        assert before.allow(approved, HERE)

        await change(theirs if elsewhere else ours, approved)

        assert not (await ours.approvals()).allow(approved, HERE)

    async def test_lets_no_call_out(
        self,
        change: Changed,
        elsewhere: bool,
        ours: PostgresOperations,
        theirs: PostgresOperations,
        approved: Operation,
        sessions: Sessions,
        clock: Clock,
    ) -> None:
        await ours.approvals()
        await ours.refuse_withdrawn(approved, HERE)
        async with sessions.begin() as session:
            await ours.unless_withdrawn(approved, HERE)(session)

        await change(theirs if elsewhere else ours, approved)

        async with sessions.begin() as session:
            with pytest.raises(Withdrawn):  # a write, at once
                await ours.unless_withdrawn(approved, HERE)(session)
        if elsewhere:
            clock.pass_by(FRESH_SECONDS)
        with pytest.raises(Withdrawn):
            await ours.refuse_withdrawn(approved, HERE)


async def test_by_hand_in_the_database_is_seen_too(
    ours: PostgresOperations, approved: Operation, database_url: str
) -> None:
    with psycopg.connect(psycopg_dsn(database_url), autocommit=True) as by_hand:
        for statement in (
            b"UPDATE operations SET state = 'pending'",
            b"UPDATE operations SET state = 'approved'",
            b"UPDATE specs SET base_url = 'http://127.0.0.1:11'",
            b"DELETE FROM specs",
        ):
            before = await ours.approvals()
            by_hand.execute(statement)
            after = await ours.approvals()
            assert after.version != before.version
    assert names(after) == []
    assert not after.allow(approved, HERE)


async def test_nothing_is_read_again_for_what_changes_no_approval(
    ours: PostgresOperations, theirs: PostgresOperations, approved: Operation
) -> None:
    before = await ours.approvals()

    await reject(theirs, await found(theirs, approved.spec_id, "addNote"))
    await imported(theirs, **SERVER)
    draft = spec_of(openapi({"/parcels": {"get": {"operationId": "listParcels"}}}))
    await theirs.save_draft(draft, name="Parcels", document=b"{}", by="operator")

    assert await ours.approvals() is before


async def test_changes_that_are_committed_in_another_order_are_all_seen(
    ours: PostgresOperations, approved: Operation, database_url: str
) -> None:
    """A number that counts up before its commit would hide the first of these two."""
    await imported(ours, {"/a": {"get": {"operationId": "a"}}}, **SERVER)
    await approve(ours, await found(ours, approved.spec_id, "a"))
    dsn = psycopg_dsn(database_url)
    with psycopg.connect(dsn) as early, psycopg.connect(dsn) as late:
        early.execute("UPDATE operations SET state = 'rejected' WHERE tool_name = 'a'")
        late.execute("UPDATE operations SET state = 'approved' WHERE tool_name <> 'a'")
        late.commit()
        assert names(await ours.approvals()) == ["a", "listOrders"]
        early.commit()
    assert names(await ours.approvals()) == ["listOrders"]


async def test_reviews_and_imports_at_once_wait_for_nobody_for_ever(
    ours: PostgresOperations, theirs: PostgresOperations, approved: Operation
) -> None:
    note = await found(ours, approved.spec_id, "addNote")

    async def again(operations: PostgresOperations, operation: Operation) -> None:
        for _ in range(5):
            now = await operations.operation(operation.id)
            await approve(operations, now)

    async def document(operations: PostgresOperations, url: str) -> None:
        for number in range(5):
            await operations.set_base_url(approved.spec_id, f"{url}{number}")
            await imported(operations, **SERVER)

    async with asyncio.timeout(30):
        await asyncio.gather(
            again(ours, approved),
            again(theirs, note),
            document(ours, "http://127.0.0.1:1"),
            document(theirs, "http://127.0.0.1:2"),
        )

    mine, other = await ours.approvals(), await theirs.approvals()
    assert names(mine) == names(other) == ["addNote", "listOrders"]
    assert {offer.address for offer in mine.offers} == {offer.address for offer in other.offers}


async def test_what_is_made_of_approvals_is_made_once_and_forgotten_with_them(
    ours: PostgresOperations, approved: Operation
) -> None:
    made: list[Any] = []

    def make() -> int:
        made.append(None)
        return len(made)

    first = await ours.approvals()
    assert [first.once("a", make), first.once("a", make), first.once("b", make)] == [1, 1, 2]
    await reject(ours, approved)
    assert (await ours.approvals()).once("a", make) == 3
