"""Arguments of the signed-in customer inside a body, all the way to the company's API."""

import json
from typing import Any

import pytest
from tests.operations.documents import json_body, openapi, spec_of
from tests.support.model_endpoint import calls, says
from tests.support.turns import Desk

from smart_support.events.records import ToolReturned
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Correction, decide

TEXT = {"type": "string"}
BUYER = {"type": "object", "properties": {"id": TEXT, "note": TEXT}, "required": ["id"]}


async def approve_wish(desk: Desk) -> None:
    """A write whose owner stands twice in its body, approved without asking."""
    body = {"type": "object", "properties": {"customer_id": TEXT, "buyer": BUYER, "text": TEXT},
            "required": ["customer_id", "buyer"]}  # fmt: skip
    paths = {"/wishes": {"post": {"operationId": "addWish", **json_body(body, required=True)}}}
    draft = spec_of(openapi(paths, servers=[{"url": desk.api.base_url}]))
    spec = (await desk.operations.save_draft(draft, name="w", document=b"{}", by="op")).spec
    (wish,) = await desk.operations.operations(spec.id)
    await decide(
        desk.operations,
        wish,
        state=ReviewState.APPROVED,
        correction=Correction(
            confirm=False,
            bindings={"/body/customer_id": "customer_id", "/body/buyer/id": "customer_id"},
        ),
        by="op",
        reason=None,
        version=wish.version,
    )


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"text": "tea"}, {"text": "tea", "customer_id": "cus_ada", "buyer": {"id": "cus_ada"}}),
        (
            {"customer_id": "cus_bob", "buyer": {"id": "cus_bob", "note": "x"}},
            {"customer_id": "cus_ada", "buyer": {"id": "cus_ada", "note": "x"}},
        ),
        (
            {"buyer": {"note": "x"}},
            {"customer_id": "cus_ada", "buyer": {"id": "cus_ada", "note": "x"}},
        ),
    ],
)
async def test_are_sent_as_who_is_signed_in_whatever_the_model_says(
    desk: Desk, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    await approve_wish(desk)
    desk.model.queue(calls(("addWish", {"body": given})), says("Noted."))

    await desk.say("I wish for tea")

    (request,) = desk.api.requests
    assert request.body == sent
    tools = desk.model.requests[0].body["tools"]
    shown = next(each for each in tools if each["function"]["name"] == "addWish")
    assert "customer_id" not in json.dumps(shown)
    (returned,) = desk.of(await desk.facts(), ToolReturned)
    assert returned.outcome == "done"
