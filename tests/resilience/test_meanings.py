"""What a call must make of each thing that an upstream can do to it: a table, and its check."""

import gzip
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from tests.support.faults import (
    FaultServer,
    Step,
    after_effect,
    drip,
    flood,
    gzip_bomb,
    half,
    hang,
    head,
    ok,
    raw,
    reset,
    stale,
    status,
)
from tests.support.upstreams import Calls

from smart_support.errors import ErrorCategory
from smart_support.resilience.upstream import CallFailed

RETRYABLE, NON_RETRYABLE = ErrorCategory.RETRYABLE, ErrorCategory.NON_RETRYABLE
NETWORK, TIMEOUT = ErrorCategory.NETWORK, ErrorCategory.TIMEOUT
AUTH_FAILURE = ErrorCategory.AUTH_FAILURE

SHORT = {"total": 2.0, "attempt": 0.2}
"""Seconds for what never answers."""

AHEAD = datetime.now(UTC) + timedelta(hours=1)
CLOCK_AHEAD = (
    "HTTP/1.1 429 -\r\n"
    f"Date: {format_datetime(AHEAD, usegmt=True)}\r\n"
    f"Retry-After: {format_datetime(AHEAD + timedelta(seconds=2), usegmt=True)}\r\n"
    "Content-Length: 0\r\n\r\n"
).encode()
"""Asks to wait two seconds, by a clock that is an hour ahead."""


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """A script of the upstream, and what a call of it comes to.

    Attributes:
        failed: (category, outcome, code), or None where the call succeeds.
        waits: the least of each wait between attempts, in seconds; None if it is no matter.
        keyed: the request carries an idempotency key that the upstream keeps.
        calls: how many calls are made, one after the other; the last one is judged.
    """

    name: str
    steps: tuple[Step, ...]
    attempts: int
    method: str = "GET"
    failed: tuple[ErrorCategory, str, str] | None = None
    effects: int | None = None
    waits: tuple[float, ...] | None = None
    keyed: bool = False
    repeatable: bool = False
    calls: int = 1
    body: bytes | None = None
    retry_after: float | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def unavailable(code: int = 503) -> tuple[Step, Step]:
    return (status(code), ok())


def posted(name: str, then: Step, **changes: Any) -> Meaning:
    """A keyless POST whose effect happened and whose answer is lost: sent once, and said so."""
    expected: dict[str, Any] = {"failed": (NETWORK, "unknown", "API_UNREACHABLE")}
    return Meaning(
        name=f"write: {name} after the effect",
        method="POST",
        steps=(after_effect(then), ok()),
        attempts=1,
        effects=1,
        **expected | changes,
    )


def keyed(name: str, then: Step, **changes: Any) -> Meaning:
    """The same with a key: sent again, and in effect once."""
    return Meaning(
        name=f"keyed: {name} after the effect",
        method="POST",
        keyed=True,
        steps=(after_effect(then), ok()),
        **{"attempts": 2, "effects": 1} | changes,
    )


UNAVAILABLE = (RETRYABLE, "unknown", "API_UNAVAILABLE")
LOST = (NETWORK, "rejected", "API_UNREACHABLE")
TOO_LARGE = (NON_RETRYABLE, "rejected", "API_ANSWER_TOO_LARGE")
UNREADABLE = (NON_RETRYABLE, "rejected", "API_ANSWER_UNREADABLE")
SLOW = (TIMEOUT, "rejected", "API_TIMEOUT")
CHUNKED = head(200, "Transfer-Encoding: chunked")
GZIP = "Content-Encoding: gzip"
EMPTY_GZIP_CHUNK = b"fa0\r\n" + gzip.compress(b"", mtime=0) * 200 + b"\r\n"

