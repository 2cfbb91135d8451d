"""Good answers of reads that may take the place of a failure for a while; bounded memory."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace

import httpx

from smart_support.resilience.records import Answer

_OF_ONE_CALL = frozenset(
    {"x-correlation-id", "traceparent", "tracestate", "date", "content-length", "user-agent"}
)
"""Headers that differ from call to call and do not change the answer."""


@dataclass(slots=True)
class _Kept:
    answer: Answer
    since: float
    until: float
    used: int = 0


class StaleAnswers:
    """The least recently used ones go first when there is no room."""

    def __init__(self, most_bytes: int, most_in_a_row: int) -> None:
        self._most_bytes = most_bytes
        self._most_in_a_row = most_in_a_row
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self.bytes = 0

    def keep(self, request: httpx.Request, answer: Answer, now: float, seconds: float) -> None:
        """Remember `answer` for `seconds`."""
        key = key_of(request)
        self._drop(key)
        if len(answer.body) > self._most_bytes:
            return
        self._kept[key] = _Kept(answer, now, now + seconds)
        self.bytes += _size(answer)
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def instead(self, request: httpx.Request, now: float) -> Answer | None:
        """An earlier answer to the very same request, marked as stale, if one may still be used."""
        key = key_of(request)
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now >= kept.until:
            self._drop(key)
            return None
        if kept.used >= self._most_in_a_row:
            return None
        kept.used += 1
        self._kept.move_to_end(key)
        return replace(kept.answer, stale=True, age=now - kept.since)

    def _drop(self, key: bytes) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self.bytes -= _size(dropped.answer)


def key_of(request: httpx.Request) -> bytes:
    """What makes two requests the same: everything that may change the answer.

    Credentials are part of it, so that nobody is given the answer to somebody else.
    """
    digest = hashlib.sha256(f"{request.method} {request.url}\n".encode())
    for name, value in sorted(request.headers.raw):
        if name.lower().decode("latin-1") not in _OF_ONE_CALL:
            digest.update(name.lower() + b":" + value + b"\n")
    digest.update(request.content)
    return digest.digest()


def _size(answer: Answer) -> int:
    return len(answer.body) + 2_048  # headers and bookkeeping, roughly
