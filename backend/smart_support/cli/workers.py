"""Several processes behind one port: started, started again when one dies, and stopped together.

They share the listening socket and the database, which are the parent's: it starts the embedded
PostgreSQL, if there is one, and stops it after the last of them. Connections are spread evenly
(`cli/spread`).
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import structlog

from smart_support.cli.spread import Share, Shares
from smart_support.errors import SetupError
from smart_support.settings import Settings
from smart_support.telemetry.metrics import for_several_workers, worker_ended

log = structlog.get_logger()
Say: TypeAlias = Callable[[str], None]

METRICS_FOLDER = "metrics"
"""In the data folder: what the workers count, so that one of them can tell of all."""

READY = "\x1eready"
"""What a worker says, to us alone, once it serves."""

RESTART_SECONDS = 1.0
QUICK_DEATHS = 5
"""Times in a row a worker may die young before everything is given up."""

YOUNG_SECONDS = 10.0
KILL_SECONDS = 20.0
"""How much longer than the grace time a worker may take to stop before it is killed."""


def let_others_finish() -> None:
    """Make this process, and all that it starts from now on, interrupt nobody when it wakes up.

    Each statement wakes PostgreSQL and then one of us. Where all CPUs are busy, each time somebody
    else would be put aside in the middle of their work; as a batch (sched(7)) whoever wakes up
    waits until a CPU comes to them, and has the same share of it as before. With several processes
    a turn costs less then (docs/benchmarks.md); where a CPU is free nothing changes.

    Only Linux can. A policy that somebody chose is left alone.
    """
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:  # a sandbox may forbid it
        log.info("batch_scheduling_refused", reason=str(error))


async def run_workers(
    settings: Settings,
    url: str,
    listener: socket.socket,
    shares: Shares,
    document: str | None,
    *,
    stop: asyncio.Event,
    say: Say,
) -> None:
    """Keep as many processes serving as the settings say, until `stop`.

    Raises:
        SetupError: one of them does not stay up.
    """
    numbers = settings.smart_support_data_dir.absolute() / METRICS_FOLDER
    environment = {**os.environ, **_lines(settings, url), **for_several_workers(numbers)}
    crews = [
        _Worker(
            Share(shares, number),
            listener,
            environment | _own_lines(settings, number),
            document,
            settings.smart_support_stop_grace,
            say,
            ended=partial(worker_ended, folder=numbers),
        )
        for number in range(settings.smart_support_workers)
    ]
    tasks = [asyncio.create_task(crews[0].keep(stop), name="worker 0")]
    loop = asyncio.get_running_loop()

    def reload() -> None:
        for crew in crews:
            crew.tell(signal.SIGHUP)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        # It prepares what the others rely on.
        ready = asyncio.create_task(crews[0].ready.wait())
        await asyncio.wait([ready, *tasks], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        tasks += [
            asyncio.create_task(crew.keep(stop), name=f"worker {crew.number}") for crew in crews[1:]
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        stop.set()
        loop.remove_signal_handler(signal.SIGHUP)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _lines(settings: Settings, url: str) -> dict[str, str]:
    """What the workers must know that was not in the environment."""
    lines = {
        "DATABASE_URL": url,
        "SMART_SUPPORT_WORKERS": str(settings.smart_support_workers),
        "SMART_SUPPORT_TOOL_ALLOWED_HOSTS": settings.smart_support_tool_allowed_hosts,
    }
    if settings.smart_support_agents_file is not None:
        lines["SMART_SUPPORT_AGENTS_FILE"] = str(settings.smart_support_agents_file)
    return lines


def _own_lines(settings: Settings, number: int) -> dict[str, str]:
    """What one worker must know: a log file has one writer."""
    file = settings.smart_support_log_file
    return {} if file is None else {"SMART_SUPPORT_LOG_FILE": f"{file}.worker{number}"}


class _Worker:
    """One place for a process that serves, and whichever process has it."""

    def __init__(
        self,
        share: Share,
        listener: socket.socket,
        environment: dict[str, str],
        document: str | None,
        grace: float,
        say: Say,
        ended: Callable[[int], None],
    ) -> None:
        self._ended = ended
        self._share = share
        self.number = share.number
        self._listener = listener
        self._environment = environment
        self._document = document
        self._grace = grace
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self.ready = asyncio.Event()

    def tell(self, number: signal.Signals) -> None:
        """Send the process a signal, if there is one."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def keep(self, stop: asyncio.Event) -> None:
        """Have a process serve until `stop`, another one whenever one dies."""
        loop = asyncio.get_running_loop()
        young, first = 0, self.number == 0
        while not stop.is_set():
            began = loop.time()
            status = await self._run(stop, first=first)
            if stop.is_set():
                return
            first = False
            young = young + 1 if loop.time() - began < YOUNG_SECONDS else 0
            log.error("worker_died", number=self.number, status=status)
            if young >= QUICK_DEATHS:
                raise SetupError("A worker does not stay up; its words are above.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RESTART_SECONDS)

    async def _run(self, stop: asyncio.Event, *, first: bool) -> int:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "smart_support", "worker", "--listener", str(self._listener.fileno())),
            *self._options(first=first),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[self._listener.fileno(), self._share.shares.descriptor],
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for us, who tell the workers
        )
        ended = asyncio.create_task(self._hear_out(process))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self.tell(signal.SIGTERM)
            await asyncio.wait({ended}, timeout=self._grace + KILL_SECONDS)
        finally:
            stopping.cancel()
            if not ended.done():
                log.error("worker_killed", number=self.number)
                self.tell(signal.SIGKILL)
            await ended
            self._share.shares.leave(self.number)
            self._ended(process.pid)
        return process.returncode or 0

    def _options(self, *, first: bool) -> Iterator[str]:
        yield from ("--shares", str(self._share.shares.descriptor), "--number", str(self.number))
        if first:
            yield "--first"
        if self._document is not None:
            yield from ("--document", self._document)

    async def _hear_out(self, process: asyncio.subprocess.Process) -> None:
        """Repeat what the process says until it ends."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            said = line.decode(errors="replace").rstrip("\n")
            if said == READY:
                self.ready.set()
            else:
                self._say(said)
        await process.wait()
