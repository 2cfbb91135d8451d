"""The shared conformance cases, where they are present, through the production path."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _shared() -> Path | None:
    """The cases lie beside the repository; a worktree of it may be one folder deeper."""
    for folder in (ROOT.parent, ROOT.parent.parent):
        found = folder / "shared" / "conformance"
        if (found / "call_cases.json").exists():
            return found
    return None


def cases(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    return [row["id"] for row in json.loads((folder / "call_cases.json").read_text())]


SHARED = _shared()

pytestmark = pytest.mark.skipif(SHARED is None, reason="../shared/conformance is not here")


@pytest.fixture(scope="module")
async def found() -> dict[str, list[str]]:
    """What was wrong with each case; all of them in one process, since its server starts slowly."""
    assert SHARED is not None
    path = [ROOT / "tests" / "resilience" / "conformance", ROOT, ROOT / "backend"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SHARED / "conformance.py"), "ours", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    printed = (await process.communicate())[0].decode()
    assert process.returncode == 0, printed
    wrong: dict[str, list[str]] = json.loads(printed.splitlines()[-1])
    return wrong


@pytest.mark.parametrize("case", cases(SHARED))
def test_every_case_passes(case: str, found: dict[str, list[str]]) -> None:
    assert found[case] == []
