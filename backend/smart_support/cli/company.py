"""The demo company beside the product: its process, and its operations approved to be tried."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from smart_support.api.parts import Parts
from smart_support.errors import SetupError
from smart_support.identity.people import Person, Role
from smart_support.operations.importing import fetch_document, import_document
from smart_support.operations.records import ReviewState
from smart_support.operations.review import Correction, decide
from smart_support.settings import Settings

log = structlog.get_logger()

CUSTOMER = Person(id="cus_ada", role=Role.CUSTOMER, name="Ada Quist", email="ada@example.com")
NAME = "Demo company"
DEMO_AGENTS = Path(__file__).with_name("demo_agents.yaml")
START_SECONDS = 30.0
STOP_SECONDS = 10.0

_WHY = "Approved as suggested, to try the product on the demo company."


@asynccontextmanager
async def demo_company(data_dir: Path) -> AsyncIterator[str]:
    """Run the demo company as a process of its own; yields the URL of its OpenAPI document.

    It ends with this process, whatever becomes of it, since its standard input closes then.

    Raises:
        SetupError: it did not start.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "smart_support.demo",
        "--data",
        str(data_dir / "demo"),
        "--until-stdin-closes",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; we stop it when nothing needs it any more
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await process.stdout.readline()
            url: str = json.loads(line)["document"]
        except (TimeoutError, ValueError, KeyError) as error:
            raise SetupError("The demo company did not start; its words are above.") from error
        yield url
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("demo_company_killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def with_demo_allowed(settings: Settings, url: str) -> Settings:
    """The settings with which the company behind `url`, on this machine, may be called."""
    hosts = [settings.smart_support_tool_allowed_hosts, urlsplit(url).hostname or ""]
    return settings.model_copy(
        update={"smart_support_tool_allowed_hosts": ",".join(filter(None, hosts))}
    )


async def approve_demo(parts: Parts, url: str) -> None:
    """Import the demo company's document and approve what nobody has decided about yet."""
    limit = parts.settings.smart_support_spec_max_bytes
    raw = await fetch_document(parts.documents, url, within=START_SECONDS, max_bytes=limit)
    imported = await import_document(
        parts.operations, raw, source=url, name=NAME, by="demo", max_bytes=limit
    )
    pending = await parts.operations.operations(
        imported.spec.id, state=ReviewState.PENDING, limit=500
    )
    for operation in pending:
        await decide(
            parts.operations,
            operation,
            state=ReviewState.APPROVED,
            correction=Correction(),
            by="demo",
            reason=_WHY,
            version=operation.version,
        )
