"""The page, the API and the chat socket through nginx, as the compose deployment has them."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.support.chat_client import connected
from tests.support.database import Databases
from tests.support.server import ADA, LEAD, Server, running
from websockets.exceptions import InvalidStatus

CONFIGURATION = Path(__file__).parents[2] / "frontend" / "nginx.conf"
INDEX = "<!doctype html><title>The page</title>"
SCRIPT = "console.log('the page');" * 100

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
async def server(databases: Databases, template: str) -> AsyncIterator[Server]:
    with databases.one(template) as url:
        async with running(url) as opened:
            yield opened


@pytest.fixture(scope="module")
async def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """nginx with our configuration, only its addresses and folders being those of this test."""
    folder = tmp_path_factory.mktemp("nginx")
    page = folder / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text(INDEX)
    (page / "assets" / "index-abc123.js").write_text(SCRIPT)
    port = free_port()
    text = CONFIGURATION.read_text()
    for before, after in {
        "/tmp/": f"{folder}/",  # first: what is put in next may lie below it
        "server backend:8000;": f"server {urlsplit(server.address).netloc};",
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "root /usr/share/nginx/html;": f"root {page};",
        "worker_processes auto;": "worker_processes 1; user root; daemon off;",
    }.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "nginx.conf").write_text(text)
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)
    )
    address = f"http://127.0.0.1:{port}"
    try:
        await answering(address, process)
        yield address
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


async def answering(address: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        while process.returncode is None:
            try:
                await client.get(address)
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
            else:
                return
    raise AssertionError("nginx ended")


async def test_the_page_is_served_for_every_address_that_it_routes_itself(front: str) -> None:
    async with httpx.AsyncClient(base_url=front) as client:
        answers = [await client.get(path) for path in ("/", "/chat/1", "/replay?status=opened")]

    assert [answer.text for answer in answers] == [INDEX] * 3
    assert {answer.headers["cache-control"] for answer in answers} == {"no-cache"}
    assert all("default-src 'self'" in a.headers["content-security-policy"] for a in answers)
    assert "nginx/" not in answers[0].headers["server"]


async def test_built_files_are_kept_for_ever_and_missing_ones_are_missing(front: str) -> None:
    async with httpx.AsyncClient(base_url=front) as client:
        script = await client.get("/assets/index-abc123.js")
        missing = await client.get("/assets/index-gone.js")

    assert script.text == SCRIPT
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-encoding"] == "gzip"
    assert missing.status_code == 404


async def test_the_api_answers_through_it_with_its_own_problems(front: str, server: Server) -> None:
    async with httpx.AsyncClient(base_url=front) as client:
        health = await client.get("/api/health")
        nobody = await client.get("/api/threads")
        lead = await client.get(
            "/api/me", headers={"Authorization": f"Bearer {server.token(LEAD)}"}
        )

    assert health.json()["status"] == "ready"
    assert (nobody.status_code, nobody.json()["code"]) == (401, "AUTH_NOT_SIGNED_IN")
    assert lead.json()["role"] == "lead"


async def test_a_conversation_goes_through_it(front: str, server: Server) -> None:
    thread_id = await server.thread(ADA)
    origin = front

    async with connected(front, origin=origin) as chat:
        await chat.hello(server.token(ADA))
        await chat.follow(thread_id)
        await chat.write(thread_id, "Hello through nginx")
        frames = await chat.turn()

    deltas = [
        frame["event"]["delta"]
        for frame in frames
        if frame.get("event", {}).get("type") == "TEXT_MESSAGE_CONTENT"
    ]
    assert "You said: Hello through nginx" in "".join(deltas)


async def test_a_socket_of_another_site_is_refused_behind_it_too(front: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connected(front, origin="http://evil.example"):
            pass

    assert refused.value.response.status_code == 403


async def test_a_large_document_may_be_uploaded_and_a_larger_one_may_not(front: str) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    async with httpx.AsyncClient(base_url=front, timeout=30) as client:
        within = await client.post("/api/specs", content=b" " * 20_000_000, headers=headers)
        beyond = await client.post("/api/specs", content=b" " * 70_000_000, headers=headers)

    assert within.status_code == 401  # the backend's answer, not nginx's
    assert beyond.status_code == 413
