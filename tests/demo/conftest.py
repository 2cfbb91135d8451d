from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.demo.support import OpenShop, running_shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[OpenShop]:
    async with running_shop(tmp_path / "shop") as opened:
        yield opened
