import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from tests.demo.support import OpenShop, running_shop

from smart_support.demo.document import describe
from smart_support.demo.operations import router

ADDRESS = "http://127.0.0.1:4711"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(router.routes, ADDRESS, api_key=False)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_is_openapi_of_this_very_shop(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": ADDRESS, "description": "This shop"}]
    assert "security" not in document
    assert "securitySchemes" not in document["components"]


async def test_is_served_with_the_real_address(tmp_path: Path, shop: OpenShop) -> None:
    async with running_shop(tmp_path / "other", api_key="k") as other:
        served = (await other.http.get("/openapi.json")).json()

    assert served["servers"][0]["url"] == str(other.http.base_url).rstrip("/")
    assert served["components"]["securitySchemes"]["apiKey"]["name"] == "X-Api-Key"
    assert served["security"] == [{"apiKey": []}]
    assert all("401" in operation["responses"] for _, _, operation in operations(served))


def test_every_operation_is_fully_described(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    names = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(names) == len(set(names)) == 18
    for method, path, operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= tags
        assert {"422", "default"} <= set(operation["responses"])
        assert all(response["description"] for response in operation["responses"].values())
        parameters = {one["name"]: one for one in operation.get("parameters", [])}
        assert all(one["description"] for one in parameters.values())
        in_path = {name for name, one in parameters.items() if one["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        assert all(parameters[name]["schema"]["examples"] for name in in_path)
        assert ("Idempotency-Key" in parameters) == (method == "post")
        if path != "/products":
            customer = parameters["customer_id"]
            assert (customer["in"], customer["required"]) == ("query", True)
            assert "404" in operation["responses"]
        if method in ("post", "put"):
            assert "requestBody" in operation


def test_errors_are_problem_documents(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                assert list(response["content"]) == ["application/problem+json"]


def test_does_not_mention_what_is_behind_the_counter(document: dict[str, Any]) -> None:
    assert not [path for path in document["paths"] if path.startswith("/_")]


def test_every_schema_is_one_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        )
    for reference in re.findall(r"'\$ref': '([^']+)'", str(document)):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    shown = 0
    for schema in schemas.values():
        for example in schema.get("examples", []):
            jsonschema_rs.validate(
                schema | {"components": {"schemas": schemas}}, example, validate_formats=True
            )
            shown += 1
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            for example in parameter["schema"].get("examples", []):
                jsonschema_rs.validate(parameter["schema"], example)
                shown += 1

    assert shown > 40
    assert {"NewRefund", "NewReturn", "NewTicket", "Order", "Shipment"} <= {
        name for name, schema in schemas.items() if "examples" in schema
    }


def test_a_refund_says_what_it_needs(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["NewRefund"]

    assert schema["required"] == ["amount"]
    assert schema["properties"]["amount"]["type"] == "number"
    assert schema["properties"]["currency"]["type"] == "string"
    assert schema["additionalProperties"] is False
