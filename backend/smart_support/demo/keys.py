"""Carry out a request once per Idempotency-Key.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from smart_support.demo.problems import conflict, invalid
from smart_support.demo.records import State, StoredAnswer

KEPT_FOR = timedelta(hours=24)
REPLAYED = "Idempotent-Replayed"


class IdempotencyKeys:
    """The keys of requests that run (in memory) and of those that took effect (in the state).

    A refused request changed nothing, so its key is free again.
    """

    def __init__(self, state: State) -> None:
        self._answers = state.answers
        self._running: set[str] = set()

    @contextmanager
    def claim(self, key: str, fingerprint: str, now: datetime) -> Iterator[StoredAnswer | None]:
        """Hold `key` while its request runs; gives the stored answer if it has run before.

        Raises:
            Problem: 409 if the first request still runs, 422 if the key had another request.
        """
        self._forget(now)
        if key in self._running:
            raise conflict("key_in_use", "A request with this Idempotency-Key is still running.")
        stored = self._answers.get(key)
        if stored is not None and stored.fingerprint != fingerprint:
            raise invalid("key_reused", "This Idempotency-Key was used for another request.")
        self._running.add(key)
        try:
            yield stored
        finally:
            self._running.discard(key)

    def keep(self, key: str, answer: StoredAnswer) -> None:
        """Remember how the request of `key` was answered."""
        self._answers[key] = answer

    def _forget(self, now: datetime) -> None:
        expired = []
        for key, answer in self._answers.items():  # oldest first, so the rest is younger
            if now - answer.at < KEPT_FOR:
                break
            expired.append(key)
        for key in expired:
            del self._answers[key]


def fingerprint(method: str, path: str, query: str, body: bytes) -> str:
    """Name a request by what it asks for; two spellings of the same JSON are the same."""
    try:
        content = json.dumps(json.loads(body), sort_keys=True).encode()
    except ValueError:
        content = body
    digest = hashlib.sha256()
    for part in (method.encode(), path.encode(), query.encode(), content):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
