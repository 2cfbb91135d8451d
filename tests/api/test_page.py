"""The page is served below every address that the API has not."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from smart_support.api.page import install_page
from smart_support.api.problems import install_problems

INDEX = "<!doctype html><title>Smart Support</title>"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "assets" / "main-abc.js").write_text("go()")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def browser(built: Path) -> httpx.AsyncClient:
    app = FastAPI(openapi_url=None)
    install_problems(app)
    install_page(app, built)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def page(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(built) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/replay/7", "/sign-in", "/api", "/apis/x", "/assets"])
async def test_addresses_of_the_page_give_its_index(page: httpx.AsyncClient, path: str) -> None:
    answer = await page.get(path, follow_redirects=False)

    if path == "/assets":
        assert answer.status_code in {200, 307}
        return
    assert (answer.status_code, answer.text) == (200, INDEX)
    assert answer.headers["cache-control"] == "no-cache"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_a_file_of_the_page_is_given(page: httpx.AsyncClient) -> None:
    answer = await page.get("/favicon.svg")

    assert (answer.text, answer.headers["content-type"]) == ("<svg/>", "image/svg+xml")


async def test_built_files_may_be_kept_for_ever_and_missing_ones_may_not(
    page: httpx.AsyncClient,
) -> None:
    found = await page.get("/assets/main-abc.js")
    missing = await page.get("/assets/main-old.js")

    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert missing.status_code == 404
    assert "cache-control" not in missing.headers


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/assets/..%2f..%2fsecret.txt",
        "/%00",
        "/" + "x" * 5_000,
        "/a/" * 1_000,
    ],
)
async def test_nothing_else_is_given_away(page: httpx.AsyncClient, path: str) -> None:
    answer = await page.get(path)

    assert answer.status_code in {200, 404}
    assert "secret" not in answer.text
    assert "root:" not in answer.text


async def test_a_link_that_leads_outside_is_not_followed(built: Path) -> None:
    (built / "out.txt").symlink_to(built.parent / "secret.txt")

    async with browser(built) as page:
        assert (await page.get("/out.txt")).text == INDEX


async def test_an_unknown_address_of_the_api_is_no_page(page: httpx.AsyncClient) -> None:
    answer = await page.get("/api/nope")

    assert (answer.status_code, answer.json()["code"]) == (404, "VAL_NOT_FOUND")


async def test_without_the_built_page_it_says_how_to_build_it(tmp_path: Path) -> None:
    async with browser(tmp_path) as page:
        answer = await page.get("/")

    assert answer.status_code == 503
    assert "make page" in answer.text
