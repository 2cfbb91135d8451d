"""The monitor: how process and dependencies are, whatever one of them does."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge
from tests.support.server import logged
from tests.support.turns import Clock

from smart_support.errors import DatabaseUnavailable
from smart_support.telemetry import metrics, monitor
from smart_support.telemetry.alerts import Alerts, Limits
from smart_support.telemetry.monitor import MOST_AT_ONCE, Looks, Monitor, NotWell


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


async def ails() -> None:
    raise NotWell("It answered 503.")


class Company:
    """What there is to look at, which changes as somebody imports or removes it."""

    def __init__(self, **looks: Callable[[], Awaitable[None]]) -> None:
        self.looks: Looks = looks

    async def __call__(self) -> Looks:
        return self.looks


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


class TestWhatComesAndGoes:
    async def test_is_looked_at_as_it_is_at_the_time(self, tmp_path: Path) -> None:
        clock, company = Clock(), Company(shop=well)
        watching = Monitor(looks={"a": well}, more=company, folder=tmp_path, clock=clock)
        alerts = Alerts(Limits(), [], source="here", clock=clock, monotonic=clock.monotonic)
        found: list[tuple[dict[str, bool], list[str]]] = []
        turns: list[Looks] = [{"shop": ails}, {"shop": ails, "post": well}, {"post": well}]

        def after() -> None:
            alerts.judge()
            standing = {name: each.ok for name, each in watching.standing.items()}
            firing = [each.key for each in alerts.firing if each.key.endswith(("shop", "post"))]
            found.append((standing, firing))
            if turns:
                company.looks = turns.pop(0)
            else:
                task.cancel()

        task = asyncio.create_task(watching.run(30.0, after, clock.sleep))
        with logged():
            async with asyncio.timeout(10):
                await asyncio.gather(task, return_exceptions=True)

        assert clock.waits[:4] == [30.0] * 4
        assert found == [
            ({"a": True, "shop": True}, []),
            ({"a": True, "shop": False}, ["service_unavailable/shop"]),
            ({"a": True, "shop": False, "post": True}, ["service_unavailable/shop"]),
            ({"a": True, "post": True}, []),
        ]

    async def test_is_looked_at_by_few_at_once(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(monitor, "CHECK_SECONDS", 0.05)
        at_once, most = 0, 0

        async def hang() -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            try:
                await asyncio.Event().wait()
            finally:
                at_once -= 1

        count = 2 * MOST_AT_ONCE + 1
        company = Company(**{f"api {number}": hang for number in range(count)})
        watching = Monitor(looks={}, more=company, folder=tmp_path, clock=Clock())

        with logged():
            await watching.look()

        assert (most, at_once) == (MOST_AT_ONCE, 0)
        assert [each.reason for each in watching.failing] == ["no answer within 0.05 s"] * count

    @pytest.mark.parametrize("listing", [refuses, breaks, hangs])
    async def test_keeps_its_standing_if_it_cannot_be_listed(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        listing: Callable[[], Awaitable[None]],
    ) -> None:
        company = Company(shop=ails)

        async def fail() -> Looks:
            await listing()
            raise AssertionError

        lists: list[Callable[[], Awaitable[Looks]]] = [company, fail, company]

        async def more() -> Looks:
            return await lists.pop(0)()

        watching = Monitor(looks={"a": well}, more=more, folder=tmp_path, clock=Clock())

        with logged() as lines:
            await watching.look()
            monkeypatch.setattr(monitor, "CHECK_SECONDS", 0.05)
            await watching.look()
            kept = dict(watching.standing)
            monkeypatch.undo()
            company.looks = {"shop": well}
            await watching.look()

        assert (kept["shop"].ok, kept["shop"].reason) == (False, "It answered 503.")
        assert (kept["a"].ok, watching.failing) == (True, [])
        assert {"monitor_list_failed", "monitor_list_crashed"} & {line["event"] for line in lines}
