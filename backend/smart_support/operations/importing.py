"""From a file or a URL to operations that wait for a review."""

import asyncio
import contextlib
import json
import pickle
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import httpx
import structlog

from smart_support.errors import Severity, SupportError
from smart_support.operations.document import FileTooComplex, FileTooLarge
from smart_support.operations.imports_postgres import Imported
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.reading import Progress, Told, nobody, read_draft
from smart_support.operations.records import DraftSpec
from smart_support.operations.text import clean

log = structlog.get_logger()

OWN_PROCESS_BYTES = 64 * 1024
"""JSON above this is read by a process of its own, so that no chat waits for it."""
READ_SECONDS = 180.0
"""How long reading a document may take. 47 MB of YAML take about 60 s."""


class DocumentUnreachable(SupportError):
    """The URL of a document did not give one; the text says what came instead."""

    code = "FILE_UNREACHABLE"
    status = 422
    severity = Severity.LOW
    user_message = "That document could not be fetched."


class Imports:
    """How far the imports are that go on in this process, for those who asked for them."""

    def __init__(self) -> None:
        self._going: dict[tuple[str, str], Progress] = {}

    @contextlib.contextmanager
    def watched(self, import_id: str | None, by: str) -> Iterator[Told]:
        """Keep what the yielded function is told under `import_id`, until the import has ended."""
        if import_id is None:
            yield nobody
            return
        at = (by, import_id)
        self._going[at] = Progress("reading")
        try:
            yield partial(self._going.__setitem__, at)
        finally:
            del self._going[at]

    def progress(self, import_id: str, by: str) -> Progress | None:
        """How far an import of this person is; None before, after, and in other processes."""
        return self._going.get((by, import_id))


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


async def read_aside(
    raw: bytes,
    *,
    source: str,
    max_bytes: int,
    own_process_above: int = OWN_PROCESS_BYTES,
    within: float = READ_SECONDS,
    told: Told = nobody,
) -> DraftSpec:
    """Read a document with all its operations, beside what else goes on.

    Small JSON takes a thread. All else could be much more than it looks and takes a process,
    which has limits of its own and is ended if the caller is cancelled, or after `within` seconds.

    Raises:
        SupportError: one of the FILE_ errors of `read_draft`, which says what to change;
            FileTooComplex also if the process took too long or did not survive the document.
    """
    if len(raw) > max_bytes:
        raise FileTooLarge(source, len(raw), max_bytes)
    if len(raw) <= own_process_above and raw.lstrip()[:1] in {b"", b"{"}:
        return await asyncio.to_thread(read_draft, raw, source=source, max_bytes=max_bytes)
    # Not a pool: its workers cannot be ended in the middle of a document, and begin by
    # importing the whole program.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "smart_support.operations.reading",
        json.dumps([source, max_bytes]),  # a name can hold what an argument cannot
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; we end it
    )
    try:
        async with asyncio.timeout(within), asyncio.TaskGroup() as group:
            group.create_task(_give(process, raw))
            answer = await _hear(process, told)
            await process.wait()
    except TimeoutError:
        raise FileTooComplex(source, f"reading it takes more than {within:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        log.error("document_reader_died", source=source, status=process.returncode)
        raise FileTooComplex(source, "the process that read it did not survive it")
    # It comes from our own program, never from the document.
    read: DraftSpec | SupportError = await asyncio.to_thread(pickle.loads, answer)
    if isinstance(read, SupportError):
        raise read
    return read


async def _give(process: asyncio.subprocess.Process, raw: bytes) -> None:
    assert process.stdin is not None
    # One that dies before it has read all says so by its status.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(raw)
        await process.stdin.drain()
    process.stdin.close()


async def _hear(process: asyncio.subprocess.Process, told: Told) -> bytes:
    """What the process says in the end; `told` hears what it says before."""
    assert process.stdout is not None
    while (line := await process.stdout.readline()).strip():
        told(Progress(*json.loads(line)))
    return await process.stdout.read()


async def import_document(
    operations: PostgresOperations,
    raw: bytes,
    *,
    source: str,
    name: str | None,
    by: str,
    max_bytes: int,
    told: Told = nobody,
) -> Imported:
    """Read a document and store it under `name`, or else its title, or else its file's name.

    `raw` is the document, or an archive with it and the files that it refers to.

    Raises:
        SupportError: one of the FILE_ errors of `read_draft`; nothing is stored.
    """
    source = clean(source, 2000) or "upload"
    draft = await read_aside(raw, source=source, max_bytes=max_bytes, told=told)
    told(Progress("storing"))
    title = draft.title if draft.title != source else ""  # the source stands in for no title
    chosen = name or title or PurePosixPath(urlsplit(source).path).stem or "API"
    return await operations.save_draft(draft, name=chosen[:100], document=raw, by=by)
