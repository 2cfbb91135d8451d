"""Approved operations as the model is offered them."""

from dataclasses import replace
from typing import Any

from tests.operations.documents import operation_of, parameter

from smart_support.operations.offers import Offer
from smart_support.operations.records import (
    Access,
    Classification,
    Operation,
    OperationId,
    SpecId,
)
from smart_support.tools.build import build_tools, tool_names

CLAIMS = {"customer_id": "cus_ada"}
BASE = "http://127.0.0.1:1"


def operation(number: int = 1, name: str = "getThing", **more: Any) -> Operation:
    draft = operation_of({"operationId": name, "parameters": [parameter("who")], **more})
    values = {field: getattr(draft, field) for field in draft.__slots__}
    return Operation(
        **values,
        id=OperationId(f"00000000-0000-7000-8000-{number:012}"),
        spec_id=SpecId("spec"),
        classification=Classification(access=Access.READ, confirm=False),
    )


def bound(claim: str) -> Operation:
    found = operation()
    return replace(found, classification=replace(found.classification, bindings={"who": claim}))


def test_bound_arguments_are_not_shown() -> None:
    (tool,) = build_tools([(bound("customer_id"), BASE)], CLAIMS).values()

    assert "who" not in tool.function()["function"]["parameters"]["properties"]


def test_what_needs_an_unknown_claim_is_left_out() -> None:
    assert build_tools([(bound("email"), BASE)], CLAIMS) == {}


def test_what_has_no_address_is_left_out() -> None:
    found = operation()
    elsewhere = replace(found, request_plan={**found.request_plan, "server": "http://127.0.0.1:2"})

    assert build_tools([(found, None)], CLAIMS) == {}
    (tool,) = build_tools([(elsewhere, None)], CLAIMS).values()
    assert tool.base_url == "http://127.0.0.1:2"


def test_two_of_one_name_are_told_apart() -> None:
    tools = build_tools([(operation(1), BASE), (operation(2), BASE)], CLAIMS)

    assert list(tools) == ["getThing", "getThing_00000002"]
    assert all(tool.function()["function"]["name"] == name for name, tool in tools.items())


def test_long_names_stay_within_what_endpoints_take() -> None:
    name = "x" * 64
    tools = build_tools([(operation(1, name), BASE), (operation(2, name), BASE)], CLAIMS)

    assert [len(each) for each in tools] == [64, 64]


def test_a_name_is_the_same_whichever_others_are_built() -> None:
    both = [(operation(1, "find"), BASE), (operation(2, "find"), BASE)]
    names = tool_names([Offer.of(each, base) for each, base in both])

    assert list(build_tools(both[1:], CLAIMS, names)) == list(build_tools(both, CLAIMS))[1:]


def test_whose_owner_cannot_be_bound_is_not_for_somebody_who_is_not_known() -> None:
    one = operation(1)
    unbindable = replace(one, classification=replace(one.classification, unbindable=True))

    assert build_tools([(unbindable, BASE)], {"name": "Ada"}) == {}
    assert len(build_tools([(unbindable, BASE)], {"customer_id": "cus_ada"})) == 1


def test_the_description_is_the_documents_own_words_once() -> None:
    def described(**words: str) -> str:
        (tool,) = build_tools([(operation(**words), BASE)], CLAIMS).values()
        return str(tool.function()["function"]["description"])

    assert described(summary="Find it") == "Find it"
    assert described(summary="Find it", description="By name.").endswith("By name.")
    assert described(summary="Find it", description="By name.").split("\n")[0] == "Find it"
    assert described() == "GET /things"


def test_the_title_is_the_summary_or_else_the_key() -> None:
    for words, title in (({"summary": "Find it"}, "Find it"), ({}, "GET /things")):
        (tool,) = build_tools([(operation(**words), BASE)], CLAIMS).values()
        assert tool.title == title
