from collections.abc import AsyncIterator

import pytest
from tests.support.turns import Desk, open_desk

from smart_support.database import Sessions


@pytest.fixture
async def desk(sessions: Sessions, database_url: str) -> AsyncIterator[Desk]:
    async with open_desk(sessions, database_url) as opened:
        yield opened
        assert opened.model.unexpected == []