TABLE = [
    Meaning(name="basic: an answer", steps=(ok(),), attempts=1, body=b'{"ok":true}'),
    Meaning(name="basic: a post", method="POST", steps=(ok(),), attempts=1, effects=1),
    Meaning(
        name="basic: HTTP/1.0, its body ended by the end",
        steps=(raw(b'HTTP/1.0 200 OK\r\n\r\n{"ok":true}'),),
        attempts=1,
        body=b'{"ok":true}',
    ),
    Meaning(
        name="basic: early hints go before the answer",
        steps=(raw(b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + head(200, length=2) + b"{}"),),
        attempts=1,
        body=b"{}",
    ),
    Meaning(
        name="basic: no content, whatever type it has",
        steps=(raw(head(204, "Content-Type: application/json", GZIP)),),
        attempts=1,
        body=b"",
    ),
    Meaning(
        name="basic: gzip", steps=(ok(gzip.compress(b"{}"), GZIP),), attempts=1, body=b"{}"
    ),
    Meaning(
        name="basic: gzip of two members",
        steps=(ok(gzip.compress(b"[1,") + gzip.compress(b"2]"), GZIP),),
        attempts=1,
        body=b"[1,2]",
    ),
    Meaning(
        name="basic: deflate with its header",
        steps=(ok(zlib.compress(b"{}"), "Content-Encoding: deflate"),),
        attempts=1,
        body=b"{}",
    ),
    Meaning(
        name="basic: deflate without its header",
        steps=(ok(zlib.compress(b"{}")[2:-4], "Content-Encoding: deflate"),),
        attempts=1,
        body=b"{}",
    ),
    *(
        Meaning(name=f"transient: {code} once", steps=unavailable(code), attempts=2)
        for code in (408, 425, 429, 500, 502, 503, 504)
    ),
    Meaning(name="transient: 503 twice", steps=(status(503), *unavailable()), attempts=3),
    Meaning(
        name="transient: 503 always",
        steps=(status(503),),
        attempts=3,
        failed=(RETRYABLE, "rejected", "API_UNAVAILABLE"),
    ),
    Meaning(
        name="transient: PUT reviewed as idempotent",
        method="PUT",
        repeatable=True,
        steps=(after_effect(status(503)), ok()),
        attempts=2,
        effects=2,
    ),
    Meaning(
        name="retry-after: seconds",
        steps=(status(503, retry_after="2"), ok()),
        attempts=2,
        waits=(2.0,),
    ),
    Meaning(
        name="retry-after: a date of the upstream's clock, which is an hour ahead",
        steps=(
            raw(CLOCK_AHEAD),
            ok(),
        ),
        attempts=2,
        waits=(2.0,),
    ),
    *(
        Meaning(
            name=f"retry-after: {text!r} is ours to decide",
            steps=(status(429, retry_after=text), ok()),
            attempts=2,
            waits=(0.0,),
        )
        for text in ("-5", "soon-ish", "0", "", "1e3", "Mon, 01 Jan 2001 00:00:00 GMT")
    ),
    Meaning(
        name="retry-after: 400 digits",
        steps=(status(429, retry_after="9" * 400), ok()),
        attempts=1,
        failed=(RETRYABLE, "rejected", "API_RATE_LIMITED"),
    ),
    Meaning(
        name="retry-after: beyond the deadline fails at once, and says when",
        steps=(status(429, retry_after="60"), ok()),
        attempts=1,
        failed=(RETRYABLE, "rejected", "API_RATE_LIMITED"),
        retry_after=60.0,
        waits=(),
    ),
    Meaning(
        name="retry-after: a keyless POST too, since a 429 was not processed",
        method="POST",
        steps=(status(429, retry_after="1"), ok()),
        attempts=2,
        effects=1,
        waits=(1.0,),
    ),
    Meaning(
        name="retry-after: a 429 without it waits longer than a 503",
        steps=(status(429), ok()),
        attempts=2,
        waits=(0.5,),
    ),
    *(
        Meaning(
            name=f"permanent: {code}",
            steps=(status(code), ok()),
            attempts=1,
            failed=(category, "rejected", name),
        )
        for code, category, name in (
            (400, NON_RETRYABLE, "API_REJECTED"),
            (401, AUTH_FAILURE, "API_AUTH"),
            (403, AUTH_FAILURE, "API_AUTH"),
            (404, NON_RETRYABLE, "API_NOT_FOUND"),
            (409, NON_RETRYABLE, "API_REJECTED"),
            (410, NON_RETRYABLE, "API_REJECTED"),
            (422, NON_RETRYABLE, "API_REJECTED"),
            (501, NON_RETRYABLE, "API_REJECTED"),
        )
    ),
    Meaning(
        name="permanent: a refused write changed nothing",
        method="POST",
        steps=(status(422), ok()),
        attempts=1,
        effects=0,
        failed=(NON_RETRYABLE, "rejected", "API_REJECTED"),
    ),
    *(
        Meaning(
            name=f"permanent: {code} is not followed",
            steps=(status(code, "Location: /elsewhere"), ok()),
            attempts=1,
            failed=(NON_RETRYABLE, "rejected", "API_REDIRECTED"),
        )
        for code in (301, 302, 307)
    ),
    Meaning(name="network: a reset", steps=(reset(), ok()), attempts=2),
    Meaning(name="network: the end instead of an answer", steps=(raw(b""), ok()), attempts=2),
    Meaning(name="network: half a body", steps=(half(), ok()), attempts=2),
    Meaning(name="network: half a body, reset", steps=(half(with_reset=True), ok()), attempts=2),
    Meaning(name="network: no HTTP", steps=(raw(b"\x16\x03\x01 z\r\n\r\n"), ok()), attempts=2),
    Meaning(
        name="network: a chunk that is none",
        steps=(raw(CHUNKED + b"5\r\n{\"ok\"\r\nZZ\r\nboom"),),
        attempts=3,
        failed=LOST,
    ),
    Meaning(
        name="network: chunks without an end",
        steps=(raw(CHUNKED + b"2\r\n{}\r\n"), ok()),
        attempts=2,
    ),
    Meaning(
        name="network: two lengths",
        steps=(raw(head(200, "Content-Length: 2", length=5) + b"{}123"),),
        attempts=3,
        failed=LOST,
    ),
    Meaning(
        name="network: gzip that breaks off",
        steps=(ok(gzip.compress(b"{}" * 99)[:-12], GZIP), ok()),
        attempts=2,
    ),
    Meaning(
        name="network: a kept connection that was closed meanwhile, a read",
        steps=(stale(),),
        calls=2,
        attempts=3,
    ),
    Meaning(
        name="network: a kept connection that was closed meanwhile, keyed",
        method="POST",
        keyed=True,
        steps=(stale(),),
        calls=2,
        attempts=3,
        effects=2,
    ),
    Meaning(
        name="network: a keyless write goes over no kept connection",
        method="POST",
        steps=(stale(),),
        calls=2,
        attempts=2,
        effects=2,
    ),
    posted("a reset", reset()),
    posted("the end", raw(b"")),
    posted("half an answer", half()),
    *(posted(f"a {code}", status(code), failed=UNAVAILABLE) for code in (500, 502, 503, 504)),
    posted("a 408", status(408), failed=(RETRYABLE, "unknown", "API_TIMEOUT")),
    posted(
        "a redirect", status(303), failed=(NON_RETRYABLE, "unknown", "API_REDIRECTED")
    ),
    posted("silence", hang(), failed=(TIMEOUT, "unknown", "API_TIMEOUT"), plan=SHORT),
    posted(
        "too large an answer",
        raw(head(200, length=200) + b"x" * 200),
        failed=(NON_RETRYABLE, "unknown", "API_ANSWER_TOO_LARGE"),
        plan={"max_bytes": 100},
    ),
    keyed("a reset", reset()),
    keyed("half an answer", half()),
    keyed("a 503", status(503)),
    keyed("silence", hang(), plan={"total": 9.0, "attempt": 0.5}),
    Meaning(
        name="keyed: the first one still running is waited for",
        method="POST",
        keyed=True,
        steps=(after_effect(reset()), status(409), ok()),
        attempts=3,
        effects=1,
    ),
    Meaning(
        name="keyed: the first one running for ever stays unknown",
        method="POST",
        keyed=True,
        steps=(after_effect(reset()), status(409)),
        attempts=3,
        failed=(RETRYABLE, "unknown", "API_STILL_RUNNING"),
    ),
    Meaning(
        name="keyed: a conflict at once is the API's no",
        method="POST",
        keyed=True,
        steps=(status(409),),
        attempts=1,
        failed=(NON_RETRYABLE, "rejected", "API_REJECTED"),
    ),
    Meaning(
        name="keyed: a refusal answers for the lost attempt too",
        method="POST",
        keyed=True,
        steps=(reset(), status(422)),
        attempts=2,
        failed=(NON_RETRYABLE, "rejected", "API_REJECTED"),
    ),
    Meaning(
        name="keyed: an expired credential does not",
        method="POST",
        keyed=True,
        steps=(after_effect(reset()), status(401)),
        attempts=2,
        failed=(AUTH_FAILURE, "unknown", "API_AUTH"),
    ),
    Meaning(
        name="repeated: what is gone now may have been deleted by the lost attempt",
        method="DELETE",
        repeatable=True,
        steps=(after_effect(reset()), status(404)),
        attempts=2,
        failed=(NON_RETRYABLE, "unknown", "API_NOT_FOUND"),
    ),
    Meaning(name="time: silence", steps=(hang(),), attempts=3, failed=SLOW, plan=SHORT),
    Meaning(
        name="time: silence once", steps=(hang(), ok()), attempts=2, plan={"attempt": 0.5}
    ),
    Meaning(
        name="time: half a head, then silence",
        steps=(hang(head(200)[:20]),),
        attempts=3,
        failed=SLOW,
        plan=SHORT,
    ),
    Meaning(
        name="time: a head that drips",
        steps=(drip(b"HTTP/1.1 200 OK\r\nX-Pad: ", b"x"),),
        attempts=3,
        failed=SLOW,
        plan=SHORT,
    ),
    Meaning(
        name="time: a body that drips",
        steps=(drip(head(200, length=99_999)),),
        attempts=3,
        failed=SLOW,
        plan=SHORT,
    ),
    Meaning(
        name="time: the deadline cuts the running attempt",
        steps=(drip(head(200, length=99_999)),),
        attempts=1,
        failed=SLOW,
        plan={"total": 0.3, "attempt": 60.0},
    ),
    Meaning(
        name="time: a refusal whose body drips is a refusal",
        steps=(drip(head(401, length=99_999)),),
        attempts=1,
        failed=(AUTH_FAILURE, "rejected", "API_AUTH"),
        plan=SHORT,
    ),
    Meaning(
        name="size: the last byte that fits",
        steps=(ok(b"x" * 1_000),),
        attempts=1,
        plan={"max_bytes": 1_000},
    ),
    Meaning(
        name="size: the first byte that does not, announced",
        steps=(ok(b"x" * 1_001),),
        attempts=1,
        failed=TOO_LARGE,
        plan={"max_bytes": 1_000},
    ),
    Meaning(
        name="size: the first byte that does not, in chunks",
        steps=(raw(CHUNKED + b"3e9\r\n" + b"x" * 1_001 + b"\r\n0\r\n\r\n"),),
        attempts=1,
        failed=TOO_LARGE,
        plan={"max_bytes": 1_000},
    ),
    Meaning(
        name="size: without an end",
        steps=(flood(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),),
        attempts=1,
        failed=TOO_LARGE,
    ),
    Meaning(
        name="size: the last inflated byte that fits",
        steps=(ok(gzip.compress(b"x" * 1_000), GZIP),),
        attempts=1,
        plan={"max_bytes": 1_000},
    ),
    Meaning(
        name="size: the first inflated byte that does not",
        steps=(ok(gzip.compress(b"x" * 1_001), GZIP),),
        attempts=1,
        failed=TOO_LARGE,
        plan={"max_bytes": 1_000},
    ),
    Meaning(
        name="size: a bomb",
        steps=(ok(gzip_bomb(64), GZIP),),
        attempts=1,
        failed=TOO_LARGE,
    ),
    Meaning(
        name="size: gzip that never says anything",
        steps=(flood(head(200, "Transfer-Encoding: chunked", GZIP), EMPTY_GZIP_CHUNK),),
        attempts=1,
        failed=TOO_LARGE,
        plan={"max_bytes": 1_000},
    ),
    Meaning(
        name="size: a head without an end",
        steps=(flood(b"HTTP/1.1 200 OK\r\n", b"X-Line: " + b"v" * 1_000 + b"\r\n"),),
        attempts=3,
        failed=LOST,
    ),
    Meaning(
        name="size: a failure whose body is too large is that failure",
        steps=(status(404, body=b"x" * 70_000),),
        attempts=1,
        failed=(NON_RETRYABLE, "rejected", "API_NOT_FOUND"),
        plan={"max_bytes": 100},
    ),
    Meaning(
        name="form: no gzip", steps=(ok(b"garbage", GZIP),), attempts=1, failed=UNREADABLE
    ),
    Meaning(
        name="form: an encoding that was not asked for",
        steps=(ok(b"garbage", "Content-Encoding: br"),),
        attempts=1,
        failed=UNREADABLE,
    ),
    Meaning(
        name="form: encoded over and over",
        steps=(ok(b"garbage", "Content-Encoding: gzip, gzip, gzip"),),
        attempts=1,
        failed=UNREADABLE,
    ),
]  # fmt: skip

