"""That the benchmark runs and shows everything. How fast things are is not for a test to say."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from tests.bench.__main__ import QUICK, Turns
from tests.bench.figures import Figure, spread, table
from tests.bench.processes import ROOT

COMPARED = [
    "read, answered and recorded",
    "read, CPU of the caller",
    "write, two commits",
    "write, CPU of the caller",
    "WebSocket round trip through uvicorn",
    "lookup by primary key",
    "one row written and committed",
]
DOCUMENTS = [
    "one operation after the other into tools",
    "with what a person reviews, and suggestions",
    "operations by schemathesis, no tools",
    "memory of the tools (floor: of the document)",
]
LAYERS = [
    *("ours", "stamina", "tenacity"),
    *("ours", "httpx-retries", "stamina", "tenacity") * 2,
    "one origin with one breaker",
]


async def start(out: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench", "--quick", "--out", str(out)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )


async def test_prints_every_row_and_writes_the_same_as_json(tmp_path: Path) -> None:
    process = await start(tmp_path)

    printed = (await process.communicate())[0].decode()

    assert process.returncode == 0, printed
    (path,) = tmp_path.glob("*.json")
    figures = json.loads(path.read_text())["figures"]
    turns = [figure.name for figure in Turns(QUICK).rows()]
    assert [figure["name"] for figure in figures] == turns + COMPARED + LAYERS + DOCUMENTS
    for figure in figures:
        assert f"  {figure['name']}  " in printed
        assert len(figure["ours"]) == 1
        assert not figure["better"] or figure["median_ratio"] > 0


async def test_stops_everything_when_it_is_interrupted(tmp_path: Path) -> None:
    process = await start(tmp_path)
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(b"Measuring turns"):
            break

    process.send_signal(signal.SIGINT)
    left = (await process.stdout.read()).decode()  # its end comes when nobody holds it any more

    assert await process.wait() == 128 + signal.SIGINT
    assert "Stopping" in left
    assert not list(tmp_path.iterdir())


def test_a_ratio_is_taken_within_a_round() -> None:
    figure = Figure("A turn", "1 session", "ms", floor=[10.0, 20.0, 40.0], ours=[30.0, 20.0, 80.0])

    assert figure.ratios() == [3.0, 1.0, 2.0]
    assert figure.record()["median_ratio"] == 2.0


@pytest.mark.parametrize(
    ("samples", "shown"),
    [([], "–"), ([0.0184], "0.018"), ([123.4], "123"), ([3.0, 1.0, 22.0], "3.00 (1.00–22.0)")],
)
def test_shows_a_median_and_its_spread(samples: list[float], shown: str) -> None:
    assert spread(samples) == shown
    assert f" {shown} " in table([Figure("S", "row", "ms", floor=samples, ours=[1.0])])


def test_names_each_section_once() -> None:
    rows = [Figure(section, f"row {section}", "ms") for section in ("one", "one", "two")]

    lines = table(rows).splitlines()

    assert [line for line in lines if line in {"one", "two"}] == ["one", "two"]
