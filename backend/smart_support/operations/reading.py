"""Reading a document with all its operations; as a program, in a process of its own.

`python -m smart_support.operations.reading '["source", max_bytes]'` reads the document, or an
archive with it, from standard input. To standard output it writes how far it is, a line of JSON
each time, then an empty line and a pickle: the DraftSpec, or the SupportError that says why there
is none.
"""

import gc
import hashlib
import json
import pickle
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from smart_support.errors import SupportError
from smart_support.operations.document import FileTooComplex, decode, read_document
from smart_support.operations.duplicates import written_twice
from smart_support.operations.evidence import Span, locate
from smart_support.operations.files import is_archive, open_bundle
from smart_support.operations.links import linked
from smart_support.operations.records import DraftOperation, DraftSpec, Skipped
from smart_support.operations.spec import convert, suggested

MEMORY_BYTES = 768 * 1024 * 1024
MEMORY_PER_BYTE = 24
"""What the process may take: so much, and so much for each byte of the document. Real documents
need up to 14 bytes for each of their own."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is: `done` of `total` in this stage, both 0 where that is not known."""

    stage: str
    """`reading`, `converting`, `locating` or `storing`, in this order."""
    done: int = 0
    total: int = 0


Told = Callable[[Progress], None]
"""Hears how far an import is."""


def nobody(_: Progress) -> None:
    """Hears nothing."""


def read_draft(raw: bytes, *, source: str, max_bytes: int, told: Told = nobody) -> DraftSpec:
    """Read a document, its operations, and where each is described. Takes CPU.

    Raises:
        SupportError: one of the FILE_ errors of `read_document` or `open_bundle`, which says what
            to change.
    """
    told(Progress("reading"))
    bundle = open_bundle(raw, source=source, max_bytes=max_bytes)
    document = read_document(
        bundle.main, source=source, max_bytes=max_bytes, path=bundle.path, content=bundle.content
    )
    draft = convert(document, told=lambda done, total: told(Progress("converting", done, total)))
    told(Progress("locating"))
    text = decode(bundle.main, source)
    pointers = {operation.pointer for operation in draft.operations}
    pointers |= {skipped.pointer for skipped in draft.skipped if skipped.pointer}
    places = locate(text, pointers)
    return replace(
        draft,
        hash=hashlib.sha256(raw).hexdigest(),
        operations=linked([_placed(suggested(each), places) for each in draft.operations]),
        skipped=_with_lines((*draft.skipped, *written_twice(text)), places, text),
    )


def _placed(operation: DraftOperation, places: Mapping[str, Span]) -> DraftOperation:
    if operation.pointer not in places:
        return operation
    start, end = places[operation.pointer]
    return replace(operation, starts_at=start, ends_at=end)


def _with_lines(
    skipped: tuple[Skipped, ...], places: Mapping[str, Span], text: str
) -> tuple[Skipped, ...]:
    starts = [
        places[each.pointer][0] if each.pointer and each.pointer in places else None
        for each in skipped
    ]
    lines: dict[int | None, int] = {}
    line, before = 1, 0
    for start in sorted({start for start in starts if start is not None}):
        line += text.count("\n", before, start)
        before = start
        lines[start] = line
    return tuple(
        replace(each, line=lines.get(start, each.line))
        for each, start in zip(skipped, starts, strict=True)
    )


def main() -> None:
    """Read what comes in, and answer."""
    source, max_bytes = json.loads(sys.argv[1])
    gc.disable()  # it ends soon, and what is read stays until then
    raw = sys.stdin.buffer.read()
    size = max_bytes if is_archive(raw) else len(raw)
    _limit(MEMORY_BYTES + MEMORY_PER_BYTE * size)
    read: DraftSpec | SupportError
    try:
        read = read_draft(raw, source=source, max_bytes=max_bytes, told=_tell(sys.stdout.buffer))
    except SupportError as error:
        read = error
    except (MemoryError, RecursionError):
        read = FileTooComplex(source, "reading it takes more memory than any real document needs")
    sys.stdout.buffer.write(b"\n")
    pickle.dump(read, sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)


def _limit(memory: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


def _tell(out: BinaryIO) -> Told:
    def tell(progress: Progress) -> None:
        out.write(json.dumps([progress.stage, progress.done, progress.total]).encode() + b"\n")
        out.flush()

    return tell


if __name__ == "__main__":
    main()
