"""The shared conformance cases, where they are present, with ledger and PostgreSQL in the path."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from tests.resilience.test_conformance import ROOT, SHARED, cases
from tests.support.database import Databases

pytestmark = pytest.mark.skipif(SHARED is None, reason="../shared/conformance is not here")

PEERS = Path(__file__).parent / "conformance"


@pytest.fixture(scope="module")
async def found(databases: Databases, template: str) -> dict[str, list[str]]:
    """What was wrong with each case."""
    assert SHARED is not None
    with databases.one(template) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SHARED / "conformance.py"), "ours", "--json"),
            stdout=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, [PEERS, ROOT, ROOT / "backend"])),
                "CONFORMANCE_DATABASE": url,
            },
        )
        printed = (await process.communicate())[0].decode()
    assert process.returncode == 0, printed
    wrong: dict[str, list[str]] = json.loads(printed.splitlines()[-1])
    return wrong


@pytest.mark.parametrize("case", cases(SHARED))
def test_every_case_passes(case: str, found: dict[str, list[str]]) -> None:
    assert found[case] == []
