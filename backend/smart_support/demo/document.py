"""The shop's OpenAPI document: what FastAPI derives, and what it cannot know."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from smart_support.demo.catalog import SHOP
from smart_support.demo.keys import REPLAYED
from smart_support.demo.problems import MEDIA_TYPE, ProblemDetails
from smart_support.demo.seed import seed

Document = dict[str, Any]

VERSION = "1.0.0"
DESCRIPTION = (
    f"Orders, shipments, returns, refunds and tickets of {SHOP}, a shop for people who sleep "
    "outdoors. What belongs to a customer is reached with that customer's `customer_id` only. "
    "Errors are problem details (RFC 9457)."
)
TAGS = {
    "customers": "Who buys.",
    "orders": "What was bought.",
    "shipments": "What is on its way.",
    "returns": "What comes back.",
    "refunds": "What was paid back.",
    "tickets": "Questions that people look after.",
    "products": "What can be bought.",
}
MEANINGS = {
    401: ("The API key is missing or wrong.", "unauthorized"),
    404: ("There is no such thing, or it is not this customer's.", "order_not_found"),
    409: ("It does not fit how things stand.", "refund_exceeds_remaining"),
    422: ("The request is invalid.", "invalid_request"),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of an operation. Any operation can be asked wrongly, or fail."""
    described: dict[int | str, dict[str, Any]] = {
        status: _problem(*MEANINGS[status], status) for status in (*statuses, 422)
    }
    return {**described, "default": _problem("The shop has trouble.", "internal_error", 500)}


def _problem(description: str, code: str, status: int) -> dict[str, Any]:
    example = {"title": "Problem", "detail": description, "status": status, "code": code}
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
    }


def describe(routes: Sequence[BaseRoute], address: str, *, api_key: bool) -> Document:
    """The whole document of a shop that listens at `address`."""
    document = get_openapi(
        title=f"{SHOP} API",
        version=VERSION,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        servers=[{"url": address, "description": "This shop"}],
    )
    components = document["components"]
    schemas = components["schemas"]
    problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "ProblemDetails": problem}
    _tidy(schemas)
    _add_examples(schemas)
    operations = [one for path in document["paths"].values() for one in path.items()]
    for method, operation in operations:
        _describe_answers(operation, schemas)
        if method == "post":
            _describe_replay(operation)
        if api_key:
            operation["responses"]["401"] = _problem(*MEANINGS[401], 401)
    if api_key:
        components["securitySchemes"] = {
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
        }
        document["security"] = [{"apiKey": []}]
    return document


def _tidy(schemas: Document) -> None:
    """Remove the titles that only repeat the names of fields."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            field.pop("title", None)


def _add_examples(schemas: Document) -> None:
    """Show the answers of a shop that opened at a fixed time."""
    shop = seed(datetime(2026, 1, 31, 12, tzinfo=UTC))
    shown = (
        shop.customers["cus_ada"],
        shop.orders["1002"],
        shop.shipments["shp_1001"],
        shop.products["BOOT-MID"],
        *(next(iter(things.values())) for things in (shop.returns, shop.refunds, shop.tickets)),
    )
    for record in shown:
        schemas[type(record).__name__]["examples"] = [record.model_dump(mode="json")]


def _describe_answers(operation: Document, schemas: Document) -> None:
    for parameter in operation.get("parameters", []):
        for repeated in ("title", "description"):
            parameter["schema"].pop(repeated, None)
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            content = response.get("content", {}).get("application/json")
            name = content["schema"]["$ref"].rpartition("/")[2] if content else None
            response["description"] = schemas[name]["description"] if name else "Done."


def _describe_replay(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            response["headers"] = {
                REPLAYED: {
                    "description": "Sent when the answer is that of an earlier request.",
                    "schema": {"type": "string", "enum": ["true"]},
                }
            }
