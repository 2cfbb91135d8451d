"""The product as a person starts it: a process of its own, with everything that it brings along.

    async with running() as product:
        await page.goto(product.links["customer"])
        await product.company.get("/_calls")      # behind the counter of the demo company
        await product.http("lead").get(f"/api/threads/{thread}/replay")

It is stopped with SIGINT at the end, as by Ctrl-C, and must then have left nothing behind.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil

PATIENCE = 60.0  # seconds for a start or a stop; each takes a few
LINK = re.compile(r"^  (customer|lead|operator)\s+(\S+#token=\S+)$")
OURS = re.compile(r"^(OPENAI_|SMART_SUPPORT_|DATABASE_URL$)")

Json = dict[str, Any]


class Ended(NamedTuple):
    """How a process ended, and what of it still runs."""

    code: int
    left: list[str]


@dataclass
class Product:
    """One installation: its folder, and its process while it runs."""

    folder: Path
    settings: dict[str, str]
    said: list[str] = field(default_factory=list)
    """Every line of every start, output and log together."""
    links: dict[str, str] = field(default_factory=dict)
    address: str = ""
    company: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    def environment(self) -> dict[str, str]:
        """Nothing that this machine has chosen for itself, except where its programs are."""
        inherited = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        own = {
            "SMART_SUPPORT_DATA_DIR": str(self.folder / "data"),
            # A second start is where the first one was, so that open pages find it again.
            "SMART_SUPPORT_PORT": str(urlsplit(self.address).port or 0),
        }
        return inherited | own | self.settings

    async def command(self, *arguments: str) -> Process:
        """`smart-support` with these arguments, in this installation."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "smart_support", *arguments),
            stdout=PIPE,
            stderr=STDOUT,
            cwd=self.folder,  # not where a .env may lie
            env=self.environment(),
            limit=2**20,
            start_new_session=True,  # Ctrl-C in this terminal is for the tests
        )

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Exit status and words of a command that ends by itself."""
        process = await self.command(*arguments)
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    async def start(self) -> None:
        """Start it, and wait until it says that all is up."""
        self.process = await self.command("serve", "--demo")
        ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read(ready))
        async with asyncio.timeout(PATIENCE):
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait({waiting, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        assert ready.is_set(), "\n".join(self.said)

    async def _read(self, ready: asyncio.Event) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode().rstrip("\n")
            self.said.append(line)
            if link := LINK.match(line):
                self.links[link[1]] = link[2]
                self.address = link[2].split("/sign-in")[0]
            elif "API is described at" in line:
                await self.company.aclose()
                url = line.rsplit(" ", 1)[1]
                self.company = httpx.AsyncClient(
                    base_url=url.removesuffix("/openapi.json"), trust_env=False
                )
            elif line.startswith("Ctrl-C"):
                ready.set()

    @property
    def document(self) -> str:
        """Where the demo company's OpenAPI document is."""
        return f"{self.company.base_url}/openapi.json"

    @property
    def postmaster(self) -> int:
        """The process id of its PostgreSQL."""
        notes = self.folder / "data" / "postgres" / "postmaster.pid"
        return int(notes.read_text().split("\n")[0])

    def processes(self) -> list[psutil.Process]:
        """Everything that it has started: the demo company and the whole of PostgreSQL."""
        own = psutil.Process(self.process.pid).children(recursive=True)
        database = psutil.Process(self.postmaster)
        return [*own, database, *database.children(recursive=True)]

    async def stop(self) -> Ended:
        """Press Ctrl-C."""
        started = self.processes()
        self.process.send_signal(signal.SIGINT)
        code = await self._ended()
        _, left = await asyncio.to_thread(psutil.wait_procs, started, timeout=10)
        return Ended(code, [str(process) for process in left])

    async def kill(self) -> None:
        """As a machine that runs out of memory does; PostgreSQL is not told."""
        self.process.kill()
        await self._ended()

    async def _ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
            await self._reading
        return code

    async def close(self) -> None:
        """Leave nothing behind, whatever a test made of it."""
        await self.company.aclose()
        if self.process.returncode is None:
            ended = await self.stop()
            assert ended == Ended(0, []), "\n".join(self.said[-50:])
            assert "Stopped" in self.said
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            psutil.Process(self.postmaster).terminate()  # only after a kill

    def token(self, role: str) -> str:
        """The token of a sign-in link."""
        return self.links[role].partition("#token=")[2]

    def http(self, role: str) -> httpx.AsyncClient:
        """REST as this role, to be used as a context."""
        headers = {"Authorization": f"Bearer {self.token(role)}"}
        return httpx.AsyncClient(
            base_url=self.address, headers=headers, timeout=20, trust_env=False
        )

    async def replay(self, thread_id: str) -> list[Json]:
        """The facts of a thread, as the support lead reads them."""
        async with self.http("lead") as rest:
            answer = await rest.get(f"/api/threads/{thread_id}/replay", params={"limit": 500})
        assert answer.status_code == 200, answer.text
        return [event["fact"] for event in answer.json()["events"]]

    async def calls(self, operation: str) -> list[Json]:
        """What the demo company has received of this operation."""
        received = (await self.company.get("/_calls")).json()
        return [call for call in received if call["operation"] == operation]

    async def fault(self, operation: str, kind: str, **how: object) -> None:
        """Have the next calls of this operation go wrong."""
        fault = {"operation": operation, "kind": kind, **how}
        answer = await self.company.post("/_faults", json=fault)
        assert answer.status_code == 201, answer.text

    async def refunds(self, order: str) -> list[Json]:
        """The refunds of one of Ada's orders that really exist."""
        of = {"customer_id": "cus_ada", "order_id": order}
        refunds: list[Json] = (await self.company.get("/refunds", params=of)).json()["refunds"]
        return refunds


@asynccontextmanager
async def running(**settings: str) -> AsyncIterator[Product]:
    """A fresh installation that runs. Its folder is short, since a socket's path must be."""
    folder = Path(tempfile.mkdtemp(prefix="ssj-"))
    product = Product(folder, settings)
    try:
        await product.start()
        try:
            yield product
        finally:
            await product.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
