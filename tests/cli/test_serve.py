"""`smart-support serve --demo` as a real process: it starts, works, and leaves nothing behind."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
from tests.support.chat_client import connected, transcript_of

Environment = Callable[..., dict[str, str]]


class Serving:
    """A server in a process of its own, and what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def printed(self, wanted: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(90):
            while not self.lines or wanted not in self.lines[-1]:
                line = await self.process.stdout.readline()
                assert line, "".join(self.lines)
                self.lines.append(line.decode())

    def found(self, pattern: str) -> str:
        match = re.search(pattern, "".join(self.lines))
        assert match, self.lines
        return match.group(1)

    @property
    def address(self) -> str:
        return self.found(r"runs at (\S+)")

    def token(self, role: str) -> str:
        return self.found(rf"{role}\s+\S+#token=(\S+)")

    async def http(self, role: str, path: str) -> httpx.Response:
        async with self._client(role) as client:
            return await client.get(path)

    async def post(self, role: str, path: str) -> httpx.Response:
        async with self._client(role) as client:
            return await client.post(path)

    def _client(self, role: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token(role)}"}
        return httpx.AsyncClient(
            base_url=self.address, headers=headers, trust_env=False, verify=False
        )

    async def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        await self.printed("Stopped")
        return await asyncio.wait_for(self.process.wait(), 60)


@asynccontextmanager
async def serving(environment: dict[str, str], cwd: Path, *options: str) -> AsyncIterator[Serving]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "smart_support",
        "serve",
        *options,
        env=environment,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
    )
    server = Serving(process)
    try:
        await server.printed("Ctrl-C")
        yield server
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def descendants(pid: int, data: Path) -> list[psutil.Process]:
    """The processes below `pid`, and those that work in the folder `data`."""
    below = psutil.Process(pid).children(recursive=True)
    known = {process.pid for process in below}
    for process in psutil.process_iter(["cmdline"]):
        if process.pid not in known and str(data) in " ".join(process.info["cmdline"] or []):
            below.append(process)
    return [process for process in below if process.pid != pid]


def running(process: psutil.Process) -> bool:
    """Whether a process still does anything; one that only its parent has not noticed does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def ask(server: Serving, thread: str | None = None) -> str:
    """Ask the demo company's desk for an order; the thread."""
    headers = {"Authorization": f"Bearer {server.token('customer')}"}
    async with httpx.AsyncClient(
        base_url=server.address, headers=headers, trust_env=False, verify=False
    ) as client:
        made = thread or str((await client.post("/api/threads")).json()["id"])
    async with connected(server.address) as chat:
        await chat.hello(server.token("customer"))
        await chat.follow(made)
        await chat.write(made, "Where is my order 1001?")
        shown = transcript_of(await chat.turn())
    assert shown.calls
    assert "1001" in shown.texts[-1][1]
    return made


async def test_serves_keeps_everything_and_leaves_nothing_running(
    environment: Environment, tmp_path: Path
) -> None:
    data = tmp_path / "data"

    async with serving(environment(), tmp_path, "--demo") as server:
        thread = await ask(server)
        below = descendants(server.process.pid, data)
        first = await server.stop(signal.SIGINT)
    left = [process for process in below if running(process)]
    async with serving(environment(), tmp_path, "--demo") as again:
        replayed = await again.http("lead", f"/api/threads/{thread}/replay")
        specs = (await again.http("operator", "/api/specs")).json()["specs"]
        below_again = descendants(again.process.pid, data)
        second = await again.stop(signal.SIGTERM)
    left += [process for process in below_again if running(process)]

    assert (first, second) == (0, 0)
    assert len(below) >= 2
    assert left == []
    assert "offline model" in "".join(server.lines)
    assert [fact["fact"]["type"] for fact in replayed.json()["events"]][-1] == "turn_closed"
    assert [spec["name"] for spec in specs] == ["Demo company"]


async def test_without_the_demo_company_there_is_no_customer_to_be(
    environment: Environment, tmp_path: Path, migrated_database: Callable[[], str]
) -> None:
    lines = environment(
        DATABASE_URL=migrated_database(),
        OPENAI_API_KEY="sk-test",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        SMART_SUPPORT_HOST="::1",
    )

    async with serving(lines, tmp_path) as server:
        me = await server.http("lead", "/api/me")
        status = await server.stop(signal.SIGINT)

    printed = "".join(server.lines)
    assert status == 0
    assert me.json()["role"] == "lead"
    assert server.address.startswith("http://[::1]:")
    assert "Model: gpt-4.1-mini" in printed
    assert "customer" not in printed
    assert "sk-test" not in printed


async def test_an_open_socket_does_not_hold_up_the_end(
    environment: Environment, tmp_path: Path, migrated_database: Callable[[], str]
) -> None:
    lines = environment(DATABASE_URL=migrated_database())

    async with serving(lines, tmp_path) as server, connected(server.address) as chat:
        status = await server.stop(signal.SIGTERM)
        frames, code = await chat.closed()

    assert status == 0
    assert (frames, code) == ([], 1012)
