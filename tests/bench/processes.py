"""Processes of the benchmark: started, pinned, measured, and stopped whatever happens."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 15.0


def cpus(*, pinned: bool) -> tuple[set[int], set[int]]:
    """Where the process that is measured runs, and where all the rest does: PostgreSQL, the
    fakes, the load. The first has one CPU, the rest the others, as long as there are several.
    """
    found = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not pinned or len(found) < 2:
        return set(found), set(found)
    return set(found[:1]), set(found[1:])


def pin(pid: int, cpus: set[int]) -> None:
    """Keep a process, and what it starts from now on, on these CPUs; only Linux can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cpus)


@asynccontextmanager
async def started(*command: str, cpus: set[int]) -> AsyncIterator[tuple[int, int]]:
    """Run one of our modules until the block ends; yields its process id and its port.

    It ends when its standard input closes, so also when this process is killed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for us; we stop it when nothing needs it any more
    )
    try:
        pin(process.pid, cpus)
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(command)} did not start; its words are above")
        yield process.pid, json.loads(line)["port"]
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await _ended(process)


@asynccontextmanager
async def product(
    data_dir: Path, environment: Mapping[str, str], cpus: set[int], *arguments: str
) -> AsyncIterator[tuple[int, str]]:
    """Run `smart-support serve` until the block ends; yields its process id and address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "smart_support",
        "serve",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=data_dir,  # no .env of somebody's has a part in this
        env={**_environment(), **environment, "SMART_SUPPORT_DATA_DIR": str(data_dir)},
        start_new_session=True,
    )
    complaints = bytearray()
    draining = asyncio.create_task(_drain(process, complaints))
    try:
        pin(process.pid, cpus)
        assert process.stdout is not None
        address = ""
        async with asyncio.timeout(START_SECONDS):
            while line := (await process.stdout.readline()).decode():
                if found := re.search(r" runs at (http\S+)", line):
                    address = found[1]
                if "Ctrl-C" in line:
                    break
            else:
                await draining
                raise RuntimeError(f"the server did not start:\n{complaints.decode()}")
        yield process.pid, address
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await _ended(process)
        await draining


def _environment() -> dict[str, str]:
    """Ours, but that byte code is kept as it is where a program is installed."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


async def _drain(process: asyncio.subprocess.Process, kept: bytearray) -> None:
    """Read the log, so that it is written as in earnest, and keep its end."""
    assert process.stderr is not None
    while piece := await process.stderr.read(65536):
        kept += piece
        del kept[:-65536]


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def cpu_of(pid: int) -> float:
    """CPU seconds of one process so far, user and system, without its children's."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def cpu_of_family(pid: int) -> float:
    """CPU seconds so far of a process and everything it has started."""
    head = psutil.Process(pid)
    times = head.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in head.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # then it counts among the ended ones
            total += sum(child.cpu_times()[:2])
    return float(total)


def postmaster(data_dir: Path) -> int:
    """The process id of the embedded PostgreSQL."""
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def interrupt_nobody(pid: int) -> None:
    """Have a process, 0 being this one, wait for a CPU when it wakes up; only Linux can.

    The load and the fakes stand for other machines, which take the CPU from nobody. What a process
    starts inherits it.
    """
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def pin_family(pid: int, cpus: set[int]) -> None:
    """Pin a process and everything that it has started."""
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            pin(process.pid, cpus)
