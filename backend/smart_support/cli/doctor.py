"""`smart-support doctor`: what is wrong with an installation, in plain words, and what to do."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import httpx

from smart_support.agent.agents import check_operations, read_agents
from smart_support.agent.model import open_model
from smart_support.agent.model_check import check_model
from smart_support.api.installation import CHECK_SECONDS, Check, Dependency, check_api, look_at
from smart_support.api.page import BUILT
from smart_support.app.commands import open_operations
from smart_support.app.keys import tokens_of
from smart_support.cli.serve import bind
from smart_support.database.embedded import embedded_postgres
from smart_support.database.engine import check_writable, open_engine
from smart_support.database.schema import current_revision, newest_revision
from smart_support.errors import SetupError, SupportError
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access
from smart_support.settings import Settings, read_settings

State: TypeAlias = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and, if it is not well, what to do."""

    subject: str
    state: State
    said: str


Findings: TypeAlias = AsyncIterator[Finding]


async def examine(read: Callable[[], Settings] = read_settings) -> Findings:
    """Look at everything that a start needs, one after the other; nothing is changed.

    What stands on something that is wrong is left out, since it could only be wrong too.
    """
    try:
        settings = read()
    except SetupError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield Finding("settings", "ok", "every line that is set can be read")
    yield await asyncio.to_thread(_data_folder, settings)
    yield _port(settings)
    yield _page(BUILT)
    async for finding in _agents_file(settings):
        yield finding
    yield await _model(settings)
    async for finding in _database(settings):
        yield finding


def _data_folder(settings: Settings) -> Finding:
    folder = settings.smart_support_data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        tokens_of(settings)
    except OSError as error:
        return Finding(
            "data folder",
            "wrong",
            f"{folder} cannot be written ({error.strerror}); give this user write permission "
            "there, or set SMART_SUPPORT_DATA_DIR to another folder",
        )
    except SupportError as error:
        return Finding("data folder", "wrong", str(error))
    return Finding("data folder", "ok", f"{folder} can be written")


def _port(settings: Settings) -> Finding:
    host, port = settings.smart_support_host, settings.smart_support_port
    try:
        with bind(settings):
            return Finding("port", "ok", f"{host} port {port} is free")
    except SetupError as error:
        return Finding("port", "note", f"{error} If that is this server running, all is well.")


def _page(built: Path) -> Finding:
    if (built / "index.html").is_file():
        return Finding("page", "ok", "it is built")
    return Finding("page", "wrong", "it is not built; run `make page`, or install a released wheel")


async def _agents_file(settings: Settings) -> Findings:
    path = settings.smart_support_agents_file
    try:
        agents = await asyncio.to_thread(read_agents, path)
    except SupportError as error:
        yield Finding("agents", "wrong", str(error))
        return
    names = ", ".join(agents.by_name)
    source = "the built-in one" if path is None else str(path)
    yield Finding("agents", "ok", f"{names} ({source})")


async def _model(settings: Settings) -> Finding:
    if settings.openai_api_key is None and settings.openai_base_url is None:
        return Finding(
            "model", "note", "OPENAI_API_KEY is not set, so the small offline model answers"
        )
    model = open_model(settings)
    try:
        seen = await look_at(
            [
                Check(
                    kind="model",
                    name=settings.openai_model,
                    address=None,
                    look=lambda: check_model(model, CHECK_SECONDS),
                )
            ],
            within=CHECK_SECONDS,
        )
    finally:
        await model.close()
    return _of(
        seen[0],
        "check OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL, and that this machine reaches it",
    )


async def _database(settings: Settings) -> Findings:
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(_database_url(settings))
            if url is None:
                yield Finding("database", "note", "there is none yet; the first start makes it")
                return
            revision = await current_revision(url)
        except SupportError as error:
            yield Finding("database", "wrong", str(error))
            return
        newest = newest_revision()
        if revision != newest:
            yield Finding(
                "database",
                "note",
                f"it is at revision {revision or 'none'}, this release has {newest}; the next "
                "start, or `smart-support migrate`, brings it up to date",
            )
            return
        engine = open_engine(url)
        stack.push_async_callback(engine.dispose)
        yield await _written(lambda: check_writable(engine))
        operations = await stack.enter_async_context(open_operations(url))
        async for finding in _catalogue(settings, operations):
            yield finding


@asynccontextmanager
async def _database_url(settings: Settings) -> AsyncIterator[str | None]:
    """Where the database is. An embedded one is started if it is there; it is never made."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
    elif not (settings.smart_support_data_dir / "postgres" / "PG_VERSION").exists():
        yield None
    else:
        async with embedded_postgres(settings.smart_support_data_dir) as url:
            yield url


async def _written(look: Callable[[], Awaitable[None]]) -> Finding:
    try:
        await look()
    except SupportError as error:
        return Finding(
            "database",
            "wrong",
            f"a row cannot be written: {error}; look at its disk space and whether it is read-only",
        )
    return Finding("database", "ok", "it is up to date and a row can be written")


async def _catalogue(settings: Settings, operations: PostgresOperations) -> Findings:
    known = await operations.listed()
    agents = await asyncio.to_thread(read_agents, settings.smart_support_agents_file)
    try:
        check_operations(agents, known, [one for one in known if one.access is Access.READ])
    except SupportError as error:
        yield Finding("agents", "wrong", str(error))
    specs = await operations.specs()
    approved = len(await operations.approved())
    if not approved:
        yield Finding(
            "operations",
            "note",
            f"{len(known)} imported, none approved, so the agent can only talk; import with "
            "`smart-support import-spec` and approve what it may call",
        )
    else:
        yield Finding("operations", "ok", f"{approved} of {len(known)} are approved")
    async with httpx.AsyncClient(trust_env=False) as client:
        checks = [check_api(client, spec, place) for place, spec in enumerate(specs)]
        for seen in await look_at(checks, within=CHECK_SECONDS):
            yield _of(seen, "start it, or correct its base URL in the review")


def _of(seen: Dependency, advice: str) -> Finding:
    where = f" at {seen.address}" if seen.address else ""
    subject = f"{'model' if seen.kind == 'model' else 'API'} {seen.name}"
    match seen.status:
        case "ok":
            return Finding(subject, "ok", f"it answers{where}")
        case "not_checked":
            return Finding(subject, "note", seen.reason or "it was not looked at")
        case _:
            return Finding(subject, "wrong", f"{seen.reason}{where}; {advice}")
