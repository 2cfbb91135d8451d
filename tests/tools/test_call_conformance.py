"""The shared conformance cases, where they are present, with ledger and PostgreSQL in the path."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from tests.resilience.test_conformance import ROOT, SHARED, cases
from tests.support.database import Databases

pytestmark = pytest.mark.skipif(SHARED is None, reason="../shared/conformance is not here")

PEERS = Path(__file__).parent / "conformance"
SOAK = settings.get_current_profile_name() == "soak"

# The whole table takes a minute; the sending half runs it each time, without a ledger.
PREFIXES = [""] if SOAK else ["write.", "idem.", "basic."]
CASES = [case for case in cases(SHARED) if case.startswith(tuple(PREFIXES))]


@pytest.fixture(scope="module")
async def found(databases: Databases, template: str) -> dict[str, list[str]]:
    """What was wrong with each case; those of a prefix in one process."""
    assert SHARED is not None
    wrong: dict[str, list[str]] = {}
    with databases.one(template) as url:
        for prefix in PREFIXES:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(SHARED / "conformance.py"), "ours"),
                *([prefix] if prefix else []),
                "--json",
                stdout=asyncio.subprocess.PIPE,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(str, [PEERS, ROOT, ROOT / "backend"])),
                    "CONFORMANCE_DATABASE": url,
                },
            )
            printed = (await process.communicate())[0].decode()
            assert process.returncode == 0, printed
            wrong |= json.loads(printed.splitlines()[-1])
    return wrong


@pytest.mark.parametrize("case", CASES)
def test_every_case_passes(case: str, found: dict[str, list[str]]) -> None:
    assert found[case] == []
