"""Conversion as an import meets it: each document once, in a process that has read none before.

    python -m tests.bench.first_runs [folder]

Each document is given to a fork of a process that has imported the code and nothing else. There
its JSON text is read by `json.loads`, once, and then all its operations are made into tools, once;
CPU of the second by CPU of the first. `make bench` repeats both and takes the best of each.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.conversion import SPECS, convert

from smart_support.operations.document import Document, read_document
from smart_support.operations.spec import read_operations


def measured(text: str, document: Document, work: Callable[[Document], Any]) -> tuple[float, float]:
    """CPU milliseconds of `json.loads` and of `work`, each run once in a process of their own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        began = time.process_time()
        parsed = json.loads(text)
        middle = time.process_time()
        work(document)
        ended = time.process_time()
        del parsed
        with os.fdopen(write, "wb") as out:
            out.write(json.dumps(((middle - began) * 1e3, (ended - middle) * 1e3)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as given:
        parsing, working = json.load(given)
    os.waitpid(child, 0)
    return parsing, working


def main(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    works: dict[str, Callable[[Document], Any]] = {
        "into tools": convert,
        "with what a person reviews": read_operations,
    }
    found: dict[str, list[tuple[float, float, str, int]]] = {name: [] for name in works}
    for each in manifest:
        if not each["operations"]:
            continue
        raw = (folder / each["file"]).read_bytes()
        document = read_document(raw, source=each["file"], max_bytes=max(len(raw), 1))
        text = json.dumps(document.root)
        for name, work in works.items():
            floor, took = measured(text, document, work)
            found[name].append((took / floor, floor, each["file"], len(text)))
    for name, rows in found.items():
        ratios = sorted(ratio for ratio, *_ in rows)
        print(  # noqa: T201 - the figures are what this is for
            f"{name}: median {statistics.median(ratios):.2f}, p95"
            f" {ratios[int(len(ratios) * 0.95)]:.1f}, most {ratios[-1]:.1f} of {len(ratios)}"
        )
        for ratio, floor, file, size in sorted(rows, reverse=True)[:6]:
            print(f"  {ratio:6.1f}  {floor:8.3f} ms  {size:9} B  {file}")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SPECS)
