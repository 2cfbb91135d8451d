"""The shop's OpenAPI document: what FastAPI derives, and what it cannot know."""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from smart_support.demo.catalog import SHOP
from smart_support.demo.keys import REPLAYED
from smart_support.demo.problems import MEDIA_TYPE, ProblemDetails

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
    schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**schema.pop("$defs"), "ProblemDetails": schema}
    operations = [one for path in document["paths"].values() for one in path.items()]
    for method, operation in operations:
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


def _describe_replay(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            response["headers"] = {
                REPLAYED: {
                    "description": "Sent when the answer is that of an earlier request.",
                    "schema": {"type": "string", "enum": ["true"]},
                }
            }
