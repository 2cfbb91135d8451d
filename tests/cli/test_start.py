"""What a start loads: a server that has a model and a database is not given the rest."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from tests.support.database import Databases

from smart_support.agent.checkpoints import stored_checkpoints
from smart_support.database.engine import psycopg_dsn

NOT_NEEDED = {
    "alembic": "the schema is seen to be the newest without it",
    "charset_normalizer.api": "nobody guesses an encoding",
    "cryptography.x509": "tokens are signed by HMAC",
    "langchain_openai.embeddings": "only chat is asked of the model",
    "langchain_openai.llms": "only chat is asked of the model",
    "langgraph_sdk.client": "nobody calls LangGraph's own server",
    "langsmith.types.run": "nobody calls LangSmith",
    "limits.aio.storage.base": "calls are counted in memory",
    "mako": "only Alembic writes files from templates",
    "openai.types.beta": "only chat is asked of the model",
    "openai.types.responses.response": "only chat is asked of the model",
    "opentelemetry.sdk.resources": "nobody asked for traces",
    "psycopg": "LangGraph's saver is connected when a turn first waits for a yes",
    "pygments.lexer": "nobody colours anything",
    "rich.console": "the log's tracebacks are plain",
    "smart_support.agent.offline": "there is a model",
    "smart_support.demo": "no demo company was asked for",
    "sqlalchemy.dialects.sqlite": "PostgreSQL is all that we speak",
    "sqlalchemy.orm": "statements go to the driver without sessions",
    "tests": "they are no part of the product",
    "tiktoken.core": "the model counts its tokens",
}
"""What is heavy, and why a server does without it.

Python names what was not found as well, so that of what is left out it is a module that shows it.
"""


def loaded(importtime: str) -> set[str]:
    """The modules in what Python says of its imports."""
    return set(re.findall(r"^import time:.*\| +(\S+)$", importtime, re.MULTILINE))


async def test_a_start_loads_nothing_that_it_does_not_need(
    environment: Callable[..., dict[str, str]],
    databases: Databases,
    template: str,
    tmp_path: Path,
) -> None:
    url = databases.create(template)
    async with stored_checkpoints(psycopg_dsn(url)) as stored:
        await stored.open()  # as a start before has done
    lines = environment(
        DATABASE_URL=url,
        OPENAI_API_KEY="sk-of-a-test",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        PYTHONPROFILEIMPORTTIME="1",
    )
    with (tmp_path / "imports").open("wb") as imports:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "smart_support", "serve"),
            env=lines,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=imports,
        )
        assert process.stdout is not None
        try:
            said = ""
            async with asyncio.timeout(90):
                while "Ctrl-C" not in said:
                    line = await process.stdout.readline()
                    assert line, said
                    said += line.decode()
            address = re.search(r"runs at (\S+)", said)
            assert address
            async with httpx.AsyncClient(base_url=address[1], trust_env=False) as client:
                assert (await client.get("/api/health")).status_code == 200
            process.terminate()
            async with asyncio.timeout(60):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    complaints = (tmp_path / "imports").read_text()
    modules = loaded(complaints)

    assert {"smart_support.app.parts", "fastapi", "langgraph.graph", "asyncpg"} <= modules
    unneeded = {
        f"{module}: {why}"
        for heavy, why in NOT_NEEDED.items()
        for module in modules
        if module == heavy or module.startswith(f"{heavy}.")
    }
    assert unneeded == set()
    assert "Warning" not in complaints
