"""Documents into tools by one converter, each in a fork of its own; run by whoever has it.

    python one_each.py ours|fastmcp < lines with a JSON document each

Writes a line of JSON for each document: CPU milliseconds of `json.loads` of it and of its
conversion, megabytes of it as plain data and of the conversion beside it, and the tools as
`[name, schema]`; or what went wrong. Needs the standard library and the converter, nothing else.
"""

import asyncio
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SECONDS = 120
"""How long one document may take."""
GIGABYTES = 6

Convert = Callable[[Any], Iterable[tuple[str, Any]]]


def fastmcp() -> Convert:
    """`FastMCP.from_openapi`, and its tools as a client of it sees them."""
    import httpx2
    from fastmcp import FastMCP  # type: ignore[import-not-found]

    def convert(root: Any) -> Iterable[tuple[str, Any]]:
        client = httpx2.AsyncClient(base_url="http://127.0.0.1:9")
        server = FastMCP.from_openapi(openapi_spec=root, client=client, name="bench")
        found = asyncio.run(server.list_tools())
        return [(tool.name, tool.to_mcp_tool().inputSchema) for tool in found]

    return convert


def ours() -> Convert:
    """Ours, from the document that was read to the tools as a model sees them."""
    from smart_support.operations.document import Unusable, read_document
    from smart_support.operations.spec import Catalogue

    def convert(root: Any) -> Iterable[tuple[str, Any]]:
        catalogue = Catalogue(root)
        for entry, name in zip(catalogue.entries, catalogue.names, strict=True):
            try:
                yield name, catalogue.convert(entry).schema
            except Unusable:
                continue

    convert.prepared = lambda text: read_document(  # type: ignore[attr-defined]
        text.encode(), source="bench.json", max_bytes=1 << 30
    )
    return convert


def one(convert: Convert, text: str) -> dict[str, Any]:
    """What became of one document. In a fork."""
    signal.alarm(SECONDS)  # a limit on CPU makes the clock of CPU coarse on some systems
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
    gc.collect()
    before = _now()
    began = time.process_time()
    parsed = json.loads(text)
    floor = time.process_time() - began
    size = _now() - before
    prepared = getattr(convert, "prepared", None)
    given = parsed if prepared is None else prepared(text)
    Path("/proc/self/clear_refs").write_text("5")  # the most from here on
    start = _now()
    began = time.process_time()
    tools = list(convert(given))
    took = time.process_time() - began
    return {
        "floor": max(floor * 1e3, 0.001),
        "took": took * 1e3,
        "parsed": size,
        "extra": max(_most() - start, 0.0),
        "tools": tools,
    }


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1e3
    raise LookupError(name)


def _now() -> float:
    """Megabytes that this process has."""
    return _status("VmRSS")


def _most() -> float:
    """The most that it has had since it was asked to count."""
    return _status("VmHWM")


def forked(convert: Convert, text: str) -> str:
    """The line of one document."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            said: dict[str, Any] = one(convert, text)
            line = json.dumps(said)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
            line = json.dumps({"error": f"{type(error).__name__}: {error}"[:200]})
        with os.fdopen(write, "w") as out:
            out.write(line)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as given:
        line = given.read()
    _, status = os.waitpid(child, 0)
    return line or json.dumps({"error": f"ended with status {status}"})


def main() -> None:
    """Convert what comes in."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a converter remarks is not asked for
    convert = {"ours": ours, "fastmcp": fastmcp}[sys.argv[1]]()
    for text in sys.stdin:
        sys.stdout.write(forked(convert, text) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
