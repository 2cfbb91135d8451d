"""Deciding about many operations at once, and taking it back: all of it or nothing."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from tests.operations.documents import openapi, parameter, spec_of

from smart_support.database import Sessions
from smart_support.errors import InvalidInput, NotFound
from smart_support.operations.decisions import Decided, ReviewConflict
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access, Operation, ReviewState, Risk
from smart_support.operations.review import Correction, Verdict, decide_all
from smart_support.operations.suggest import ConfirmationLocked

DOCUMENT: dict[str, Any] = openapi(
    {
        "/orders": {"get": {"parameters": [parameter("customer_id")]}, "post": {}},
        "/orders/{id}/refunds": {"post": {"parameters": [parameter("id", "path", required=True)]}},
        "/shops": {"get": {}},
    },
    servers=[{"url": "https://api.shop.test"}],
)


class Desk:
    """One document under review."""

    def __init__(self, sessions: Sessions) -> None:
        self.operations = PostgresOperations(sessions)

    async def import_(self, document: dict[str, Any] = DOCUMENT, name: str = "shop") -> str:
        draft = spec_of(document)
        imported = await self.operations.save_draft(draft, name=name, document=b"{}", by="op")
        self.spec = imported.spec.id
        return imported.spec.id

    async def all(self) -> dict[str, Operation]:
        return {each.key: each for each in await self.operations.operations(self.spec)}

    async def decide(
        self, *verdicts: Verdict, by: str = "oona", spec: str | None = None
    ) -> Decided:
        return await decide_all(self.operations, spec or self.spec, verdicts, by=by)


@pytest.fixture
async def desk(sessions: Sessions) -> Desk:
    desk = Desk(sessions)
    await desk.import_()
    return desk


def approve(operation: Operation, **correction: Any) -> Verdict:
    return Verdict(
        operation_id=operation.id,
        version=operation.version,
        state=ReviewState.APPROVED,
        correction=Correction(**correction),
        reason="looked at",
    )


def reviewed(operation: Operation) -> tuple[Any, ...]:
    """What a review can change, but for the version."""
    return (
        operation.state,
        operation.classification,
        operation.decided_by,
        operation.decided_at,
        operation.decision_reason,
    )


class TestDeciding:
    async def test_decides_about_all_at_once_with_one_batch(self, desk: Desk) -> None:
        before = await desk.all()

        decided = await desk.decide(*map(approve, before.values()))

        after = await desk.all()
        assert {each.key for each in decided.operations} == before.keys()
        assert {each.state for each in after.values()} == {ReviewState.APPROVED}
        assert {each.decided_by for each in after.values()} == {"oona"}
        assert len({each.decided_at for each in after.values()}) == 1
        for operation in after.values():
            (review,) = await desk.operations.history(operation.id)
            assert (review.batch_id, review.reason) == (decided.batch_id, "looked at")
        assert (await desk.operations.spec(desk.spec)).waiting_count == 0

    async def test_gives_each_operation_its_own_correction(self, desk: Desk) -> None:
        before = await desk.all()

        await desk.decide(
            approve(before["POST /orders"], access=Access.READ, confirm=False, agent="orders"),
            approve(before["GET /orders"], bindings={"customer_id": "email"}, risk=Risk.MEDIUM),
        )

        after = await desk.all()
        assert after["POST /orders"].classification.access is Access.READ
        assert after["GET /orders"].classification.bindings == {"customer_id": "email"}
        assert after["GET /shops"] == before["GET /shops"]

    async def test_an_empty_header_takes_the_header_away(self, desk: Desk) -> None:
        before = await desk.all()
        await desk.decide(approve(before["POST /orders"], idempotency_header="X-Once"))
        given = (await desk.all())["POST /orders"]

        await desk.decide(approve(given, idempotency_header=""))

        assert given.classification.idempotency_header == "X-Once"
        assert (await desk.all())["POST /orders"].classification.idempotency_header is None

    async def test_changes_nothing_if_one_was_decided_in_between_and_says_by_whom(
        self, desk: Desk
    ) -> None:
        before = await desk.all()
        await desk.decide(approve(before["GET /shops"]), by="lu")

        with pytest.raises(ReviewConflict, match=r"GET /shops.*decided by lu") as refused:
            await desk.decide(*map(approve, before.values()))

        (conflict,) = refused.value.conflicts
        assert (conflict.key, conflict.decided_by, conflict.version) == ("GET /shops", "lu", 2)
        assert conflict.state is ReviewState.APPROVED
        after = await desk.all()
        assert after.pop("GET /shops").decided_by == "lu"
        assert after == {key: each for key, each in before.items() if key != "GET /shops"}

    async def test_changes_nothing_if_one_decision_is_unsafe(self, desk: Desk) -> None:
        before = await desk.all()

        with pytest.raises(ConfirmationLocked):
            await desk.decide(
                approve(before["GET /shops"]),
                approve(before["POST /orders/{id}/refunds"], confirm=False),
            )

        assert await desk.all() == before

    async def test_lets_one_of_two_racing_reviewers_have_all(self, desk: Desk) -> None:
        before = list((await desk.all()).values())

        outcomes = await asyncio.gather(
            desk.decide(*map(approve, before), by="oona"),
            desk.decide(*map(approve, reversed(before)), by="lu"),
            return_exceptions=True,
        )

        (conflict,) = [each for each in outcomes if isinstance(each, ReviewConflict)]
        (decided,) = [each for each in outcomes if isinstance(each, Decided)]
        assert len(conflict.conflicts) == len(decided.operations) == len(before)
        assert len({each.decided_by for each in (await desk.all()).values()}) == 1
        assert len(await desk.operations.batches(desk.spec)) == 1

    async def test_names_no_more_than_five_in_its_words(self, sessions: Sessions) -> None:
        desk = Desk(sessions)
        await desk.import_(
            openapi({f"/{n}": {"get": {}} for n in range(8)}, servers=[{"url": "https://a.test"}])
        )
        before = list((await desk.all()).values())
        await desk.decide(*map(approve, before), by="lu")

        with pytest.raises(ReviewConflict, match=r"; and 3 more$") as refused:
            await desk.decide(*map(approve, before))

        assert len(refused.value.conflicts) == 8

    async def test_refuses_what_makes_no_sense(self, desk: Desk) -> None:
        shops = (await desk.all())["GET /shops"]
        first = desk.spec
        await desk.import_(openapi({"/x": {"get": {}}}), name="another without an address")
        other = (await desk.all())["GET /x"]

        with pytest.raises(InvalidInput, match="twice"):
            await desk.decide(approve(shops), approve(shops), spec=first)
        with pytest.raises(InvalidInput, match="No operation"):
            await desk.decide(spec=first)
        with pytest.raises(NotFound):
            await desk.decide(approve(shops), approve(other), spec=first)
        with pytest.raises(InvalidInput, match="base URL"):
            await desk.decide(approve(other))
        with pytest.raises(NotFound):
            await desk.operations.document("0193a5c0-0000-7000-8000-000000000000")


class TestUndoing:
    async def test_puts_back_what_stood_before_and_keeps_it_in_the_history(
        self, desk: Desk
    ) -> None:
        first = await desk.all()
        await desk.decide(approve(first["GET /shops"], agent="shops"), by="lu")
        before = await desk.all()
        decided = await desk.decide(
            *(
                Verdict(
                    operation_id=each.id,
                    version=each.version,
                    state=ReviewState.REJECTED,
                    correction=Correction(agent="nobody"),
                    reason="too early",
                )
                for each in before.values()
            )
        )

        undone = await desk.operations.undo(decided.batch_id, by="kim")

        after = await desk.all()
        assert {key: reviewed(each) for key, each in after.items()} == {
            key: reviewed(each) for key, each in before.items()
        }
        assert tuple(after.values()) == undone.operations
        history = await desk.operations.history(after["GET /shops"].id)
        assert [(each.by, each.state.value, each.undoes) for each in history] == [
            ("lu", "approved", None),
            ("oona", "rejected", None),
            ("kim", "approved", decided.batch_id),
        ]

    async def test_can_itself_be_undone(self, desk: Desk) -> None:
        decided = await desk.decide(*map(approve, (await desk.all()).values()))
        approved = await desk.all()
        undone = await desk.operations.undo(decided.batch_id, by="oona")

        await desk.operations.undo(undone.batch_id, by="oona")

        after = await desk.all()
        assert [reviewed(each) for each in after.values()] == [
            reviewed(each) for each in approved.values()
        ]

    async def test_changes_nothing_if_somebody_decided_since(self, desk: Desk) -> None:
        decided = await desk.decide(*map(approve, (await desk.all()).values()))
        await desk.decide(approve((await desk.all())["GET /shops"]), by="lu")
        before = await desk.all()

        with pytest.raises(ReviewConflict) as refused:
            await desk.operations.undo(decided.batch_id, by="oona")

        assert [each.decided_by for each in refused.value.conflicts] == ["lu"]
        assert await desk.all() == before

    async def test_happens_once_in_a_race(self, desk: Desk) -> None:
        decided = await desk.decide(*map(approve, (await desk.all()).values()))

        outcomes = await asyncio.gather(
            *(desk.operations.undo(decided.batch_id, by=by) for by in ("oona", "lu", "kim")),
            return_exceptions=True,
        )

        assert [type(each) for each in outcomes].count(Decided) == 1
        assert [type(each) for each in outcomes].count(ReviewConflict) == 2

    async def test_refuses_what_a_new_import_has_changed(self, desk: Desk) -> None:
        decided = await desk.decide(*map(approve, (await desk.all()).values()))
        changed = {**DOCUMENT["paths"], "/shops": {"get": {"parameters": [parameter("near")]}}}
        await desk.import_(DOCUMENT | {"paths": changed})

        with pytest.raises(ReviewConflict, match=r"GET /shops.*changed by a new import"):
            await desk.operations.undo(decided.batch_id, by="oona")

    async def test_refuses_what_is_not_there_or_was_never_kept(
        self, desk: Desk, sessions: Sessions
    ) -> None:
        decided = await desk.decide(approve((await desk.all())["GET /shops"]))
        async with sessions.begin() as session:
            await session.execute(sa.text("UPDATE reviews SET before = NULL"))

        with pytest.raises(NotFound):
            await desk.operations.undo("0193a5c0-0000-7000-8000-000000000000", by="oona")
        with pytest.raises(InvalidInput, match="before decisions could be undone"):
            await desk.operations.undo(decided.batch_id, by="oona")
        (batch,) = await desk.operations.batches(desk.spec)
        assert not batch.undoable


async def test_lists_what_was_decided_at_once_newest_first(desk: Desk) -> None:
    first = await desk.decide(*map(approve, (await desk.all()).values()))
    second = await desk.decide(approve((await desk.all())["GET /shops"]), by="lu")
    third = await desk.operations.undo(second.batch_id, by="kim")

    batches = await desk.operations.batches(desk.spec)

    assert [(each.batch_id, each.by, each.count, each.undoable) for each in batches] == [
        (third.batch_id, "kim", 1, True),
        (second.batch_id, "lu", 1, False),
        (first.batch_id, "oona", 4, False),
    ]
    assert [each.undoes for each in batches] == [second.batch_id, None, None]
    assert batches[2].first_key == "GET /orders"
    assert batches[2].states == (ReviewState.APPROVED,)
