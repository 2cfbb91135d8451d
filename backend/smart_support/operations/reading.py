"""Reading a document with all its operations; as a program, in a process of its own.

`python -m smart_support.operations.reading '["source", max_bytes]'` reads the document from
standard input and writes a pickle to standard output: the DraftSpec, or the SupportError that says
why there is none.
"""

import json
import pickle
import sys
from dataclasses import replace

from smart_support.errors import SupportError
from smart_support.operations.document import decode, read_document
from smart_support.operations.evidence import locate
from smart_support.operations.links import linked
from smart_support.operations.records import DraftSpec
from smart_support.operations.spec import read_operations


def read_draft(raw: bytes, *, source: str, max_bytes: int) -> DraftSpec:
    """Read a document, its operations, and where each is described. Takes CPU.

    Raises:
        SupportError: one of the FILE_ errors of `read_document`, which says what to change.
    """
    draft = read_operations(read_document(raw, source=source, max_bytes=max_bytes))
    places = locate(decode(raw, source), {operation.pointer for operation in draft.operations})
    nowhere = (None, None)
    operations = []
    for operation in draft.operations:
        start, end = places.get(operation.pointer, nowhere)
        operations.append(replace(operation, starts_at=start, ends_at=end))
    return replace(draft, operations=linked(operations))


def main() -> None:
    """Read what comes in, and answer."""
    source, max_bytes = json.loads(sys.argv[1])
    read: DraftSpec | SupportError
    try:
        read = read_draft(sys.stdin.buffer.read(), source=source, max_bytes=max_bytes)
    except SupportError as error:
        read = error
    pickle.dump(read, sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main()
