"""Our converter beside a public one that another interpreter has.

    python -m tests.bench.converters /tmp/fastmcp/bin/python

The public one is no dependency of ours, since what it needs fights with what we lock.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
from tests.bench.conversion import documents
from tests.bench.figures import Figure, table
from tests.bench.processes import ROOT

from smart_support.operations.document import read_document

SECTION = "Documents into tools (floor: FastMCP.from_openapi, each document once, in a fork)"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def measure(python: str, *, most: int) -> list[Figure]:
    """The rows, over at most `most` documents; `python` is an interpreter that has fastmcp."""
    texts = []
    for name, raw in documents(most):
        root = read_document(raw, source=name, max_bytes=len(raw)).root
        texts.append(json.dumps(root))
    theirs = converted(python, "fastmcp", texts)
    ours = converted(sys.executable, "ours", texts)
    loaded = Figure(SECTION, "documents that give any tool", "", "more")
    usable = Figure(SECTION, "usable operations of all documents", "", "more")
    cpu = Figure(SECTION, "CPU, both have the document", "ms")
    beside = Figure(SECTION, "CPU by json.loads of the document", "times")
    memory = Figure(SECTION, "most memory beside the document", "MB")
    for side, found in (("floor", theirs), ("ours", ours)):
        counts = [usable_tools(each.get("tools", ())) for each in found]
        getattr(loaded, side).append(sum(count > 0 for count in counts))
        getattr(usable, side).append(sum(counts))
    for their, our in zip(theirs, ours, strict=True):
        for side, each in (("floor", their), ("ours", our)):
            if "error" in their:
                continue  # nothing to compare with
            getattr(cpu, side).append(each["took"])
            getattr(beside, side).append(each["took"] / each["floor"])
            getattr(memory, side).append(max(each["extra"], 0.1))
    return [loaded, usable, cpu, beside, memory]


def usable_tools(tools: list[tuple[str, Any]] | tuple[()]) -> int:
    """How many could be given to a model: name allowed and its own, schema whole and valid."""
    names: set[str] = set()
    for name, schema in tools:
        if (
            _NAME.fullmatch(name)
            and name not in names
            and isinstance(schema, dict)
            and schema.get("type") == "object"
            and jsonschema_rs.meta.is_valid(schema)
            and all(_leads_somewhere(schema, each) for each in _references(schema))
        ):
            names.add(name)
    return len(names)


def _references(node: Any) -> list[str]:
    found, waiting = [], [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if isinstance(reference := each.get("$ref"), str):
                found.append(reference)
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return found


def _leads_somewhere(root: Any, reference: str) -> bool:
    place, _, pointer = reference.partition("#")
    node = root
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            return False
    return not place


def converted(python: str, name: str, texts: list[str]) -> list[dict[str, Any]]:
    """What a converter made of each document (`one_each`), run by the interpreter `python`."""
    worker = Path(__file__).with_name("one_each.py")
    path = os.pathsep.join((str(ROOT / "backend"), str(ROOT))) if name == "ours" else ""
    done = subprocess.run(
        [python, str(worker), name],
        input="\n".join(texts) + "\n",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "FASTMCP_LOG_LEVEL": "CRITICAL"},
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    sys.stdout.write(table(measure(sys.argv[1], most=100)) + "\n")
