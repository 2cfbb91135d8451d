"""Our own document, held against the running server: no 5xx, and answers of the form it says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)
from tests.api.test_access import PEOPLE
from tests.support.server import Server, settings_of

from smart_support.app.web import create_app
from smart_support.identity.people import Role

DOCUMENT = create_app(settings_of(), lambda: pytest.fail("nothing is opened")).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {
    f"{found.ok().method.upper()} {found.ok().path}": found.ok()
    for found in SCHEMA.get_all_operations()
}
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("name", OPERATIONS)
@settings(
    max_examples=6,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
async def test_every_answer_is_as_documented(
    server: Server, name: str, data: st.DataObject
) -> None:
    case = data.draw(OPERATIONS[name].as_strategy())
    role = data.draw(st.sampled_from(Role))
    kwargs = case.as_transport_kwargs(base_url=server.address)
    kwargs.pop("cookies", None)
    headers = dict(kwargs.pop("headers", None) or {})
    headers.pop("Authorization", None)
    raw = kwargs.pop("data", None)

    answer = await server.http(PEOPLE[role]).request(
        kwargs.pop("method"),
        kwargs.pop("url"),
        params=kwargs.pop("params", None),
        headers=headers,
        **({"content": raw} if isinstance(raw, bytes | str) else {}),
        **({"json": kwargs["json"]} if kwargs.get("json") is not None else {}),
    )

    response = schemathesis.Response.from_httpx(answer, verify=False)
    case.validate_response(response, checks=CHECKS)
