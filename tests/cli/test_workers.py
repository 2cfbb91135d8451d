"""`smart-support serve --workers N`: one port, several processes, nothing left behind."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
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


async def until_there_are(number: int, pid: int) -> list[psutil.Process]:
    async with asyncio.timeout(60):
        while len(found := workers_of(pid)) != number:
            await asyncio.sleep(0.05)
    return found


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
        second.kill()
        async with asyncio.timeout(60):
            while second.pid in {one.pid for one in await until_there_are(2, server.process.pid)}:
                await asyncio.sleep(0.05)
        below = descendants(server.process.pid, data)
        status = await server.stop(signal.SIGTERM)

    shown, seen = (transcript_of(chat.frames) for chat in (one, two))
    assert shown.texts == seen.texts
    assert shown.seqs == seen.seqs
    assert "1001" in shown.texts[-1][1]
    assert first.pid in {process.pid for process in below}
    assert status == 0
    assert [process for process in below if running(process)] == []


async def test_they_end_when_their_parent_is_killed(
    environment: Environment, tmp_path: Path, migrated_database: Callable[[], str]
) -> None:
    lines = environment(DATABASE_URL=migrated_database(), SMART_SUPPORT_WORKERS="2")

    async with serving(lines, tmp_path) as server:
        workers = await until_there_are(2, server.process.pid)
        server.process.kill()
        gone, left = await asyncio.to_thread(psutil.wait_procs, workers, 30)

    assert (len(gone), left) == (2, [])
