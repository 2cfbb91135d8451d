"""How the process and what it depends on are, looked at again and again."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import psutil  # type: ignore[import-untyped]
import structlog
from prometheus_client import Gauge

from smart_support.errors import SupportError
from smart_support.telemetry import metrics
from smart_support.telemetry.redaction import redacted

log = structlog.get_logger()

CHECK_SECONDS = 5.0
MOST_AT_ONCE = 10
"""Of those that are asked for anew; many that hang must not hold up the others for long."""
LAG_SECONDS = 1.0
"""How often the lateness of the event loop is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a dependency was last found. `since`: how long it has been so, unbroken.

    `away`: nothing answers there at all, so that asking it for something would be in vain.
    """

    name: str
    ok: bool
    since: datetime
    reason: str | None = None
    away: bool = False


Looks = Mapping[str, Callable[[], Awaitable[None]]]
"""Name -> what returns if the dependency is well and raises if it is not."""


class NotWell(Exception):
    """What was looked at is not there, or says that it is not well; the text is for operators."""


class Away(NotWell):
    """Nothing answers there, or only what stands before it."""


async def _none() -> Looks:
    return {}


class Monitor:
    """Keeps the gauges of this process up to date and knows how its dependencies stand."""

    def __init__(
        self,
        *,
        looks: Looks,
        more: Callable[[], Awaitable[Looks]] = _none,
        folder: "os.PathLike[str]",
        gauges: Sequence[tuple[Gauge, Callable[[], float]]] = (),
        counts: Sequence[tuple[Gauge, Callable[[], Awaitable[float]]]] = (),
        notes: Sequence[Callable[[], None]] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`folder`: whose disk is watched. `counts`: gauges that take a question to be answered.

        `more`: asked before each look for those that come and go; who is gone is forgotten.
        `notes`: called to set gauges that have labels of their own.
        """
        self._notes = notes
        self._looks = looks
        self._more = more
        self._found: Looks = {}
        self._folder = folder
        self._gauges = gauges
        self._counts = counts
        self._clock = clock
        self._process = psutil.Process()
        self._process.cpu_percent(None)  # the first call only sets the beginning
        self._standing: dict[str, Standing] = {}
        self._held: dict[str, datetime] = {}
        self._changed: list[Callable[[Standing], None]] = []
        self._lag = 0.0

    @property
    def standing(self) -> Mapping[str, Standing]:
        """What is known of each dependency that was looked at."""
        return self._standing

    @property
    def failing(self) -> Sequence[Standing]:
        return [each for each in self._standing.values() if not each.ok]

    def when_changed(self, tell: Callable[[Standing], None]) -> None:
        """Have `tell` called with each dependency that begins to fail, or works again.

        It must not raise, and must not take long.
        """
        self._changed.append(tell)

    def note(
        self,
        name: str,
        *,
        ok: bool,
        reason: str | None = None,
        away: bool = False,
        holds: float = 0.0,
    ) -> None:
        """Say how a dependency is, as somebody who just used it knows.

        `holds`: for so many seconds a look that finds it well does not count, since a look tries
        less than use does.
        """
        self._held.pop(name, None)
        if holds:
            self._held[name] = self._clock() + timedelta(seconds=holds)
        before = self._standing.get(name)
        reason = None if reason is None else redacted(reason)
        if before is not None and before.ok == ok:
            self._standing[name] = replace(before, reason=reason, away=away)
            return
        found = Standing(name=name, ok=ok, since=self._clock(), reason=reason, away=away)
        self._standing[name] = found
        metrics.DEPENDENCY_UP.labels(name).set(1 if ok else 0)
        if not ok or before is not None:
            for tell in self._changed:
                tell(found)
        if not ok:
            log.warning("dependency_failing", name=name, reason=reason)
        elif before is not None:
            log.info("dependency_recovered", name=name)

    async def run(
        self,
        every: float,
        after: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Look every `every` seconds until cancelled; `after` is called after each look."""
        lag = asyncio.create_task(self._measure_lag(), name="loop lag")
        try:
            while True:
                await sleep(every)
                await self.look()
                after()
        finally:
            lag.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await lag

    async def look(self) -> None:
        """Look at everything once. Whatever hangs or fails is one that does not stand well."""
        self.measure()
        await asyncio.gather(
            *(self._look(name, look) for name, look in self._looks.items()),
            *(self._count(gauge, count) for gauge, count in self._counts),
            self._look_at_more(),
        )

    def measure(self) -> None:
        """Bring the gauges of this process up to date."""
        with contextlib.suppress(psutil.Error, OSError):
            metrics.CPU_PERCENT.set(self._process.cpu_percent(None))
            metrics.DESCRIPTORS.set(self._process.num_fds())
            metrics.MEMORY_PERCENT.set(psutil.virtual_memory().percent)
            metrics.DISK_PERCENT.set(psutil.disk_usage(str(self._folder)).percent)
        metrics.MEMORY_BYTES.set(metrics.memory_bytes())
        with contextlib.suppress(RuntimeError):  # outside of an event loop there are none
            metrics.TASKS.set(len(asyncio.all_tasks()))
        metrics.LOOP_LAG.set(self._lag)
        self._lag = 0.0
        for gauge, value in self._gauges:
            gauge.set(value())
        for note in self._notes:
            note()

    async def _look_at_more(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                found = await self._more()
        except (TimeoutError, SupportError) as error:  # the database's own standing says it too
            log.info("monitor_list_failed", error=type(error).__name__)
            return
        except Exception:
            log.exception("monitor_list_crashed")
            return
        for name in self._found.keys() - found.keys():
            self._forget(name)
        self._found = found
        room = asyncio.Semaphore(MOST_AT_ONCE)

        async def look_in_turn(name: str, look: Callable[[], Awaitable[None]]) -> None:
            async with room:  # waiting for it is none of the time that the look has
                await self._look(name, look)

        await asyncio.gather(*(look_in_turn(name, look) for name, look in found.items()))

    def _forget(self, name: str) -> None:
        self._held.pop(name, None)
        if self._standing.pop(name, None) is not None:
            # Values of several processes cannot be taken away; what is gone must not alert.
            metrics.DEPENDENCY_UP.labels(name).set(1)

    async def _look(self, name: str, look: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await look()
        except TimeoutError:
            self.note(name, ok=False, reason=f"no answer within {CHECK_SECONDS:g} s", away=True)
        except SupportError as error:
            self.note(name, ok=False, reason=f"{error.code}: {error}")
        except NotWell as error:
            self.note(name, ok=False, reason=str(error), away=isinstance(error, Away))
        except Exception as error:
            log.exception("monitor_look_crashed", name=name)
            self.note(name, ok=False, reason=type(error).__name__)
        else:
            if (until := self._held.get(name)) is None or self._clock() >= until:
                self.note(name, ok=True)

    async def _count(self, gauge: Gauge, count: Callable[[], Awaitable[float]]) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                gauge.set(await count())
        except (TimeoutError, SupportError) as error:  # the database's own standing says it too
            log.info("monitor_count_failed", error=type(error).__name__)

    async def _measure_lag(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_SECONDS)
            late = time.perf_counter() - began - LAG_SECONDS
            self._lag = max(self._lag, late)
