"""The catalogue: what a second import keeps, what it takes back, and how it is read."""

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.operations.documents import openapi, parameter, spec_of
from tests.operations.test_review import SERVER, approve, callable_tools, found, imported
from tests.support.database import Databases

from smart_support.database import Sessions
from smart_support.database.engine import open_engine
from smart_support.database.engine import sessions as sessions_on
from smart_support.errors import DatabaseUnavailable, NotFound
from smart_support.operations.decisions import OperationRemoved, ReviewConflict
from smart_support.operations.effects import Lookup, StatusCheck
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import (
    Access,
    Classification,
    Ground,
    ReviewState,
    Risk,
)
from smart_support.operations.rows import classification_json, classification_of

NUL = {"name": "x", "in": "query", "schema": {"enum": ["\x00"]}}
LIST = {"operationId": "list", "parameters": [parameter("page")]}
LOOK = {"operationId": "look"}
PATHS: dict[str, Any] = {"/list": {"get": LIST}, "/look": {"get": LOOK}}


@pytest.fixture
def operations(sessions: Sessions) -> PostgresOperations:
    return PostgresOperations(sessions)


def numbers(result: Any) -> tuple[int, int, int, int]:
    return result.added, result.changed, result.removed, result.unchanged


async def test_a_first_import_waits_for_a_review(operations: PostgresOperations) -> None:
    result = await imported(operations, PATHS, **SERVER)

    assert numbers(result) == (2, 0, 0, 0)
    assert result.spec.operation_count == 2
    for operation in await operations.operations(result.spec.id):
        assert operation.state is ReviewState.PENDING
        assert operation.classification == operation.suggestion
        assert operation.version == 1


async def test_the_same_again_changes_nothing(operations: PostgresOperations) -> None:
    first = await imported(operations, PATHS, **SERVER)
    approved = await approve(operations, await found(operations, first.spec.id, "list"))

    again = await imported(operations, PATHS, **SERVER)

    assert again.spec.id == first.spec.id
    assert numbers(again) == (0, 0, 0, 2)
    assert await found(operations, first.spec.id, "list") == approved
    assert await callable_tools(operations) == ["list"]


