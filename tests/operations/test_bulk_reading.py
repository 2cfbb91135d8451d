"""Large documents are read by a process of their own, which never outlives its use."""

import asyncio
import json
import pickle

import psutil
import pytest
from tests.operations.documents import openapi

from smart_support.errors import NotFound, RateLimited, SupportError
from smart_support.operations.document import (
    FileBroken,
    FileNotOpenAPI,
    FileTooComplex,
    FileTooLarge,
)
from smart_support.operations.importing import read_aside
from smart_support.operations.reading import read_draft

DOCUMENT = json.dumps(openapi({f"/things/{n}": {"get": {}} for n in range(20)})).encode()
LIMIT = 10_000_000


def readers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children()
        if "smart_support.operations.reading" in " ".join(process.cmdline())
    ]


async def test_a_process_of_its_own_reads_the_same() -> None:
    here = read_draft(DOCUMENT, source="things.json", max_bytes=LIMIT)

    there = await read_aside(DOCUMENT, source="things.json", max_bytes=LIMIT, own_process_above=100)

    assert there == here
    assert all(operation.starts_at is not None for operation in there.operations)


async def test_a_small_document_needs_no_process() -> None:
    read = await read_aside(DOCUMENT, source="things.json", max_bytes=LIMIT, within=0.0)

    assert len(read.operations) == 20


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (b'{"openapi": "3.1.0",\n oops}', FileBroken, "line 2"),
        (b'{"swagger": "1.2"}', FileNotOpenAPI, "1.2"),
        (b"x: " + b"[" * 600 + b"]" * 600, FileTooComplex, "deeply"),
    ],
)
async def test_its_refusals_arrive_as_they_were_said(
    raw: bytes, kind: type[SupportError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await read_aside(raw, source="things.json", max_bytes=LIMIT, own_process_above=0)


async def test_one_that_is_too_large_is_refused_without_a_process() -> None:
    with pytest.raises(FileTooLarge):
        await read_aside(
            DOCUMENT, source="things.json", max_bytes=10, own_process_above=0, within=0.0
        )


async def test_is_ended_when_it_takes_too_long() -> None:
    with pytest.raises(FileTooComplex, match="takes more than"):
        await read_aside(
            DOCUMENT, source="things.json", max_bytes=LIMIT, own_process_above=0, within=0.01
        )

    assert readers() == []


async def test_is_ended_when_nobody_waits_any_more() -> None:
    reading = asyncio.create_task(
        read_aside(DOCUMENT, source="things.json", max_bytes=LIMIT, own_process_above=0)
    )
    async with asyncio.timeout(10):
        while not readers():
            await asyncio.sleep(0.005)

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert readers() == []


async def test_one_that_dies_is_a_document_too_much_for_it() -> None:
    reading = asyncio.create_task(
        read_aside(DOCUMENT, source="things.json", max_bytes=LIMIT, own_process_above=0)
    )
    async with asyncio.timeout(10):
        while not (found := readers()):
            await asyncio.sleep(0.005)

    found[0].kill()

    with pytest.raises(FileTooComplex, match="did not survive"):
        await reading


@pytest.mark.parametrize(
    "error",
    [
        FileTooLarge("x.json", 20, 10),
        FileBroken("x.json", "no", 3),
        RateLimited(1.5),
        NotFound("nothing"),
    ],
)
def test_errors_survive_pickling_whatever_made_them(error: SupportError) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
