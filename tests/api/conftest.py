from collections.abc import AsyncIterator

import pytest
from tests.support.database import Databases
from tests.support.server import Server, running


@pytest.fixture(scope="module")
async def server(databases: Databases, template: str) -> AsyncIterator[Server]:
    """The whole product on a database of its own, one for the tests of a module."""
    with databases.one(template) as url:
        async with running(url) as opened:
            yield opened
