"""From the bytes of a document to a draft with suggestions."""

from dataclasses import replace

from smart_support.operations.document import read_document
from smart_support.operations.records import DraftSpec
from smart_support.operations.spec import read_operations
from smart_support.operations.suggest import suggest


def read_draft(raw: bytes, *, source: str, max_bytes: int) -> DraftSpec:
    """Read a document and suggest what each of its operations is. Takes CPU: not for the loop.

    Raises:
        SupportError: one of the FILE_ errors of `read_document`, which says what to change.
    """
    draft = read_operations(read_document(raw, source=source, max_bytes=max_bytes))
    suggested = tuple(
        replace(operation, suggestion=suggest(operation)) for operation in draft.operations
    )
    return replace(draft, operations=suggested)
