"""Who may: each route for each role and for nobody, read from the application itself."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from fastapi.routing import iter_route_contexts
from tests.support.server import ADA, BOB, LEAD, OPERATOR, Server, settings_of

from smart_support.app.web import create_app
from smart_support.identity.people import Role

CUSTOMER, LEADS, OPERATORS = {Role.CUSTOMER}, {Role.LEAD}, {Role.OPERATOR}
EVERYBODY = None
"""No sign-in is needed."""

RULES: dict[str, set[Role] | None] = {
    "GET /api/health": EVERYBODY,
    "GET /api/health/live": EVERYBODY,
    "GET /api/imports/{import_id}": OPERATORS,
    "GET /api/openapi.json": EVERYBODY,
    "GET /metrics": OPERATORS,
    "GET /api/observability/metrics": OPERATORS,
    "GET /api/observability/alerts": OPERATORS,
    "GET /api/observability/debug": OPERATORS,
    "PUT /api/observability/debug": OPERATORS,
    "GET /{path:path}": EVERYBODY,
    "GET /api/me": set(Role),
    "POST /api/me/sign-out": set(Role),
    "POST /api/sign-ins/end": OPERATORS,
    "POST /api/threads": CUSTOMER,
    "GET /api/threads": CUSTOMER | LEADS,
    "GET /api/threads/{thread_id}": CUSTOMER | LEADS,
    "POST /api/threads/{thread_id}/resolve": CUSTOMER | LEADS,
    "GET /api/threads/{thread_id}/replay": LEADS,
    "GET /api/approvals": CUSTOMER | LEADS,
    "POST /api/approvals/{approval_id}/decision": CUSTOMER | LEADS,
    "GET /api/threads/{thread_id}/consents": CUSTOMER | LEADS,
    "DELETE /api/threads/{thread_id}/consents/{consent_id}": CUSTOMER | LEADS,
    "POST /api/specs": OPERATORS,
    "POST /api/specs/from-url": OPERATORS,
    "GET /api/specs": LEADS | OPERATORS,
    "GET /api/specs/{spec_id}": LEADS | OPERATORS,
    "PUT /api/specs/{spec_id}/base-url": OPERATORS,
    "GET /api/specs/{spec_id}/operations": LEADS | OPERATORS,
    "GET /api/operations/{operation_id}": LEADS | OPERATORS,
    "POST /api/operations/{operation_id}/decision": OPERATORS,
    "POST /api/operations/{operation_id}/dry-run": LEADS | OPERATORS,
    "POST /api/specs/{spec_id}/advice": OPERATORS,
    "GET /api/advice": LEADS | OPERATORS,
    "GET /api/operations/{operation_id}/evidence": LEADS | OPERATORS,
    "GET /api/specs/{spec_id}/decisions": LEADS | OPERATORS,
    "POST /api/specs/{spec_id}/decisions": OPERATORS,
    "POST /api/reviews/{batch_id}/undo": OPERATORS,
    "POST /api/threads/{thread_id}/handoff": CUSTOMER | LEADS,
    "POST /api/threads/{thread_id}/take-over": LEADS,
    "POST /api/threads/{thread_id}/messages": LEADS,
    "POST /api/threads/{thread_id}/give-back": LEADS,
    "GET /api/specs/{spec_id}/credentials": LEADS | OPERATORS,
    "PUT /api/specs/{spec_id}/credentials/{scheme}": OPERATORS,
    "DELETE /api/specs/{spec_id}/credentials/{scheme}": OPERATORS,
    "PUT /api/specs/{spec_id}/headers/{header}": OPERATORS,
    "DELETE /api/specs/{spec_id}/headers/{header}": OPERATORS,
    "PUT /api/specs/{spec_id}/environments/{environment}": OPERATORS,
    "GET /api/connections/counts": LEADS | OPERATORS,
    "POST /api/specs/{spec_id}/credentials/{scheme}/test": OPERATORS,
    "GET /api/audit": OPERATORS,
    "GET /api/audit/check": OPERATORS,
    "GET /api/connect/callback": EVERYBODY,
    "GET /api/connect/{spec_id}/{scheme}": CUSTOMER,
    "DELETE /api/connect/{spec_id}/{scheme}": CUSTOMER,
    "GET /api/connections": CUSTOMER,
    "GET /api/agents": LEADS | OPERATORS,
    "POST /api/agents/reload": OPERATORS,
    "GET /api/health/details": LEADS | OPERATORS,
    "GET /api/tool-calls/unknown": LEADS,
    "GET /api/turns/interrupted": LEADS,
    "POST /api/tool-calls/{call_id}/resolve": LEADS,
    "GET /api/stops": LEADS | OPERATORS,
    "POST /api/stops": OPERATORS,
    "POST /api/stops/{stop_id}/lift": OPERATORS,
    "GET /api/dashboard": LEADS,
    "GET /api/dashboard/cohort": LEADS,
    "GET /api/dashboard/conversations": LEADS,
    "GET /api/dashboard/errors": LEADS | OPERATORS,
    "GET /api/dashboard/errors/conversations": LEADS,
    "GET /api/dashboard/series": LEADS,
}
"""The rule of every route. One that is missing here fails `test_every_route_has_a_rule`."""

PEOPLE = {Role.CUSTOMER: ADA, Role.LEAD: LEAD, Role.OPERATOR: OPERATOR}


def routes() -> Iterator[str]:
    """Every route of the application, as `METHOD /path`."""
    app = create_app(settings_of(), lambda: pytest.fail("nothing is opened"))
    for found in iter_route_contexts(app.routes):
        for method in sorted(set(getattr(found, "methods", None) or ()) - {"HEAD"}):
            yield f"{method} {found.path}"


ROUTES = sorted(routes())
GUARDED = [route for route in ROUTES if RULES.get(route) is not EVERYBODY]


def asked(route: str) -> tuple[str, str]:
    """A request for a route, with ids that nothing has."""
    method, path = route.split()
    return method, re.sub(r"\{\w+(:path)?\}", lambda _: str(uuid4()), path)


def test_every_route_has_a_rule() -> None:
    assert set(ROUTES) == set(RULES)


@pytest.mark.parametrize("route", GUARDED)
async def test_nobody_gets_in_without_a_token(server: Server, route: str) -> None:
    method, path = asked(route)
    client = server.http()

    for header in (None, "", "Bearer", "Bearer nonsense", "Basic YWRhOmFkYQ==", "nonsense"):
        headers = {} if header is None else {"Authorization": header}
        answer = await client.request(method, path, headers=headers)

        assert answer.status_code == 401
        assert answer.json()["code"] == "AUTH_NOT_SIGNED_IN"


@pytest.mark.parametrize("route", GUARDED)
@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
async def test_a_role_gets_in_where_the_rule_names_it(
    server: Server, route: str, role: Role
) -> None:
    method, path = asked(route)
    rule = RULES[route]
    assert rule is not None

    answer = await server.http(PEOPLE[role]).request(method, path)

    if role in rule:
        assert answer.status_code in {200, 201, 404, 422}, answer.text
    else:
        assert answer.status_code == 403
        assert answer.json()["code"] == "AUTH_NOT_ALLOWED"


@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
async def test_everybody_may_know_who_they_are(server: Server, role: Role) -> None:
    person = PEOPLE[role]

    me = (await server.http(person).get("/api/me")).json()

    assert me == {"id": person.id, "role": role.value, "name": person.name, "email": person.email}


async def test_a_token_ends(server: Server) -> None:
    token = server.token(ADA, now=datetime(2020, 1, 1, tzinfo=UTC))

    answer = await server.http().get("/api/me", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401
    assert token not in answer.text


def same(answer: Any, wanted: str) -> tuple[int, str, Any]:
    """An answer without what differs between any two."""
    body = answer.json()
    body.pop("correlation_id")
    return answer.status_code, str(body).replace(wanted, "…"), answer.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/threads/{}"), ("POST", "/api/threads/{}/resolve")]
)
async def test_anothers_thread_looks_like_none(server: Server, method: str, path: str) -> None:
    thread, nobodys = await server.thread(ADA), str(uuid4())
    bob = server.http(BOB)

    looks = [
        same(await bob.request(method, path.format(wanted)), wanted) for wanted in (thread, nobodys)
    ]

    assert looks[0] == looks[1]
    assert looks[0][0] == 404


async def test_a_list_holds_only_ones_own_unless_one_leads(server: Server) -> None:
    mine, other = await server.thread(ADA), await server.thread(BOB)
    for person, thread in ((ADA, mine), (BOB, other)):
        async with server.chat(person) as chat:
            await chat.write(thread, "Hello.")
            await chat.only("ack")
    await server.settled()

    seen = {
        person.id: {
            thread["id"]
            for thread in (await server.http(person).get("/api/threads")).json()["threads"]
        }
        for person in (ADA, BOB, LEAD)
    }

    assert mine in seen[ADA.id]
    assert other not in seen[ADA.id]
    assert other in seen[BOB.id]
    assert mine not in seen[BOB.id]
    assert {mine, other} <= seen[LEAD.id]
