"""A second import is a diff: what changed, field by field, and what of it breaks."""

from typing import Any

import pytest
from tests.operations.documents import json_body, operation_of, parameter
from tests.operations.test_review import SERVER, approve, callable_tools, found, imported

from smart_support.database import Sessions
from smart_support.operations.changes import MOST, changes_between, is_stricter
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Change, DraftOperation, ReviewState

TEXT = {"type": "string"}
NUMBER = {"type": "number"}


def draft(operation: dict[str, Any], method: str = "get", **more: Any) -> DraftOperation:
    return operation_of(operation, method=method, **more)


def body(schema: Any, **more: Any) -> DraftOperation:
    return draft(json_body(schema, **more), "post")


def said(before: DraftOperation, after: DraftOperation) -> list[tuple[str, str, bool]]:
    return [(one.field, one.kind, one.breaking) for one in changes_between(before, after)]


class TestOneOperation:
    def test_that_is_as_it_was_has_no_changes(self) -> None:
        one = body({"properties": {"amount": NUMBER}})

        assert said(one, one) == []
        assert not is_stricter(one, one)

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            ([], [parameter("q")], ("argument q", "added", False)),
            ([], [parameter("q", required=True)], ("argument q", "added", True)),
            ([parameter("q")], [], ("argument q", "removed", True)),
            (
                [parameter("q")],
                [parameter("q", schema={"type": "integer"})],
                ("argument q", "changed", True),
            ),
            (
                [parameter("q")],
                [parameter("q", required=True)],
                ("argument q", "changed", True),
            ),
            ([parameter("q")], [parameter("q", "header")], ("argument q", "changed", True)),
        ],
    )
    def test_parameters(self, before: Any, after: Any, expected: Any) -> None:
        assert said(draft({"parameters": before}), draft({"parameters": after})) == [expected]

    def test_fields_of_the_body_also_deep_inside(self) -> None:
        def order(**line: Any) -> DraftOperation:
            return body({"properties": {"line": {"properties": line}, "note": TEXT}})

        (change,) = changes_between(order(size=TEXT), order(size=NUMBER))

        assert change == Change(
            field="argument /body/line/size",
            kind="changed",
            before="optional, type string",
            after="optional, type number",
            breaking=True,
        )

    def test_behind_references(self) -> None:
        def order(schema: Any) -> DraftOperation:
            return operation_of(
                json_body({"$ref": "#/components/schemas/Order"}),
                method="post",
                components={"schemas": {"Order": schema}},
            )

        assert said(order({"properties": {"a": TEXT}}), order({"properties": {"b": TEXT}})) == [
            ("argument /body/a", "removed", True),
            ("argument /body/b", "added", False),
        ]

    def test_details_that_no_field_shows_are_said_to_be_there(self) -> None:
        def deep(kind: Any) -> DraftOperation:
            return body({"properties": {"lines": {"items": {"items": {"items": kind}}}}})

        changes = said(deep(TEXT), deep({"not": TEXT}))

        assert len(changes) == 1
        assert changes[0][2]

    def test_words_break_nothing(self) -> None:
        before = draft({"operationId": "look", "summary": "Look", "description": "At it."})
        after = draft({"operationId": "look", "summary": "See", "description": "At it."})

        assert said(before, after) == [
            ("summary", "changed", False),
            ("description", "changed", False),
        ]

    def test_a_read_that_became_a_write_is_stricter_and_breaks(self) -> None:
        before = draft({"operationId": "look"})
        after = draft({"operationId": "look", "x-openai-isConsequential": True})

        assert ("access", "changed", True) in said(before, after)
        assert is_stricter(before, after)
        assert not is_stricter(after, before)

    def test_what_must_always_be_asked_now_is_stricter(self) -> None:
        before = draft({"summary": "Do it"}, "post")
        after = draft({"summary": "Refund it"}, "post")

        assert is_stricter(before, after)

    def test_are_no_more_than_a_person_can_read(self) -> None:
        many = draft({"parameters": [parameter(f"q{n}") for n in range(150)]})

        assert len(changes_between(draft({}), many)) == MOST


LOOK = {"operationId": "look", "summary": "Look"}


@pytest.fixture
def operations(sessions: Sessions) -> PostgresOperations:
    return PostgresOperations(sessions)


