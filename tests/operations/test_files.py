"""Documents in several files: one root, nothing from outside of it, and no file read in vain."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.operations.documents import openapi

from smart_support.operations.document import (
    FileBroken,
    FileNotOpenAPI,
    FileTooComplex,
    FileTooLarge,
)
from smart_support.operations.evidence import evidence_of
from smart_support.operations.files import MAX_FILES, open_bundle, pack, refers_to_files
from smart_support.operations.reading import read_draft
from smart_support.operations.records import DraftSpec

LIMIT = 100_000


def zipped(files: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content if isinstance(content, bytes) else json.dumps(content))
    return packed.getvalue()


def tarred(files: dict[str, Any], mode: str = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for path, content in files.items():
            raw = json.dumps(content).encode()
            info = tarfile.TarInfo(path)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return packed.getvalue()


def drafted(raw: bytes, source: str = "shop.zip", max_bytes: int = LIMIT) -> DraftSpec:
    return read_draft(raw, source=source, max_bytes=max_bytes)


def main_of(paths: Any, **more: Any) -> dict[str, Any]:
    return openapi(paths, **more)


SET = {
    "openapi.json": main_of(
        {
            "/orders": {"$ref": "paths/orders.json"},
            "/notes": {"$ref": "./paths/all.json#/~1notes"},
        },
        components={"schemas": {"Id": {"type": "integer"}}},
    ),
    "paths/orders.json": {
        "post": {
            "operationId": "makeOrder",
            "parameters": [{"$ref": "../parameters.json#/trace"}],
            "requestBody": {
                "content": {"application/json": {"schema": {"$ref": "../models/Order.json"}}}
            },
        }
    },
    "paths/all.json": {"/notes": {"get": {"operationId": "notes"}}},
    "parameters.json": {
        "trace": {"name": "trace", "in": "query", "schema": {"$ref": "models/Trace.json#/T"}}
    },
    "models/Order.json": {
        "properties": {
            "id": {"$ref": "../openapi.json#/components/schemas/Id"},
            "parent": {"$ref": "Order.json"},
            "lines": {"items": {"$ref": "#/x-line"}},
        },
        "x-line": {"type": "string"},
    },
    "models/Trace.json": {"T": {"type": "string", "maxLength": 3}},
}


class TestArchives:
    @pytest.mark.parametrize(
        "raw",
        [zipped(SET), tarred(SET), tarred(SET, "w:gz"), zipped({f"top/{p}": SET[p] for p in SET})],
        ids=["zip", "tar", "tar.gz", "in a folder"],
    )
    def test_are_one_document(self, raw: bytes) -> None:
        draft = drafted(raw)

        assert draft.skipped == ()
        make, notes = draft.operations
        assert (make.tool_name, notes.tool_name) == ("makeOrder", "notes")
        definitions = make.schema["$defs"]
        order = make.schema["properties"]["body"]["$ref"].removeprefix("#/$defs/")
        assert order.startswith("Order_")
        fields = definitions[order]["properties"]
        assert fields["parent"] == {"$ref": f"#/$defs/{order}"}
        assert definitions["Id"] == {"type": "integer"}
        assert fields["id"] == {"$ref": "#/$defs/Id"}
        assert {"type": "string", "maxLength": 3} in definitions.values()

    def test_of_one_compressed_file_are_that_file(self) -> None:
        raw = gzip.compress(json.dumps(main_of({"/a": {"get": {}}})).encode())

        assert [each.key for each in drafted(raw, "a.json.gz").operations] == ["GET /a"]

    def test_show_the_lines_of_their_main_file(self) -> None:
        raw = zipped({"openapi.json": json.dumps(main_of({"/a": {"get": {}}}), indent=1).encode()})
        (operation,) = drafted(raw).operations
        assert operation.starts_at is not None
        assert operation.ends_at is not None

        shown = evidence_of(
            raw, source="shop.zip", pointer=operation.pointer,
            place=(operation.starts_at, operation.ends_at),
        )  # fmt: skip

        assert shown.lines[shown.highlight_first - shown.first_line].strip() == '"get": {}'

    @pytest.mark.parametrize(
        ("names", "source", "main"),
        [
            (["b/openapi.json", "other.json"], "x.zip", "other.json"),
            (["swagger.json", "zebra.json"], "x.zip", "swagger.json"),
            (["a.json", "b.json"], "x.zip!/b.json", "b.json"),
            (["a.json", "b.json"], "x.zip!/./b.json", "b.json"),
        ],
    )
    def test_have_the_main_file_that_is_likeliest_or_named(
        self, names: list[str], source: str, main: str
    ) -> None:
        raw = zipped({name: main_of({}) for name in names} | {"c.json": {"type": "string"}})

        assert open_bundle(raw, source=source, max_bytes=LIMIT).path == main

    @pytest.mark.parametrize(
        ("files", "source", "said"),
        [
            ({"a.json": main_of({}), "b.json": main_of({})}, "x.zip", r"a\.json, b\.json.*!/a"),
            ({"a.json": {"x": 1}, "b.txt": main_of({})}, "x.zip", "no file in it"),
            ({"a.json": main_of({})}, "x.zip!/c.json", "no file c.json"),
            ({}, "x.zip", "no file in it"),
        ],
    )
    def test_without_one_main_file_are_refused(
        self, files: dict[str, Any], source: str, said: str
    ) -> None:
        with pytest.raises(FileNotOpenAPI, match=said):
            drafted(zipped(files), source)

    @pytest.mark.parametrize(
        "raw",
        [
            b"PK\x03\x04" + b"x" * 100,
            zipped(SET)[:-30],
            b"\x1f\x8bnot really",
            tarred(SET)[:700],
        ],
    )
    def test_that_are_damaged_are_said_to_be(self, raw: bytes) -> None:
        with pytest.raises((FileBroken, FileNotOpenAPI)):
            drafted(raw)

    def test_that_grow_are_not_unpacked(self) -> None:
        bomb = b"[" + b" " * 10 * LIMIT + b"]"
        whole = zipped({"openapi.json": main_of({"/a": {"$ref": "big.json"}}), "big.json": bomb})

        (skipped,) = drafted(whole).skipped
        assert "limit is" in skipped.reason
        for raw in (gzip.compress(bomb), zipped({"openapi.json": bomb})):
            assert len(raw) < LIMIT
            with pytest.raises(FileTooLarge):
                drafted(raw)

    def test_of_too_many_files_are_refused(self) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for number in range(MAX_FILES + 1):
                archive.writestr(f"{number}", b"")

        with pytest.raises(FileTooComplex, match="more than"):
            drafted(packed.getvalue(), max_bytes=10**8)


class TestReferences:
    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("../secret.json", "outside of the import"),
            ("/etc/passwd", "outside of the import"),
            ("a/../../secret.json", "outside of the import"),
            ("%2e%2e/secret.json", "outside of the import"),
            ("..\\secret.json", "outside of the import"),
            ("file:///etc/passwd", "another site"),
            ("http://127.0.0.1/a.json", "another site"),
            ("https://h.example/a.json#/x", "another site"),
            ("//h.example/a.json", "another site"),
            ("none.json", "none.json, which is not there"),
            ("broken.json", "broken.json, line 1"),
            ("deep.json", "nested too deeply"),
            ("orders.json#/no", "which is not there"),
            ("loop.json", "refers to itself"),
        ],
    )
    def test_cost_what_needs_them_and_say_why(self, reference: str, said: str) -> None:
        files = {
            "openapi.json": main_of({"/a": {"$ref": reference}, "/b": {"get": {}}}),
            "../secret.json": {"get": {}},
            "orders.json": {},
            "broken.json": b"{,",
            "deep.json": b"[" * 2_000,
            "loop.json": {"$ref": "loop.json"},
        }

        draft = drafted(zipped(files))

        assert [each.key for each in draft.operations] == ["GET /b"]
        (skipped,) = draft.skipped
        assert (skipped.key, skipped.line) == ("/a", 1)
        assert said in skipped.reason

    def test_of_a_document_that_came_alone_ask_for_its_files(self) -> None:
        raw = json.dumps(main_of({"/a": {"$ref": "paths.json#/a"}}), indent=1).encode()

        (skipped,) = drafted(raw, "shop.json").skipped

        assert "another file (paths.json#/a)" in skipped.reason
        assert "together with its files" in skipped.reason
        assert raw.decode().split("\n")[(skipped.line or 0) - 1].strip().startswith('"/a"')

    def test_in_what_an_alias_repeats_are_followed_once(self) -> None:
        files = {
            "openapi.yaml": b"openapi: 3.1.0\npaths:\n  /a: &a {$ref: p/a.json}\n  /b: *a\n",
            "p/a.json": {"get": {"parameters": [{"$ref": "q.json"}]}},
            "p/q.json": {"name": "q", "in": "query"},
        }

        draft = drafted(zipped(files))

        assert [each.key for each in draft.operations] == ["GET /a", "GET /b"]
        assert all(each.schema["properties"].keys() == {"q"} for each in draft.operations)

    @pytest.mark.parametrize(
        ("text", "refers"),
        [
            ("$ref: 'a.yml#/x'", True),
            ('{"$ref": "a.json"}', True),
            ("$ref: a.yml", True),
            ("$ref: '#/x'", False),
            ('{"$ref":"#/x"}', False),
            ('{"$ref":"https://h/x"}', False),
            ("ref: a.yml", False),
        ],
    )
    def test_are_seen_from_afar(self, text: str, refers: bool) -> None:
        assert refers_to_files(text.encode()) is refers


class TestDirectories:
    def lay(self, root: Path) -> Path:
        for path, content in SET.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(json.dumps(content))
        return root

    def test_are_packed_with_what_a_document_can_refer_to(self, tmp_path: Path) -> None:
        root = self.lay(tmp_path / "shop")
        (root / "readme.txt").write_text("no")
        (tmp_path / "secret.json").write_text("{}")
        (root / "link.json").symlink_to(tmp_path / "secret.json")
        (root / "near.json").symlink_to(root / "parameters.json")
        hidden = root / ".git"
        hidden.mkdir()
        (hidden / "x.json").write_text("{}")

        raw = pack(root, LIMIT)

        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            assert sorted(archive.namelist()) == sorted([*SET, "near.json"])
        assert len(drafted(raw, str(root)).operations) == 2

    def test_are_the_same_bytes_for_the_same_content(self, tmp_path: Path) -> None:
        raw = pack(self.lay(tmp_path / "a"), LIMIT)

        assert pack(self.lay(tmp_path / "b"), LIMIT) == raw

    def test_that_hold_too_much_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FileTooLarge):
            pack(self.lay(tmp_path), 50)
