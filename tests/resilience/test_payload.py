import json
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.faults import gzip_bomb

from smart_support.events.postgres import storable
from smart_support.resilience.body import TooLarge, read_body
from smart_support.resilience.payload import MAX_DEPTH, UnreadableAnswer, read_json


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1}', {"a": 1}),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"n":NaN,"i":-Infinity}', {"n": None, "i": None}),
        (b"[18446744073709551616]", ["18446744073709551616"]),
        (b"[9007199254740993]", [9007199254740993]),
        (b"[-9223372036854775808]", [-(2**63)]),
        (b"[1e999, -1e999]", ["1e999", "-1e999"]),
        (b'["\\ud800"]', ["\ud800"]),
        (b"null", None),
        (b" 1 ", 1),
    ],
)
def test_reads_what_other_apis_write(body: bytes, value: object) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b'{"ok":tru',
        b"<html>gateway</html>",
        b'{"ok":"\xff\xfe"}',
        '{"ok":true}'.encode("utf-16"),
        b"[" * 200_000 + b"]" * 200_000,
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b'{"n":' + b"9" * 20_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_refuses_what_is_none(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer) as raised:
        read_json(body)

    assert raised.value.__cause__ is None  # an upstream's text stays out of the log


def test_the_deepest_that_is_read() -> None:
    body = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH

    assert storable(read_json(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_read_can_be_stored(value: object) -> None:
    """Numbers, NaN, NUL and lone surrogates as Python writes them, as a careless API would."""
    stored = storable(read_json(json.dumps(value).encode()))

    text = orjson.dumps(stored).decode()
    assert "\\u0000" not in text
    assert storable(json.loads(text)) == stored


@given(st.binary(max_size=200))
def test_no_body_whatever_breaks_it(body: bytes) -> None:
    try:
        value = read_json(body)
    except UnreadableAnswer:
        return
    orjson.dumps(storable(value))


class Piecemeal(httpx.AsyncByteStream):
    """A body that comes in pieces, as from a network."""

    def __init__(self, body: bytes, size: int) -> None:
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def test_a_gibibyte_of_gzip_costs_less_than_sixteen_mebibytes() -> None:
    bomb = gzip_bomb(1024)
    response = httpx.Response(
        200, headers={"Content-Encoding": "gzip"}, stream=Piecemeal(bomb, 65_536)
    )
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(TooLarge):
            await read_body(response, 2 * 1024 * 1024)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

    assert peak < 16 * 1024 * 1024


@given(body=st.binary(max_size=5_000), size=st.integers(1, 700), name=st.sampled_from("gd"))
async def test_a_body_arrives_whole_however_it_is_cut(body: bytes, size: int, name: str) -> None:
    import gzip
    import zlib

    packed, encoding = (
        (gzip.compress(body), "gzip") if name == "g" else (zlib.compress(body), "deflate")
    )
    response = httpx.Response(
        200, headers={"Content-Encoding": encoding}, stream=Piecemeal(packed, size)
    )

    assert await read_body(response, 5_000) == body