async def test_a_changed_operation_says_what_changed_and_how_many_break(
    operations: PostgresOperations,
) -> None:
    paths = {"/look": {"get": LOOK}, "/see": {"get": {"operationId": "see"}}}
    spec = (await imported(operations, paths, **SERVER)).spec
    for name in ("look", "see"):
        await approve(operations, await found(operations, spec.id, name))
    paths = {
        "/look": {"get": {**LOOK, "parameters": [parameter("who", required=True)]}},
        "/see": {"get": {"operationId": "see", "x-openai-isConsequential": True}},
    }

    result = await imported(operations, paths, **SERVER)

    assert (result.changed, result.breaking, result.turned_write) == (2, 2, 1)
    assert await callable_tools(operations) == []
    look = await found(operations, spec.id, "look")
    assert [(one.field, one.breaking) for one in look.changes] == [("argument who", True)]
    see = await found(operations, spec.id, "see")
    assert see.state is ReviewState.CHANGED  # though its schema is what it was
    assert see.changes[0] == Change(
        field="access", kind="changed", before="read", after="write", breaking=True
    )


async def test_changes_count_against_what_was_decided_on_not_against_the_import_before(
    operations: PostgresOperations,
) -> None:
    def paths(*names: str) -> dict[str, Any]:
        return {"/look": {"get": {**LOOK, "parameters": [parameter(name) for name in names]}}}

    spec = (await imported(operations, paths("a"), **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "look"))

    await imported(operations, paths("a", "b"), **SERVER)
    await imported(operations, paths("a", "b", "c"), **SERVER)

    now = await found(operations, spec.id, "look")
    assert [one.field for one in now.changes] == ["argument b", "argument c"]
    await approve(operations, now)
    assert (await found(operations, spec.id, "look")).changes == ()
    await imported(operations, paths("a", "b", "c", "d"), **SERVER)
    now = await found(operations, spec.id, "look")
    assert [one.field for one in now.changes] == ["argument d"]


async def test_new_words_keep_the_approval_and_are_shown(operations: PostgresOperations) -> None:
    spec = (await imported(operations, {"/look": {"get": LOOK}}, **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "look"))

    result = await imported(operations, {"/look": {"get": {**LOOK, "summary": "See"}}}, **SERVER)

    assert (result.unchanged, result.changed) == (1, 0)
    now = await found(operations, spec.id, "look")
    assert now.state is ReviewState.APPROVED
    assert ("summary", "Look", "See") in [(c.field, c.before, c.after) for c in now.changes]


async def test_new_words_are_shown_against_those_that_were_approved(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, {"/look": {"get": LOOK}}, **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "look"))

    for words in ("See", "Watch"):
        await imported(operations, {"/look": {"get": {**LOOK, "summary": words}}}, **SERVER)

    now = await found(operations, spec.id, "look")
    assert ("summary", "Look", "Watch") in [(c.field, c.before, c.after) for c in now.changes]
    await imported(operations, {"/look": {"get": LOOK}}, **SERVER)
    assert (await found(operations, spec.id, "look")).changes == ()


async def test_words_that_ask_for_more_care_take_the_approval_back(
    operations: PostgresOperations,
) -> None:
    paths = {"/do": {"post": {"operationId": "do", "summary": "Do it"}}}
    spec = (await imported(operations, paths, **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "do"))

    paths = {"/do": {"post": {"operationId": "do", "summary": "Refund it"}}}
    await imported(operations, paths, **SERVER)

    assert await callable_tools(operations) == []
    assert (await found(operations, spec.id, "do")).state is ReviewState.CHANGED


async def test_undoing_an_approval_shows_the_changes_again(operations: PostgresOperations) -> None:
    spec = (await imported(operations, {"/look": {"get": LOOK}}, **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "look"))
    paths = {"/look": {"get": {**LOOK, "parameters": [parameter("q")]}}}
    await imported(operations, paths, **SERVER)
    changed = await found(operations, spec.id, "look")
    await approve(operations, changed)

    await operations.undo((await operations.batches(spec.id))[0].batch_id, by="op")

    now = await found(operations, spec.id, "look")
    assert (now.state, now.changes) == (ReviewState.CHANGED, changed.changes)
    assert await callable_tools(operations) == []
