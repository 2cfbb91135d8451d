"""OpenAPI documents into tools, beside reading the same document as JSON."""

import json
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import schemathesis
from tests.bench.figures import Figure
from tests.bench.processes import ROOT

from smart_support.operations.document import Document, Unusable, read_document
from smart_support.operations.spec import Catalogue, read_operations

SECTION = "A document, median (least–most) over documents (floor: json.loads of the same)"
SPECS = ROOT.parent / "shared" / "specs"
"""Real documents, present on development machines only; elsewhere one is made up."""
PEER_BYTES = 1_500_000
"""Largest document that the library is given, which takes it a second and more."""


def convert(document: Document) -> int:
    """Turn every operation into a tool: name, schema, request plan, hash. How many there are."""
    catalogue = Catalogue(document)
    converted = 0
    for entry in catalogue.entries:
        try:
            catalogue.convert(entry)
        except Unusable:
            continue
        converted += 1
    return converted


def peer(document: Document) -> int:
    """The same operations with their parameters and bodies by a library that tests APIs.

    It makes no tools of them. A converter into tools would be compared here were one installed.
    """
    found = schemathesis.openapi.from_dict(document.root).get_all_operations()
    return sum(1 for each in found if each.ok())


def measure(*, most: int, times: int) -> list[Figure]:
    """The rows, over at most `most` documents, each the best of so many times. Takes CPU."""
    named: list[tuple[str, Callable[[Document], Any], int | None]] = [
        ("one operation after the other into tools", convert, None),
        ("with what a person reviews, and suggestions", read_operations, None),
        ("operations by schemathesis, no tools", peer, PEER_BYTES),
    ]
    figures = [Figure(SECTION, name, "ms") for name, _, _ in named]
    read = Figure(SECTION, "reading the text, YAML", "ms")
    memory = Figure(SECTION, "memory of the tools (floor: of the document)", "MB")
    for name, raw in documents(most):
        began = time.process_time()
        document = read_document(raw, source=name, max_bytes=len(raw))
        reading = (time.process_time() - began) * 1_000
        text = json.dumps(document.root)
        floor = best(partial(json.loads, text), times)
        if name.endswith((".yaml", ".yml")):
            read.floor.append(floor)
            read.ours.append(reading)
        for figure, (_, work, limit) in zip(figures, named, strict=True):
            if limit is None or len(text) < limit:
                try:
                    taken = best(partial(work, document), times)
                except Exception:  # the library refuses what is no valid document
                    if limit is None:
                        raise
                    continue
                figure.floor.append(floor)
                figure.ours.append(taken)
        parsed, extra = sizes(text, document)
        memory.floor.append(parsed)
        memory.ours.append(extra)
    return [*figures, *([read] if read.ours else []), memory]


def documents(most: int) -> list[tuple[str, bytes]]:
    """Names and bytes of the documents, those with operations alone."""
    manifest = SPECS / "manifest.json"
    if not manifest.exists():
        return [("made-up.json", made_up())]
    entries = [each for each in json.loads(manifest.read_text()) if each["operations"]]
    return [(each["file"], Path(SPECS, each["file"]).read_bytes()) for each in entries[:most]]


def made_up() -> bytes:
    """A document of 200 operations on schemas that need each other."""
    schemas = {
        f"S{n}": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "What it is known by."},
                "next": {"$ref": f"#/components/schemas/S{(n + 1) % 50}"},
            },
        }
        for n in range(50)
    }
    paths = {
        f"/things{n}/{{id}}": {
            "post": {
                "operationId": f"change{n}",
                "description": "Changes one of them, and tells what it is then.",
                "parameters": [{"name": "id", "in": "path", "schema": {"type": "string"}}],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": f"#/components/schemas/S{n % 50}"}}
                    }
                },
                "responses": {"200": {"description": "It is done."}},
            }
        }
        for n in range(200)
    }
    info = {"title": "Made up", "version": "1"}
    root = {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}
    return json.dumps(root).encode()


def best(work: Callable[[], Any], times: int) -> float:
    """CPU milliseconds of the quickest of so many runs."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken) * 1_000


def sizes(text: str, document: Document) -> tuple[float, float]:
    """Megabytes of the document as plain data, and the most that its tools take besides."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        parsed = json.loads(text)
        middle = tracemalloc.get_traced_memory()[0]
        del parsed
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        kept = read_operations(document)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del kept
    return (middle - before) / 1e6, (peak - start) / 1e6
