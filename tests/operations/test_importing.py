"""A document from a file or a URL: what comes in, and each way in which it does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.operations.documents import openapi
from tests.support.upstream import Upstream, answers, breaks_off, drops, garbage, waits

from smart_support.database import Sessions
from smart_support.errors import SupportError
from smart_support.operations.document import FileTooLarge
from smart_support.operations.importing import (
    DocumentUnreachable,
    Imports,
    fetch_document,
    import_document,
    read_aside,
)
from smart_support.operations.postgres import PostgresOperations
from smart_support.operations.reading import Progress, read_draft
from smart_support.operations.records import Access

DOCUMENT = openapi(
    {"/orders": {"get": {"operationId": "list"}, "post": {"operationId": "make"}}},
    servers=[{"url": "/v1"}],
)
RAW = json.dumps(DOCUMENT).encode()
LIMIT = 10_000


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=False) as opened:
        yield opened


@pytest.fixture
async def site() -> AsyncIterator[Upstream]:
    async with Upstream() as opened:
        yield opened


async def fetched(client: httpx.AsyncClient, url: str, within: float = 5.0) -> bytes:
    return await fetch_document(client, url, within=within, max_bytes=LIMIT)


class TestFetching:
    async def test_gives_the_bytes(self, client: httpx.AsyncClient, site: Upstream) -> None:
        site.queue(answers(RAW))

        assert await fetched(client, f"{site.base_url}/openapi.json") == RAW

    @pytest.mark.parametrize("status", [204, 301, 302, 401, 404, 500])
    async def test_takes_nothing_but_a_document(
        self, client: httpx.AsyncClient, site: Upstream, status: int
    ) -> None:
        site.queue(answers(b"", status=status, headers={"location": "/elsewhere"}))

        with pytest.raises(DocumentUnreachable, match=f"status {status}"):
            await fetched(client, f"{site.base_url}/openapi.json")

        assert len(site.requests) == 1

    async def test_does_not_wait_for_ever(self, client: httpx.AsyncClient, site: Upstream) -> None:
        site.queue(waits(asyncio.Event()))

        with pytest.raises(DocumentUnreachable, match=r"did not answer within 0\.05 s"):
            await fetched(client, site.base_url, within=0.05)

        async with asyncio.timeout(5):
            await site.requests[0].hung_up.wait()

    async def test_stops_reading_at_the_limit(
        self, client: httpx.AsyncClient, site: Upstream
    ) -> None:
        site.queue(answers(b"x" * LIMIT), answers(b"x" * (LIMIT + 1)))

        assert len(await fetched(client, site.base_url)) == LIMIT
        with pytest.raises(FileTooLarge) as refusal:
            await fetched(client, site.base_url)

        assert refusal.value.status == 413

    @pytest.mark.parametrize("answer", [drops(), breaks_off(), garbage()])
    async def test_a_broken_answer_is_none(
        self, client: httpx.AsyncClient, site: Upstream, answer: Any
    ) -> None:
        site.queue(answer)

        with pytest.raises(DocumentUnreachable, match="could not be fetched"):
            await fetched(client, site.base_url)

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:1/x", "ftp://127.0.0.1/x", "nothing", "http://", "http://a\x00b"]
    )
    async def test_an_address_without_a_server_is_said_to_be_one(
        self, client: httpx.AsyncClient, url: str
    ) -> None:
        with pytest.raises(DocumentUnreachable, match="could not be fetched") as refusal:
            await fetched(client, url)

        assert not str(refusal.value).endswith(": .")


class TestReading:
    def test_suggests_what_each_operation_is(self) -> None:
        draft = read_draft(RAW, source="orders.json", max_bytes=LIMIT)

        assert {each.tool_name: each.suggestion.access for each in draft.operations} == {
            "list": Access.READ,
            "make": Access.WRITE,
        }
        assert all(each.suggestion.reasons for each in draft.operations)

    @pytest.mark.parametrize(
        ("raw", "code", "said"),
        [
            (b"", "FILE_EMPTY", ""),
            (b" \n ", "FILE_EMPTY", ""),
            (b'{"openapi": "3.1.0",\n "info": }', "FILE_BROKEN", "line 2"),
            (b"openapi: 3.1.0\ninfo: {\n", "FILE_BROKEN", "line"),
            (b"\xff\xfe\x00", "FILE_BROKEN", ""),
            (b"just words", "FILE_NOT_OPENAPI", ""),
            (b"[]", "FILE_NOT_OPENAPI", ""),
            (b'{"openapi": "9.9"}', "FILE_NOT_OPENAPI", ""),
            (b"x" * (LIMIT + 1), "FILE_TOO_LARGE", str(LIMIT)),
        ],
        ids=range(9),
    )
    async def test_what_is_no_document_is_refused_and_nothing_is_stored(
        self, sessions: Sessions, raw: bytes, code: str, said: str
    ) -> None:
        operations = PostgresOperations(sessions)

        with pytest.raises(SupportError) as refusal:
            await import_document(
                operations, raw, source="orders.json", name=None, by="me", max_bytes=LIMIT
            )

        assert refusal.value.code == code
        assert said in str(refusal.value)
        assert "orders.json" in str(refusal.value)
        assert await operations.specs() == ()


class TestProgress:
    async def test_is_told_stage_by_stage(self) -> None:
        heard: list[Progress] = []
        paths = {f"/things/{n}": {"get": {}} for n in range(120)}
        raw = json.dumps(openapi(paths)).encode()

        await read_aside(
            raw, source="a.json", max_bytes=10**6, own_process_above=0, told=heard.append
        )

        assert [each.stage for each in heard] == ["reading", *["converting"] * 3, "locating"]
        assert [(each.done, each.total) for each in heard[1:4]] == [(0, 120), (50, 120), (100, 120)]

    def test_is_known_while_it_goes_on_to_whom_it_belongs(self) -> None:
        imports = Imports()

        with imports.watched("i1", "me") as told, imports.watched(None, "me") as untold:
            untold(Progress("storing"))
            told(Progress("converting", 1, 2))
            assert imports.progress("i1", "me") == Progress("converting", 1, 2)
            assert imports.progress("i1", "you") is None

        assert imports.progress("i1", "me") is None


class TestNaming:
    @pytest.mark.parametrize(
        ("title", "name", "source", "called"),
        [
            ("Shop", "Mine", "orders.json", "Mine"),
            ("Shop", None, "orders.json", "Shop"),
            ("", None, "files/orders.v2.json", "orders.v2"),
            ("", None, "https://shop.example/api/openapi.json?x=1", "openapi"),
            ("", None, "https://shop.example/", "API"),
            ("t" * 300, None, "orders.json", "t" * 100),
        ],
    )
    async def test_takes_the_best_name_that_there_is(
        self, sessions: Sessions, title: str, name: str | None, source: str, called: str
    ) -> None:
        raw = json.dumps({**DOCUMENT, "info": {"title": title, "version": "1"}}).encode()

        result = await import_document(
            PostgresOperations(sessions),
            raw,
            source=source,
            name=name,
            by="me",
            max_bytes=LIMIT,
        )

        assert result.spec.name == called
        assert result.spec.source == source
