"""The monitor: how process and dependencies are, whatever one of them does."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge
from tests.support.server import logged
from tests.support.turns import Clock

from smart_support.errors import DatabaseUnavailable
from smart_support.telemetry import metrics, monitor
from smart_support.telemetry.monitor import Monitor


def value(name: str, /, **labels: str) -> float:
    return metrics.snapshot()[f"smart_support_{name}", tuple(sorted(labels.items()))]


async def well() -> None:
    await asyncio.sleep(0)


async def refuses() -> None:
    raise DatabaseUnavailable("postgresql://u:hunter2@db is gone")


async def breaks() -> None:
    raise ZeroDivisionError


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_each_dependency_stands_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(monitor, "CHECK_SECONDS", 0.05)
    watching = Monitor(
        looks={"a": well, "b": refuses, "c": breaks, "d": hangs}, folder=tmp_path, clock=Clock()
    )

    with logged():
        await watching.look()

    assert {name: found.ok for name, found in watching.standing.items()} == {
        "a": True,
        "b": False,
        "c": False,
        "d": False,
    }
    assert watching.standing["b"].reason == ("DB_UNAVAILABLE: postgresql://u:[hidden]@db is gone")
    assert watching.standing["d"].reason == "no answer within 0.05 s"
    assert [value("dependency_up", name=name) for name in "abcd"] == [1, 0, 0, 0]


async def test_remembers_since_when_and_tells_of_changes(tmp_path: Path) -> None:
    clock = Clock()
    watching = Monitor(looks={}, folder=tmp_path, clock=clock)

    with logged() as lines:
        for ok in (True, False, False, True):
            watching.note("model", ok=ok, reason=None if ok else "MODEL_UNAVAILABLE")
            clock.pass_by(60)

    assert [line["event"] for line in lines] == ["dependency_failing", "dependency_recovered"]
    assert watching.failing == []
    assert (clock.now - watching.standing["model"].since).total_seconds() == 60


async def test_measures_the_process(tmp_path: Path) -> None:
    own = Gauge("own", "Of this test", registry=CollectorRegistry())
    waiting = Gauge("waiting", "Of this test", registry=CollectorRegistry())

    async def count() -> float:
        return 7

    watching = Monitor(
        looks={}, folder=tmp_path, gauges=[(own, lambda: 3)], counts=[(waiting, count)]
    )

    await watching.look()

    assert value("process_memory_bytes") > 1e6
    assert 0 < value("disk_percent") <= 100
    assert 0 < value("memory_percent") <= 100
    assert value("process_open_fds") > 2
    assert value("process_tasks") >= 1
    assert (own._value.get(), waiting._value.get()) == (3, 7)


async def test_looks_again_and_again_and_leaves_no_task_behind(tmp_path: Path) -> None:
    looked, before = asyncio.Event(), asyncio.all_tasks()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    def after() -> None:
        if len(waits) == 3:
            looked.set()

    watching = Monitor(looks={"a": well}, folder=tmp_path)
    task = asyncio.create_task(watching.run(30.0, after, sleep))
    async with asyncio.timeout(10):
        await looked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert waits[:3] == [30.0] * 3
    assert asyncio.all_tasks() == before
