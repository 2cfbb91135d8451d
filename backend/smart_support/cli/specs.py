"""Import and review from the command line, on the database that the server uses."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from pydantic import ValidationError

from smart_support.api.review import ReviewDecision, correction_of
from smart_support.app.commands import open_adviser, open_operations, open_switches
from smart_support.app.database import open_database
from smart_support.errors import InvalidInput, NotFound
from smart_support.ledger.stops import Stop, StopScope
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.advice import Advised, advise_page
from smart_support.operations.decisions import Batch, Decided
from smart_support.operations.document import FileTooComplex, FileTooLarge
from smart_support.operations.files import MAIN, is_archive, pack, refers_to_files
from smart_support.operations.importing import DocumentUnreachable, fetch_document, import_document
from smart_support.operations.imports_postgres import Imported
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.records import Access, Operation, ReviewState, Spec
from smart_support.operations.review import Correction, Verdict, decide, decide_all
from smart_support.operations.suggest import is_clear
from smart_support.settings import Settings
from smart_support.tools.dry_run import SAMPLE, DryRun, dry_run

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
    """Import the document in a file, a directory or an archive, or behind a URL.

    Raises:
        SupportError: it cannot be had or read; nothing is stored.
    """
    limit = settings.smart_support_spec_max_bytes
    raw, source = await _read(settings, source, limit)
    async with catalogue(settings) as operations:
        return await import_document(
            operations, raw, source=source, name=name, by=BY, max_bytes=limit
        )


async def _read(settings: Settings, source: str, limit: int) -> tuple[bytes, str]:
    """The bytes to import, and what they are called."""
    if urlsplit(source).scheme in {"http", "https"}:
        async with httpx.AsyncClient(trust_env=False) as client:
            wait = settings.smart_support_spec_timeout
            return await fetch_document(client, source, within=wait, max_bytes=limit), source
    return await asyncio.to_thread(_read_path, source, limit)


def _read_path(source: str, limit: int) -> tuple[bytes, str]:
    """A file, a directory of files, or a file with the directory that it refers into."""
    place, _, main = source.partition(MAIN)
    path = Path(place)
    try:
        if path.is_dir():
            return pack(path, limit), source
        if (size := path.stat().st_size) > limit:
            raise FileTooLarge(str(path), size, limit)
        raw = path.read_bytes()
        if not main and not is_archive(raw) and refers_to_files(raw):
            # What lies around it may be more than belongs to it; then it comes alone.
            with contextlib.suppress(FileTooLarge, FileTooComplex):
                return pack(path.parent, limit), f"{path.parent}{MAIN}{path.name}"
    except OSError as error:
        raise DocumentUnreachable(f"{path} cannot be read: {error.strerror}.") from error
    return raw, source


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
        found = await _operation_named(operations, spec, key)
        return await decide(
            operations,
            found,
            state=state,
            correction=correction,
            by=BY,
            reason=reason,
            version=found.version,
        )


def correction_in(text: str) -> Correction:
    """What a JSON object changes of an operation, field by field as in REST.

    Raises:
        InvalidInput: it is none, or a field is not known or cannot be that; the text says which.
    """
    try:
        said = json.loads(text)
        if not isinstance(said, dict):
            raise InvalidInput("What is to be set is a JSON object.")
        if unknown := sorted(said.keys() - Correction.__slots__):
            known = ", ".join(sorted(Correction.__slots__))
            raise InvalidInput(f"There is no field {unknown[0]!r}; there are: {known}.")
        decision = {"version": 0, "state": "pending", **said}
        return correction_of(ReviewDecision.model_validate(decision))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InvalidInput(f"{place}: {first['msg']}.") from None
    except ValueError as error:
        raise InvalidInput(f"What is to be set is no JSON: {error}.") from None


async def approve_clear_reads(settings: Settings, name: str, reason: str | None) -> Decided | None:
    """Approve at once every waiting read on which all rules agree; None if there is none.

    Raises:
        SupportError: there is no such spec, or the decision is refused; nothing is approved.
    """
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        verdicts = [
            Verdict(
                operation_id=one.id,
                version=one.version,
                state=ReviewState.APPROVED,
                reason=reason,
            )
            for one in await _all_of(operations, spec)
            if one.state is ReviewState.PENDING
            and one.classification == one.suggestion
            and one.classification.access is Access.READ
            and is_clear(one.suggestion)
        ]
        return await decide_all(operations, spec.id, verdicts, by=BY) if verdicts else None


async def second_opinion(settings: Settings, name: str) -> AsyncGenerator[Advised, None]:
    """Ask the model about every operation that nobody has decided about, page by page.

    Raises:
        SupportError: there is no such spec, or the model is not to be asked.
    """
    async with open_adviser(settings) as ask, catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        after: str | None = ""
        while after is not None:
            done = await advise_page(operations, spec.id, ask, after=after)
            yield done
            after = done.next_after


async def batches(settings: Settings, name: str) -> tuple[Batch, ...]:
    """What was decided about a document, the latest first."""
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        return await operations.batches(spec.id)


async def undo(settings: Settings, batch_id: str) -> Decided:
    """Take back what was decided at once.

    Raises:
        SupportError: there is no such batch, or somebody has decided since.
    """
    try:
        UUID(batch_id)
    except ValueError:
        raise NotFound(f"There are no decisions {batch_id!r}.") from None
    async with catalogue(settings) as operations:
        return await operations.undo(batch_id, by=BY)


async def show_request(
    settings: Settings,
    name: str,
    key: str,
    arguments: Mapping[str, Any] | None,
    claims: Mapping[str, str],
) -> DryRun:
    """The exact request of an operation for some arguments, not sent.

    Raises:
        SupportError: there is no such operation, or the arguments make no request.
    """
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        operation = await _operation_named(operations, spec, key)
        return dry_run(operation, spec.base_url, arguments, {**SAMPLE, **claims})


async def set_base_url(settings: Settings, name: str, base_url: str) -> Spec:
    """Say where the API of a spec is.

    Raises:
        SupportError: there is no such spec, or the URL is none.
    """
    address = base_address(base_url)
    async with catalogue(settings) as operations:
        spec = await spec_named(operations, name)
        return await operations.set_base_url(spec.id, address, by=BY)


def base_address(base_url: str) -> str:
    """`base_url` without a slash at its end.

    Raises:
        InvalidInput: it is no http or https URL.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise InvalidInput(f"{base_url!r} is no http or https URL.")
    return base_url.rstrip("/")


