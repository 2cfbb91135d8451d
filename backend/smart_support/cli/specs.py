"""Import and review from the command line, on the database that the server uses."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from smart_support.app import open_database, open_operations
from smart_support.errors import InvalidInput, NotFound
from smart_support.operations.document import FileTooLarge
from smart_support.operations.importing import DocumentUnreachable, fetch_document, import_document
from smart_support.operations.postgres import Imported, PostgresOperations
from smart_support.operations.records import Operation, ReviewState, Spec
from smart_support.operations.review import Correction, decide
from smart_support.settings import Settings

BY = "command line"


@asynccontextmanager
async def catalogue(settings: Settings) -> AsyncIterator[PostgresOperations]:
    """The catalogue of this installation, whether its server runs or not."""
    async with (
        open_database(settings, lambda _: None) as url,
        open_operations(url) as operations,
    ):
        yield operations


async def import_spec(settings: Settings, source: str, name: str | None) -> Imported:
    """Import the document in a file or behind a URL.

    Raises:
        SupportError: it cannot be had or read; nothing is stored.
    """
    limit = settings.smart_support_spec_max_bytes
    raw = await _read(settings, source, limit)
    async with catalogue(settings) as operations:
        return await import_document(
            operations, raw, source=source, name=name, by=BY, max_bytes=limit
        )


async def _read(settings: Settings, source: str, limit: int) -> bytes:
    if urlsplit(source).scheme in {"http", "https"}:
        async with httpx.AsyncClient(trust_env=False) as client:
            wait = settings.smart_support_spec_timeout
            return await fetch_document(client, source, within=wait, max_bytes=limit)
    return await asyncio.to_thread(_read_file, Path(source), limit)


def _read_file(path: Path, limit: int) -> bytes:
    try:
        if (size := path.stat().st_size) > limit:
            raise FileTooLarge(str(path), size, limit)
        return path.read_bytes()
    except OSError as error:
        raise DocumentUnreachable(f"{path} cannot be read: {error.strerror}.") from error


async def spec_named(operations: PostgresOperations, name: str) -> Spec:
    """The spec with this name or id.

    Raises:
        NotFound: there is none; the text lists those that there are.
    """
    known = await operations.specs()
    for spec in known:
        if name in {spec.name, spec.id}:
            return spec
    names = ", ".join(spec.name for spec in known) or "none so far"
    raise NotFound(f"No document is imported as {name!r}. Imported: {names}.")


async def list_operations(settings: Settings, name: str) -> tuple[Operation, ...]:
    """All operations of a spec."""
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        return await _all_of(operations, spec)


async def _all_of(operations: PostgresOperations, spec: Spec) -> tuple[Operation, ...]:
    found: tuple[Operation, ...] = ()
    while page := await operations.operations(
        spec.id, after=found[-1].key if found else "", limit=500
    ):
        found += page
    return found


async def decide_operation(
    settings: Settings,
    name: str,
    key: str,
    *,
    state: ReviewState,
    correction: Correction,
    reason: str | None,
) -> Operation:
    """Decide about the operation with this key (as `GET /orders`), tool name or id.

    Raises:
        SupportError: there is no such operation, or the decision is refused.
    """
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        found = [
            operation
            for operation in await _all_of(operations, spec)
            if key in {operation.key, operation.tool_name, operation.id}
        ]
        if len(found) != 1:
            raise InvalidInput(f"{len(found)} operations of {spec.name} are {key!r}.")
        return await decide(
            operations,
            found[0],
            state=state,
            correction=correction,
            by=BY,
            reason=reason,
            version=found[0].version,
        )


async def set_base_url(settings: Settings, name: str, base_url: str) -> Spec:
    """Say where the API of a spec is.

    Raises:
        SupportError: there is no such spec, or the URL is none.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise InvalidInput(f"{base_url!r} is no http or https URL.")
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        return await operations.set_base_url(spec.id, base_url.rstrip("/"), by=BY)


def described(operation: Operation) -> Iterator[str]:
    """One operation for people: what it is, and why that was suggested."""
    what = operation.classification
    confirm = "asks the customer" if what.confirm else "without asking"
    yield f"{operation.key}  [{operation.state.value}]  {operation.summary}"
    yield f"    {what.access.value}, {confirm}, agent {what.agent}, risk {what.risk.value}"
    for argument, claim in what.bindings.items():
        yield f"    {argument} is filled with the customer's {claim}"
    for reason in what.reasons:
        yield f"    because: {reason}"
