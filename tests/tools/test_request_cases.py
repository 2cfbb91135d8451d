"""Two tables of requests, the shared one and ours: each goes over a socket and is read from it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import jsonschema_rs
import pytest
from tests.operations.documents import SHARED, openapi, spec_of

from smart_support.operations.records import DraftOperation
from smart_support.operations.schema import fit
from smart_support.tools.arguments import ArgumentsInvalid
from smart_support.tools.request import build_request

CASES = SHARED / "conformance" / "request_cases.json"
OURS = Path(__file__).parents[1] / "operations" / "data" / "request_cases.json"
GIVEN = json.loads(CASES.read_text())["cases"] if CASES.exists() else []
ALL = GIVEN + json.loads(OURS.read_text())["cases"]


@dataclass
class Wire:
    """A loopback server that keeps what it was sent."""

    base: str
    method: str = ""
    target: str = ""
    headers: Message = field(default_factory=Message)
    raw: dict[str, bytes] = field(default_factory=dict)
    body: bytes = b""
    requests: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.method, self.target, _ = line.decode("ascii").split(" ")
        self.headers = BytesParser().parsebytes(rest)
        fields = (each.partition(b":") for each in rest.split(b"\r\n"))
        self.raw = {name.decode().lower(): value.strip() for name, _, value in fields}
        self.body = await reader.readexactly(int(self.headers.get("content-length", "0")))
        self.requests += 1
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire("")
    server = await asyncio.start_server(wire.answer, "127.0.0.1", 0)
    wire.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield wire


def read_case(case: dict[str, Any], base: str) -> tuple[DraftOperation, str]:
    item: dict[str, Any] = {"parameters": case.get("path_item_parameters", [])}
    at = item.setdefault("additionalOperations", {}) if "additional" in case else item
    at[case["method"]] = case["operation"]
    item |= {"servers": case["path_item_servers"]} if "path_item_servers" in case else {}
    more = {k: case[k] for k in ("components", "definitions", "parameters") if k in case}
    if case["openapi"] == "2.0":
        more |= {"host": base.removeprefix("http://"), "basePath": "/v1", "schemes": ["http"]}
    else:
        more["servers"] = case.get("servers", [{"url": "{BASE}/v1"}])
    document = json.loads(
        json.dumps(openapi({case["path"]: item}, case["openapi"], **more)).replace("{BASE}", base)
    )
    spec = spec_of(document)
    assert spec.skipped == ()
    assert spec.base_url is not None
    return spec.operations[0], spec.base_url


def named(operation: DraftOperation, args: dict[str, Any]) -> dict[str, Any]:
    """The case's arguments, given by location, under the names in the tool's schema."""
    found = {
        (p["location"], p["name"]): p["argument"] for p in operation.request_plan["parameters"]
    }
    arguments = {
        found[location, name]: value
        for location, given in args.items()
        if location not in {"argument", "body"}
        for name, value in given.items()
        if (location, name) in found
    }
    arguments |= args.get("argument", {})
    return arguments | ({"body": args["body"]} if "body" in args else {})


def path_and_query(target: str) -> tuple[list[str], list[tuple[str, str]]]:
    path, _, query = target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    return [unquote(part) for part in path.split("/")], pairs


def parts_of(wire: Wire) -> list[tuple[Any, Any]]:
    head = f"Content-Type: {wire.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + wire.body).get_payload()
    found: list[tuple[Any, Any]] = []
    for part in parts:
        assert isinstance(part, Message)
        text = part.get_payload(decode=True)
        assert isinstance(text, bytes)
        name = part.get_param("name", header="content-disposition")
        is_json = part.get_content_type() == "application/json"
        found.append((name, {"json": json.loads(text)} if is_json else text.decode()))
    return found


def check_body(wire: Wire, expected: dict[str, Any]) -> None:
    match expected:
        case {"json": value}:
            assert json.loads(wire.body) == value
        case {"form": pairs}:
            got = parse_qsl(wire.body.decode(), keep_blank_values=True, strict_parsing=True)
            assert got == [tuple(pair) for pair in pairs]
        case {"multipart": parts}:
            assert parts_of(wire) == [tuple(part) for part in parts]
        case {"raw": text}:
            assert wire.body == text.encode()
        case {"base64": text}:
            assert wire.body == base64.b64decode(text)
        case _:
            raise AssertionError(expected)


def check_parts(wire: Wire, expected: list[dict[str, Any]]) -> None:
    head = f"Content-Type: {wire.headers['content-type']}\r\n\r\n".encode()
    whole = BytesParser().parsebytes(head + wire.body)
    check_each(whole.get_payload(), expected)
    boundaries = [part.get_boundary() for part in whole.walk() if part.is_multipart()]
    assert len(set(boundaries)) == len(boundaries)


def check_each(parts: Any, expected: list[dict[str, Any]]) -> None:
    assert [part.get_param("name", header="content-disposition") for part in parts] == [
        wanted["name"] for wanted in expected
    ]
    for part, wanted in zip(parts, expected, strict=True):
        assert isinstance(part, Message)
        assert part.defects == []
        assert part.get_filename() == wanted.get("filename", part.get_filename())
        for name, value in wanted.get("headers", {}).items():
            assert part[name] == value
        if "parts" in wanted:
            assert part.get_content_type() == wanted["type"]
            if "param" in wanted:
                name, value = wanted["param"]
                assert part.get_param(name) == value
            check_each(part.get_payload(), wanted["parts"])
            continue
        # Not as decoded by what its transfer encoding says: as it was sent.
        del part["content-transfer-encoding"]
        content = part.get_payload(decode=True)
        if "base64" in wanted:
            assert content == base64.b64decode(wanted["base64"])
        else:
            assert content == wanted.get("encoded", wanted.get("body")).encode()


@pytest.mark.skipif(not GIVEN, reason=f"no conformance cases at {CASES.name}")
def test_has_the_whole_table() -> None:
    assert len(GIVEN) >= 37


@pytest.mark.parametrize("case", ALL, ids=[case["id"] for case in ALL])
async def test_sends_what_the_specification_says(case: dict[str, Any], wire: Wire) -> None:
    operation, base_url = read_case(case, wire.base)
    expect = case["expect"]
    try:
        request = build_request(
            operation.request_plan, named(operation, case["args"]), base_url=base_url
        )
    except ArgumentsInvalid:
        assert expect.get("or_no_request") or expect.get("no_request")
        return
    assert "no_request" not in expect
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.send(request)

    assert wire.method == expect.get("method", case["method"].upper())
    if "target" in expect and expect.get("compare") == "raw":
        assert wire.target == expect["target"]
    elif "target" in expect:
        assert path_and_query(wire.target) == path_and_query(expect["target"])
    if "target_any" in expect:
        assert wire.target in expect["target_any"]
    for name, value in expect.get("headers", {}).items():
        assert wire.headers[name] == value
    for name, value in expect.get("headers_utf8", {}).items():
        assert wire.raw[name] == value.encode()
    for name, value in expect.get("cookies", {}).items():
        assert f"{name}={value}" in wire.headers["cookie"].split("; ")
    assert (wire.headers["content-type"] or "").startswith(expect.get("content_type_prefix", ""))
    if "body" in expect:
        check_body(wire, expect["body"])
    if "parts" in expect:
        check_parts(wire, expect["parts"])
    offered = json.dumps(operation.schema)
    assert not [name for name in expect.get("schema_absent", ()) if f'"{name}"' in offered]


@pytest.mark.parametrize("case", ALL, ids=[case["id"] for case in ALL])
def test_offers_a_schema_that_takes_the_arguments(case: dict[str, Any]) -> None:
    operation, _ = read_case(case, "http://127.0.0.1:1")

    assert fit(dict(operation.schema)) == (operation.schema, False)
    valid = jsonschema_rs.is_valid(operation.schema, named(operation, case["args"]))
    assert valid is not case["expect"].get("schema_refuses", False)
