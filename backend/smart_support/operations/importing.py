"""From a file or a URL to operations that wait for a review."""

import asyncio
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import httpx

from smart_support.errors import Severity, SupportError
from smart_support.operations.document import FileTooLarge, read_document
from smart_support.operations.postgres import Imported, PostgresOperations
from smart_support.operations.records import DraftSpec
from smart_support.operations.spec import read_operations


class DocumentUnreachable(SupportError):
    """The URL of a document did not give one; the text says what came instead."""

    code = "FILE_UNREACHABLE"
    status = 422
    severity = Severity.LOW
    user_message = "That document could not be fetched."


def read_draft(raw: bytes, *, source: str, max_bytes: int) -> DraftSpec:
    """Read a document with all its operations. Takes CPU: not for the event loop.

    Raises:
        SupportError: one of the FILE_ errors of `read_document`, which says what to change.
    """
    return read_operations(read_document(raw, source=source, max_bytes=max_bytes))


async def fetch_document(
    client: httpx.AsyncClient, url: str, *, within: float, max_bytes: int
) -> bytes:
    """The bytes behind `url`, within so many seconds and no more than so many.

    Raises:
        DocumentUnreachable: nothing came, or something else than a document.
        FileTooLarge: more than `max_bytes`; the rest was not read.
    """
    raw = bytearray()
    try:
        async with asyncio.timeout(within), client.stream("GET", url) as response:
            if response.status_code != 200:
                raise DocumentUnreachable(
                    f"{url} answered with status {response.status_code} instead of a document."
                )
            async for piece in response.aiter_bytes():
                raw += piece
                if len(raw) > max_bytes:
                    raise FileTooLarge(url, len(raw), max_bytes)
    except TimeoutError:
        raise DocumentUnreachable(f"{url} did not answer within {within:g} s.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DocumentUnreachable(
            f"{url} could not be fetched: {str(error) or type(error).__name__}."
        ) from error
    return bytes(raw)


async def import_document(
    operations: PostgresOperations,
    raw: bytes,
    *,
    source: str,
    name: str | None,
    by: str,
    max_bytes: int,
) -> Imported:
    """Read a document and store it under `name`, or else its title, or else its file's name.

    Raises:
        SupportError: one of the FILE_ errors of `read_document`; nothing is stored.
    """
    draft = await asyncio.to_thread(read_draft, raw, source=source, max_bytes=max_bytes)
    chosen = name or draft.title or PurePosixPath(urlsplit(source).path).stem or "API"
    return await operations.save_draft(draft, name=chosen[:100], document=raw, by=by)
