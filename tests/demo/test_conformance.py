"""The shop answers every request, sensible or not, as its own document says."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.demo.test_process import started

from smart_support.demo.document import describe
from smart_support.demo.operations import router

DOCUMENT = describe(router.routes, "http://127.0.0.1", api_key=False)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("shop")) as (_, address):
        yield address


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods],
)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_answers_as_documented(address: str, path: str, method: str, data: st.DataObject) -> None:
    case = data.draw(SCHEMA[path][method].as_strategy())

    # No schema can say "whole cents" exactly or name the valid cursors, so a 422 may follow.
    case.call_and_validate(base_url=address, excluded_checks=[positive_data_acceptance])
