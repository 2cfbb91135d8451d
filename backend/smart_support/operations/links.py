"""Which operation of a document may tell what became of another one: said, never decided.

How exactly it is asked, and what of its answer proves the effect, is a person's to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from smart_support.operations.records import Access, DraftOperation, Ground
from smart_support.operations.suggest import words_of

_STATUS = {"status", "state", "progress", "job", "task", "result"}


def linked(operations: Sequence[DraftOperation]) -> tuple[DraftOperation, ...]:
    """The operations of one document, each write with the reads beside it that may tell of it.

    A read of the same path shows what a PUT, PATCH or DELETE left, and lists what a POST made;
    a read below it that speaks of a status says how far something accepted has got.
    """
    reads = {
        one.path.rstrip("/"): one
        for one in operations
        if one.method == "GET" and one.suggestion.access is Access.READ
    }
    tellers = _status_reads(reads)
    return tuple(_linked(one, reads, tellers) for one in operations)


def _linked(
    operation: DraftOperation,
    reads: Mapping[str, DraftOperation],
    tellers: Mapping[str, DraftOperation],
) -> DraftOperation:
    said = operation.suggestion
    if said.access is Access.READ:
        return operation
    path = operation.path.rstrip("/")
    lookup, status = reads.get(path), tellers.get(path)
    grounds = []
    if lookup is not None:
        reason = f"{lookup.key} reads what this writes, so it may show whether it took effect."
        grounds.append(_ground("lookup", reason))
    if status is not None:
        reason = f"{status.key} speaks of a status, so it may say how far this has got."
        grounds.append(_ground("status", reason))
    if not grounds:
        return operation
    return replace(
        operation,
        suggestion=replace(
            said,
            reasons=(*said.reasons, *(ground.reason for ground in grounds)),
            grounds=(*said.grounds, *grounds),
        ),
    )


def _status_reads(reads: Mapping[str, DraftOperation]) -> dict[str, DraftOperation]:
    """For each path the first read one variable below it, or beside that, that tells a status."""
    found: dict[str, DraftOperation] = {}
    for path, read in reads.items():
        end = len(path)
        while (end := path.rfind("/", 0, end)) >= 0:
            rest = path[end:].strip("/").split("/")
            if len(rest) > 2:
                break
            if (
                rest[0].startswith("{")
                and path[:end] not in found
                and _STATUS.intersection(words_of(*rest[1:], read.operation_id or "", read.summary))
            ):
                found[path[:end]] = read
    return found


def _ground(about: str, reason: str) -> Ground:
    return Ground(about=about, reason=reason, confidence=0.5)
