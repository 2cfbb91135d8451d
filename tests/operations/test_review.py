"""A person's decision: what may be decided, on which state, and what becomes of it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.operations.documents import openapi, parameter, spec_of

from smart_support.database import Sessions
from smart_support.errors import InvalidInput, NotFound, SupportError
from smart_support.operations.decisions import ReviewConflict
from smart_support.operations.imports_postgres import Imported
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access, Operation, ReviewState, Risk
from smart_support.operations.review import Correction, decide
from smart_support.operations.suggest import (
    ConfirmationLocked,
    UnknownArgument,
    UnknownClaim,
    suggest,
)

SERVER = {"servers": [{"url": "http://shop.example/api"}]}
PATHS = {
    "/orders": {"get": {"operationId": "listOrders", "parameters": [parameter("customer_id")]}},
    "/orders/{id}": {
        "delete": {
            "operationId": "deleteOrder",
            "parameters": [parameter("id", "path", required=True)],
        }
    },
    "/notes": {"post": {"operationId": "addNote"}},
}


@pytest.fixture
def operations(sessions: Sessions) -> PostgresOperations:
    return PostgresOperations(sessions)


async def imported(operations: PostgresOperations, paths: Any = None, **more: Any) -> Imported:
    draft = spec_of(openapi(paths or PATHS, **more))
    suggested = tuple(replace(each, suggestion=suggest(each)) for each in draft.operations)
    return await operations.save_draft(
        replace(draft, operations=suggested), name="Shop", document=b"{}", by="operator"
    )


async def found(operations: PostgresOperations, spec_id: str, name: str) -> Operation:
    (one,) = [each for each in await operations.operations(spec_id) if each.tool_name == name]
    return one


async def approve(
    operations: PostgresOperations, operation: Operation, **correction: Any
) -> Operation:
    return await decide(
        operations,
        operation,
        state=ReviewState.APPROVED,
        correction=Correction(**correction),
        by="operator",
        reason="looks right",
        version=operation.version,
    )


async def callable_tools(operations: PostgresOperations) -> list[str]:
    return [operation.tool_name for operation, _ in await operations.approved()]


async def test_only_what_was_approved_can_be_called(operations: PostgresOperations) -> None:
    spec = (await imported(operations, **SERVER)).spec
    assert await callable_tools(operations) == []

    approved = await approve(operations, await found(operations, spec.id, "listOrders"))

    assert approved.state is ReviewState.APPROVED
    assert (approved.decided_by, approved.decision_reason) == ("operator", "looks right")
    assert [(each.id, url) for each, url in await operations.approved()] == [
        (approved.id, "http://shop.example/api")
    ]


@pytest.mark.parametrize("state", [ReviewState.REJECTED, ReviewState.PENDING])
async def test_what_is_rejected_or_reopened_cannot(
    operations: PostgresOperations, state: ReviewState
) -> None:
    spec = (await imported(operations, **SERVER)).spec
    approved = await approve(operations, await found(operations, spec.id, "listOrders"))

    await decide(
        operations,
        approved,
        state=state,
        correction=Correction(),
        by="lead",
        reason=None,
        version=approved.version,
    )

    assert await callable_tools(operations) == []


async def test_a_correction_changes_what_it_names_and_nothing_else(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, **SERVER)).spec
    before = await found(operations, spec.id, "addNote")

    after = await approve(
        operations, before, access=Access.READ, confirm=False, agent="notes", risk=Risk.LOW
    )

    assert after.suggestion == before.suggestion
    assert after.classification.access is Access.READ
    assert after.classification.confirm is False
    assert (after.classification.agent, after.classification.risk) == ("notes", Risk.LOW)
    assert after.classification.reasons == before.classification.reasons


async def test_of_two_who_decide_the_second_is_told(operations: PostgresOperations) -> None:
    spec = (await imported(operations, **SERVER)).spec
    seen = await found(operations, spec.id, "listOrders")
    await approve(operations, seen)

    with pytest.raises(ReviewConflict, match="last decided by operator"):
        await approve(operations, seen)

    assert len(await operations.history(seen.id)) == 1


async def test_a_deletion_never_runs_without_a_yes(operations: PostgresOperations) -> None:
    spec = (await imported(operations, **SERVER)).spec
    deletion = await found(operations, spec.id, "deleteOrder")

    for correction in ({"confirm": False}, {"access": Access.READ}):
        with pytest.raises(ConfirmationLocked):
            await approve(operations, deletion, **correction)

    assert await callable_tools(operations) == []
    assert (await approve(operations, deletion)).classification.confirm


async def test_a_binding_must_name_an_argument_and_a_claim(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, **SERVER)).spec
    listing = await found(operations, spec.id, "listOrders")

    with pytest.raises(UnknownArgument):
        await approve(operations, listing, bindings={"nobody": "customer_id"})
    with pytest.raises(UnknownClaim):
        await approve(operations, listing, bindings={"customer_id": "shoe_size"})
    bound = await approve(operations, listing, bindings={"customer_id": "customer_id"})

    assert bound.classification.bindings == {"customer_id": "customer_id"}


async def test_nothing_is_approved_that_has_no_address(operations: PostgresOperations) -> None:
    spec = (await imported(operations)).spec
    listing = await found(operations, spec.id, "listOrders")

    with pytest.raises(InvalidInput, match="base URL"):
        await approve(operations, listing)

    await operations.set_base_url(spec.id, "http://127.0.0.1:9")
    await approve(operations, listing)
    assert [url for _, url in await operations.approved()] == ["http://127.0.0.1:9"]


async def test_an_operation_with_a_server_of_its_own_needs_no_other(
    operations: PostgresOperations,
) -> None:
    own = {"/x": {"get": {"operationId": "x", "servers": [{"url": "http://own.example"}]}}}
    spec = (await imported(operations, own)).spec

    await approve(operations, await found(operations, spec.id, "x"))

    assert await callable_tools(operations) == ["x"]


async def test_nobody_decides_about_what_is_gone(operations: PostgresOperations) -> None:
    spec = (await imported(operations, **SERVER)).spec
    seen = await found(operations, spec.id, "addNote")
    await imported(operations, {"/other": {"get": {}}}, **SERVER)

    with pytest.raises(NotFound):
        await approve(operations, seen)


async def test_each_refusal_has_a_code_and_words(operations: PostgresOperations) -> None:
    for kind in (ReviewConflict, ConfirmationLocked, UnknownArgument, UnknownClaim):
        assert issubclass(kind, SupportError)
        assert kind.code != SupportError.code
        assert 400 <= kind.status < 500


async def test_answers_and_pages_are_decided_as_well(operations: PostgresOperations) -> None:
    page = {"type": "object", "properties": {"data": {"type": "array"}, "next_cursor": {}}}
    listing = {
        "operationId": "list",
        "parameters": [parameter("cursor"), parameter("limit")],
        "responses": {"200": {"content": {"application/json": {"schema": page}}}},
    }
    draft = spec_of(openapi({"/list": {"get": listing}}, **SERVER))
    spec = (await operations.save_draft(draft, name="Shop", document=b"{}", by="me")).spec
    waiting = await found(operations, spec.id, "list")
    assert waiting.classification.pagination is not None

    off = await approve(operations, waiting, answer_fields=("data.id",), paged=False)
    on = await approve(operations, off, paged=True)
    shown = await approve(operations, on, answer_fields=())

    assert (off.classification.answer_fields, off.classification.pagination) == (("data.id",), None)
    assert on.classification.pagination == waiting.suggestion.pagination
    assert on.classification.answer_fields == ("data.id",)
    assert shown.classification.answer_fields == ()