@asynccontextmanager
async def switches(settings: Settings) -> AsyncIterator[tuple[PostgresOperations, PostgresStops]]:
    """The catalogue and the kill switch of this installation, whether its server runs or not."""
    async with (
        open_database(settings, lambda _: None) as url,
        open_switches(url) as opened,
    ):
        yield opened


async def switch_off(settings: Settings, name: str | None, key: str | None, *, reason: str) -> Stop:
    """Switch off everything, the API of a spec, or one operation of it.

    Raises:
        SupportError: there is no such spec or operation.
    """
    async with switches(settings) as (operations, stops):
        scope, target, title = StopScope.EVERYTHING, None, "Everything"
        if name is not None:
            spec = await spec_named(operations, name)
            scope, target, title = StopScope.API, str(spec.id), spec.name
            if key is not None:
                operation = await _operation_named(operations, spec, key)
                scope, target, title = StopScope.OPERATION, str(operation.id), operation.key
        return await stops.stop(
            scope, target, title=title, by=BY, reason=reason, at=datetime.now(UTC)
        )


async def switch_on(settings: Settings, stop_id: str, *, reason: str) -> Stop:
    """Switch on again what stands under `stop_id`.

    Raises:
        SupportError: nothing does.
    """
    if not _is_uuid(stop_id):
        raise InvalidInput(f"{stop_id!r} is no id; `smart-support stops` lists them.")
    async with switches(settings) as (_, stops):
        return await stops.lift(stop_id, by=BY, reason=reason, at=datetime.now(UTC))


async def list_stops(settings: Settings) -> tuple[Stop, ...]:
    """What is switched off, and what was."""
    async with switches(settings) as (_, stops):
        return await stops.history()


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


async def _operation_named(operations: PostgresOperations, spec: Spec, key: str) -> Operation:
    found = [
        operation
        for operation in await _all_of(operations, spec)
        if key in {operation.key, operation.tool_name, operation.id}
    ]
    if len(found) != 1:
        raise InvalidInput(f"{len(found)} operations of {spec.name} are {key!r}.")
    return found[0]


def stop_described(stop: Stop) -> str:
    """One stop on a line."""
    line = f"{stop.id}  {stop.title}: off since {stop.stopped_at:%Y-%m-%d %H:%M} by "
    line += f"{stop.stopped_by} ({stop.reason})"
    if stop.lifted_at is not None:
        line += f", on again since {stop.lifted_at:%Y-%m-%d %H:%M} by {stop.lifted_by}"
        line += f" ({stop.lifted_reason})"
    return line


def described(operation: Operation) -> Iterator[str]:
    """One operation for people: what it is, and why that was suggested."""
    what = operation.classification
    confirm = "asks the customer" if what.confirm else "without asking"
    yield f"{operation.key}  [{operation.state.value}]  {operation.summary}"
    yield f"    {what.access.value}, {confirm}, agent {what.agent}, risk {what.risk.value}"
    for argument, claim in what.bindings.items():
        yield f"    {argument} is filled with the customer's {claim}"
    if what.unbindable:
        yield "    not offered to a customer who is not known"
    for change in operation.changes:
        mark = "breaks: " if change.breaking else ""
        yield f"    {mark}{change.field} {change.kind}: {change.before} -> {change.after}"
    if what.answer_fields:
        yield f"    of its answer only {', '.join(what.answer_fields)} is shown"
    if what.pagination:
        yield f"    its pages are walked by {what.pagination['parameter']}"
    for reason in what.reasons:
        yield f"    because: {reason}"
