"""`smart-support serve --workers N`: one port, several processes, nothing left behind."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from tests.cli.test_serve import descendants, running, serving
from tests.support.chat_client import connected, transcript_of

Environment = Callable[..., dict[str, str]]


def workers_of(pid: int) -> list[psutil.Process]:
    return [
        process for process in psutil.Process(pid).children(recursive=True) if is_worker(process)
    ]


def is_worker(process: psutil.Process) -> bool:
    """Whether it is one that lives; one that was killed is there until its parent has seen it."""
    try:
        return "worker" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def policies_of(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """The names of those that still run, and how the kernel gives them the CPU (sched(7))."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            found.add((process.name(), os.sched_getscheduler(process.pid)))
    return found


async def until_there_are(number: int, pid: int) -> list[psutil.Process]:
    async with asyncio.timeout(60):
        while len(found := workers_of(pid)) != number:
            await asyncio.sleep(0.05)
    return found


def address_of(url: str) -> tuple[str, int]:
    """Host and port."""
    found = urlsplit(url)
    assert found.hostname is not None
    assert found.port is not None
    return found.hostname, found.port


async def difference(workers: list[psutil.Process], url: str) -> int:
    """How many connections the first of two has more than the second."""
    await asyncio.sleep(0.1)  # the last one may not have been taken yet
    _, port = address_of(url)
    one, other = (
        sum(1 for each in worker.net_connections("tcp") if each.laddr.port == port and each.raddr)
        for worker in workers
    )
    return one - other


async def test_they_share_a_port_come_back_when_killed_and_stop_together(
    environment: Environment, tmp_path: Path
) -> None:
    data = tmp_path / "data"

    async with serving(environment(), tmp_path, "--demo", "--workers", "2") as server:
        first, second = await until_there_are(2, server.process.pid)
        made = await server.post("customer", "/api/threads")
        thread = made.json()["id"]
        async with (
            connected(server.address) as one,
            connected(server.address) as two,
        ):
            for chat in (one, two):
                await chat.hello(server.token("customer"))
                await chat.follow(thread)
            await one.write(thread, "Where is my order 1001?")
            for chat in (one, two):
                await chat.turn()
        place = address_of(server.address)
        idle = [await asyncio.open_connection(*place) for _ in range(10)]
        async with asyncio.timeout(60):  # until the second serves too, and has caught up
            while abs(ahead := await difference([first, second], server.address)) > 1:
                idle.append(await asyncio.open_connection(*place))
        for _, writer in idle:
            writer.close()
        second.kill()
        async with asyncio.timeout(60):
            while second.pid in {one.pid for one in await until_there_are(2, server.process.pid)}:
                await asyncio.sleep(0.05)
        below = descendants(server.process.pid, data)
        policies = policies_of([psutil.Process(server.process.pid), *below])
        status = await server.stop(signal.SIGTERM)

    shown, seen = (transcript_of(chat.frames) for chat in (one, two))
    assert shown.texts == seen.texts
    assert shown.seqs == seen.seqs
    assert "1001" in shown.texts[-1][1]
    assert abs(ahead) <= 1
    assert "postgres" in {name for name, _ in policies}
    assert {policy for _, policy in policies} == {os.SCHED_BATCH}
    assert first.pid in {process.pid for process in below}
    assert status == 0
    assert [process for process in below if running(process)] == []


@pytest.mark.parametrize(
    ("chosen", "then"), [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE", "SCHED_IDLE")]
)
async def test_who_starts_them_lets_others_finish_unless_somebody_chose_otherwise(
    chosen: str, then: str
) -> None:
    words = (
        "import os; from smart_support.cli.workers import let_others_finish;"
        f" os.sched_setscheduler(0, os.{chosen}, os.sched_param(0)); let_others_finish();"
        " print(os.sched_getscheduler(0))"
    )

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", words, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)

    assert int(said) == getattr(os, then)


async def test_they_end_when_their_parent_is_killed(
    environment: Environment, tmp_path: Path, migrated_database: Callable[[], str]
) -> None:
    lines = environment(DATABASE_URL=migrated_database(), SMART_SUPPORT_WORKERS="2")

    async with serving(lines, tmp_path) as server:
        workers = await until_there_are(2, server.process.pid)
        server.process.kill()
        gone, left = await asyncio.to_thread(psutil.wait_procs, workers, 30)

    assert (len(gone), left) == (2, [])
