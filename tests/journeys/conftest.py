"""One browser for all journeys; each module starts a product of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright
from tests.journeys.browser import BUILT, chromium


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("chromium is not installed")
    if not BUILT.exists():
        pytest.skip("the page is not built; `make page` builds it")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=executable)
        yield opened
        await opened.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go, to be looked at by a person."""
    return tmp_path_factory.mktemp("pictures")