BY_NAME = {meaning.name: meaning for meaning in TABLE}


async def check(meaning: Meaning) -> None:
    """Make the call, and compare what it came to.

    Raises:
        AssertionError: it came to something else.
    """
    headers = {"Idempotency-Key": "k-1"} if meaning.keyed else None
    reads = meaning.method == "GET"
    plan: dict[str, Any] = {
        "repeatable": reads or meaning.keyed or meaning.repeatable,
        "keyed": meaning.keyed,
        **meaning.plan,
    }
    async with FaultServer() as server, Calls(server, **meaning.settings) as calls:
        server.script("/", *meaning.steps)
        for number in range(meaning.calls - 1):
            earlier = headers and {"Idempotency-Key": f"{number}"}
            await calls.call(meaning.method, headers=earlier, **plan)
        calls.reports.clear()
        began, waits = time.monotonic(), len(calls.time.waits)
        failure = answer = None
        try:
            answer = await calls.call(meaning.method, headers=headers, **plan)
        except CallFailed as error:
            failure = error
        took = time.monotonic() - began
        seen = server.seen("/")

        if meaning.failed is None:
            assert failure is None, failure
        else:
            assert failure is not None, "it succeeded"
            assert (failure.category, failure.outcome, failure.code) == meaning.failed
        assert seen.attempts == meaning.attempts
        assert len(calls.reports) == meaning.attempts - meaning.calls + 1
        assert took < plan.get("total", 5.0) + 1.0, "the deadline was not kept"
        if meaning.effects is not None:
            assert seen.effects == meaning.effects
        if meaning.body is not None:
            assert answer is not None
            assert answer.body == meaning.body
        if meaning.retry_after is not None:
            assert failure is not None
            assert failure.retry_after == meaning.retry_after
        if meaning.waits is not None:
            waited = calls.time.waits[waits:]
            assert len(waited) == len(meaning.waits)
            assert all(w >= least for w, least in zip(waited, meaning.waits, strict=True)), waited
        if meaning.keyed:
            assert len({each.get("idempotency-key") for each in seen.headers}) <= meaning.calls
        (state,) = calls.upstreams.states()
        assert (state.running, state.waiting) == (0, 0), "a place was not given back"


@pytest.mark.parametrize("meaning", TABLE, ids=lambda meaning: meaning.name)
async def test_each_thing_an_upstream_does_means(meaning: Meaning) -> None:
    await check(meaning)