async def test_what_changed_waits_again_and_cannot_be_called(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    for name in ("list", "look"):
        await approve(operations, await found(operations, spec.id, name), agent="shop")
    changed = {**PATHS, "/list": {"get": {**LIST, "parameters": [parameter("offset")]}}}

    result = await imported(operations, changed, **SERVER)

    assert numbers(result) == (0, 1, 0, 1)
    now = await found(operations, spec.id, "list")
    assert (now.state, now.version) == (ReviewState.CHANGED, 3)
    assert now.classification.agent == "shop"
    assert await callable_tools(operations) == ["look"]
    await approve(operations, now)
    assert await callable_tools(operations) == ["list", "look"]


async def test_a_decision_on_what_has_changed_since_is_refused(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    seen = await found(operations, spec.id, "list")
    changed = {"/list": {"get": {**LIST, "parameters": [parameter("offset")]}}}
    await imported(operations, changed, **SERVER)

    with pytest.raises(ReviewConflict):
        await approve(operations, seen)


async def test_what_was_rejected_waits_again_when_it_changed(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    seen = await found(operations, spec.id, "list")
    await operations.decide(
        seen.id,
        version=1,
        state=ReviewState.REJECTED,
        classification=seen.classification,
        by="operator",
        reason=None,
    )

    await imported(operations, {"/list": {"get": {"operationId": "list"}}}, **SERVER)

    assert (await found(operations, spec.id, "list")).state is ReviewState.PENDING


async def test_what_nobody_decided_follows_the_new_suggestion(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    assert (await found(operations, spec.id, "look")).classification.access is Access.READ
    told = {**PATHS, "/look": {"get": {**LOOK, "x-openai-isConsequential": True}}}

    await imported(operations, told, **SERVER)

    now = await found(operations, spec.id, "look")
    assert now.suggestion.access is Access.WRITE
    assert now.classification == now.suggestion


async def test_what_was_decided_about_keeps_its_name_when_another_wants_it(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "list"))

    result = await imported(operations, {**PATHS, "/list2": {"get": LIST}}, **SERVER)

    assert numbers(result) == (1, 0, 0, 2)
    assert (await found(operations, spec.id, "list")).key == "GET /list"
    assert await callable_tools(operations) == ["list"]


async def test_what_is_gone_is_kept_for_its_history_and_cannot_be_decided(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    gone = await approve(operations, await found(operations, spec.id, "look"))
    (batch,) = await operations.batches(spec.id)

    result = await imported(operations, {"/list": {"get": LIST}}, **SERVER)

    assert numbers(result) == (0, 0, 1, 1)
    assert (result.spec.operation_count, result.spec.waiting_count) == (1, 1)
    assert await callable_tools(operations) == []
    now = await operations.operation(gone.id)
    assert (now.state, len(await operations.history(gone.id))) == (ReviewState.REMOVED, 1)
    with pytest.raises(OperationRemoved, match="does not have GET /look any more"):
        await approve(operations, now)
    with pytest.raises(OperationRemoved):
        await operations.undo(batch.batch_id, by="op")
    assert await callable_tools(operations) == []
    again = await imported(operations, {"/list": {"get": LIST}}, **SERVER)
    assert numbers(again) == (0, 0, 0, 1)


async def test_what_nobody_decided_about_goes_without_a_trace(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    gone = await found(operations, spec.id, "look")

    result = await imported(operations, {"/list": {"get": LIST}}, **SERVER)

    assert numbers(result) == (0, 0, 1, 1)
    with pytest.raises(NotFound):
        await operations.operation(gone.id)


async def test_what_comes_back_waits_for_a_person(operations: PostgresOperations) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "look"))
    await imported(operations, {"/list": {"get": LIST}}, **SERVER)

    back = await imported(operations, PATHS, **SERVER)

    assert numbers(back) == (1, 0, 0, 1)
    now = await found(operations, spec.id, "look")
    assert (now.state, now.changes) == (ReviewState.CHANGED, ())
    assert await callable_tools(operations) == []


async def test_the_operators_address_outlives_another_import(
    operations: PostgresOperations,
) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    assert spec.base_url == "http://shop.example/api"

    set_ = await operations.set_base_url(spec.id, "http://127.0.0.1:9")
    again = await imported(operations, PATHS, servers=[{"url": "http://moved.example"}])

    assert set_.base_url == again.spec.base_url == "http://127.0.0.1:9"


async def test_two_names_are_two_documents(operations: PostgresOperations) -> None:
    draft = spec_of(openapi(PATHS, **SERVER))

    for name in ("One", "Two"):
        await operations.save_draft(draft, name=name, document=b"{}", by="operator")

    assert [spec.name for spec in await operations.specs()] == ["Two", "One"]


async def test_what_cannot_be_used_is_kept_with_its_reason(
    operations: PostgresOperations,
) -> None:
    draft = spec_of(openapi({**PATHS, "/bad": {"get": {"parameters": [NUL]}}}))
    assert draft.skipped

    result = await operations.save_draft(draft, name="Shop", document=b"{}", by="operator")

    assert result.spec.skipped == draft.skipped
    assert (await operations.spec(result.spec.id)).skipped == draft.skipped


async def test_history_tells_every_decision_in_order(operations: PostgresOperations) -> None:
    spec = (await imported(operations, PATHS, **SERVER)).spec
    first = await approve(operations, await found(operations, spec.id, "list"), agent="one")
    await approve(operations, first, agent="two")

    history = await operations.history(first.id)

    assert [review.classification.agent for review in history] == ["one", "two"]
    assert {(review.by, review.state) for review in history} == {("operator", ReviewState.APPROVED)}
    assert history[0].at <= history[1].at


async def test_pages_follow_the_keys(operations: PostgresOperations) -> None:
    paths = {f"/p{number:02}": {"get": {"operationId": f"o{number}"}} for number in range(25)}
    spec = (await imported(operations, paths, **SERVER)).spec

    keys: list[str] = []
    while page := await operations.operations(spec.id, after=keys[-1] if keys else "", limit=10):
        keys += [operation.key for operation in page]

    assert keys == sorted(f"GET /p{number:02}" for number in range(25))


async def test_operations_are_found_by_state_access_and_words(
    operations: PostgresOperations,
) -> None:
    paths = {**PATHS, "/send_off": {"post": {"operationId": "send", "summary": "100% Off"}}}
    spec = (await imported(operations, paths, **SERVER)).spec
    await approve(operations, await found(operations, spec.id, "list"))

    async def names(**wanted: Any) -> list[str]:
        return [each.tool_name for each in await operations.operations(spec.id, **wanted)]

    assert await names(state=ReviewState.APPROVED) == ["list"]
    assert await names(access=Access.WRITE) == ["send"]
    assert await names(query="LOOK") == ["look"]
    assert await names(query="100% o") == ["send"]
    assert await names(query="d_o") == ["send"]
    assert await names(query="l_s") == []
    assert await names(query="%") == ["send"]
    assert await names(query="\\") == []
    assert await names(access=Access.READ, state=ReviewState.PENDING) == ["look"]


async def test_what_is_not_there_is_not_found(operations: PostgresOperations) -> None:
    unknown = str(uuid4())
    with pytest.raises(NotFound):
        await operations.spec(unknown)
    with pytest.raises(NotFound):
        await operations.operation(unknown)
    with pytest.raises(NotFound):
        await operations.set_base_url(unknown, "http://127.0.0.1")
    assert await operations.operations(unknown) == ()
    assert await operations.history(unknown) == ()


async def test_a_lost_database_is_said_in_our_words(databases: Databases, template: str) -> None:
    with databases.one(template) as url:
        engine = open_engine(url)
        try:
            operations = PostgresOperations(sessions_on(engine))
            with databases.unreachable(url), pytest.raises(DatabaseUnavailable):
                await operations.specs()
            assert await operations.specs() == ()
        finally:
            await engine.dispose()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=100)
@given(
    classification=st.builds(
        Classification,
        access=st.sampled_from(Access),
        confirm=st.booleans(),
        agent=TEXT,
        bindings=st.dictionaries(TEXT, TEXT, max_size=3),
        risk=st.sampled_from(Risk),
        idempotency_header=st.none() | TEXT,
        confirm_locked=st.booleans(),
        reasons=st.lists(TEXT, max_size=3).map(tuple),
        grounds=st.lists(
            st.builds(
                Ground,
                about=TEXT,
                reason=TEXT,
                confidence=st.floats(0, 1),
                place=TEXT,
                quote=TEXT,
                source=st.sampled_from(["rules", "model"]),
            ),
            max_size=2,
        ).map(tuple),
        unbindable=st.booleans(),
        idempotency_lifetime_s=st.none() | st.integers(0, 10**6),
        repeatable=st.none() | st.booleans(),
        lookup=st.none()
        | st.builds(
            Lookup,
            operation=TEXT,
            arguments=st.dictionaries(TEXT, TEXT, max_size=2),
            items=TEXT,
            equal=st.dictionaries(TEXT, TEXT, max_size=2),
            since=st.none() | TEXT,
        ),
        status=st.none()
        | st.builds(
            StatusCheck,
            operation=TEXT,
            arguments=st.dictionaries(TEXT, TEXT, max_size=2),
            state=TEXT,
            done=st.lists(TEXT, max_size=2).map(tuple),
            failed=st.lists(TEXT, max_size=2).map(tuple),
        ),
        breaker_group=st.none() | TEXT,
        cacheable_s=st.none() | st.integers(0, 10**6),
        answer_fields=st.lists(TEXT, max_size=3).map(tuple),
        pagination=st.none() | st.dictionaries(TEXT, TEXT | st.integers(), max_size=3),
    )
)
def test_a_classification_survives_being_stored(classification: Classification) -> None:
    stored = json.loads(json.dumps(classification_json(classification)))

    assert classification_of(stored) == classification
    assert replace(classification) == classification


def test_a_row_of_another_version_is_read_with_defaults() -> None:
    now = classification_json(Classification(access=Access.READ, confirm=False, cacheable_s=60))
    first = {
        name: now[name]
        for name in (
            "access", "confirm", "agent", "bindings", "risk", "idempotency_header",
            "confirm_locked", "reasons",
        )
    }  # fmt: skip

    assert classification_of(first) == Classification(access=Access.READ, confirm=False)
    assert classification_of({**now, "later": 1}) == classification_of(now)
