"""Processes that share a socket have as many connections as each other, and none waits for one."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from smart_support.cli.spread import Acceptor, Share, Shares


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield listener


class Worker:
    """What one process does with the connections that it takes; several live in this one."""

    def __init__(self) -> None:
        self.connections: set[asyncio.BaseTransport] = set()
        self.acceptor: Acceptor

    def protocol(self) -> asyncio.Protocol:
        worker = self

        class Connection(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport
                worker.connections.add(transport)
                assert isinstance(transport, asyncio.Transport)
                transport.write(b"!")

            def connection_lost(self, exc: Exception | None) -> None:
                worker.connections.discard(self.transport)

        return Connection()


@asynccontextmanager
async def working(
    listener: socket.socket, shares: Shares, numbers: list[int]
) -> AsyncIterator[list[Worker]]:
    """Workers on a listener, each with a socket object of its own, as processes have."""
    workers = [Worker() for _ in numbers]
    sockets = [socket.socket(fileno=os.dup(listener.fileno())) for _ in numbers]
    for number, worker, own in zip(numbers, workers, sockets, strict=True):
        worker.acceptor = Acceptor(
            own,
            worker.protocol,
            Share(shares, number),
            lambda worker=worker: len(worker.connections),  # type: ignore[misc]
        )
    try:
        yield workers
    finally:
        for worker, own in zip(workers, sockets, strict=True):
            worker.acceptor.close()
            await worker.acceptor.wait_closed()
            for transport in list(worker.connections):
                transport.close()
            own.close()
        await asyncio.sleep(0)


async def connected(listener: socket.socket) -> asyncio.StreamWriter:
    """A connection that was taken by somebody."""
    host, port = listener.getsockname()
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, port)
        assert await reader.readexactly(1) == b"!"
    return writer


async def let_go(connections: list[asyncio.StreamWriter]) -> None:
    for writer in connections:
        writer.close()
    for writer in connections:
        await writer.wait_closed()


async def test_one_after_the_other_they_are_shared_evenly(tmp_path: Path) -> None:
    with listening() as listener, Shares.made(3, tmp_path) as shares:
        async with working(listener, shares, [0, 1, 2]) as workers:
            customers = [await connected(listener) for _ in range(30)]

            assert sorted(len(worker.connections) for worker in workers) == [10, 10, 10]
            await let_go(customers)


async def test_all_at_once_nobody_has_nearly_all(tmp_path: Path) -> None:
    with listening() as listener, Shares.made(2, tmp_path) as shares:
        async with working(listener, shares, [0, 1]) as workers:
            customers = await asyncio.gather(*(connected(listener) for _ in range(200)))

            few, many = sorted(len(worker.connections) for worker in workers)
            assert few + many == 200
            assert many - few <= 200 // 16
            await let_go(customers)


async def test_who_begins_anew_has_those_that_come_next(tmp_path: Path) -> None:
    with listening() as listener, Shares.made(2, tmp_path) as shares:
        async with working(listener, shares, [0]) as [old]:
            customers = [await connected(listener) for _ in range(8)]
            async with working(listener, shares, [1]) as [new]:
                customers += [await connected(listener) for _ in range(8)]

                assert (len(old.connections), len(new.connections)) == (8, 8)
                await let_go(customers)


async def test_a_process_that_hangs_stops_nobody(tmp_path: Path) -> None:
    # It says that it takes connections, has none, and takes none.
    with listening() as listener, Shares.made(2, tmp_path) as shares:
        shares.tell(1, 0)
        async with working(listener, shares, [0]) as [worker]:
            customers = [await connected(listener) for _ in range(50)]

            assert len(worker.connections) == 50
            await let_go(customers)


async def test_who_takes_no_more_or_is_gone_is_left_nothing(tmp_path: Path) -> None:
    with listening() as listener, Shares.made(2, tmp_path) as shares:
        async with working(listener, shares, [0]) as [worker]:
            async with working(listener, shares, [1]):
                pass
            assert shares.least() == len(worker.connections) == 0
            customers = [await connected(listener) for _ in range(3)]

            assert shares.least() == 3
            await let_go(customers)
        assert shares.least() == 0  # nobody serves


async def test_connections_that_ended_are_not_counted(tmp_path: Path) -> None:
    with listening() as listener, Shares.made(2, tmp_path) as shares:
        async with working(listener, shares, [0, 1]) as workers:
            await let_go([await connected(listener) for _ in range(6)])
            async with asyncio.timeout(10):
                while any(worker.connections for worker in workers):
                    await asyncio.sleep(0)
            for worker in workers:
                worker.acceptor.tell()

            assert shares.least() == 0


def test_all_processes_see_the_same(tmp_path: Path) -> None:
    with (
        Shares.made(2, tmp_path) as shares,
        Shares.of(os.dup(shares.descriptor)) as seen,
    ):
        assert seen.least() == 0
        shares.tell(0, 7)
        seen.tell(1, 5)
        assert (shares.least(), seen.least()) == (5, 5)
        shares.leave(1)
        assert seen.least() == 7
    assert list(tmp_path.iterdir()) == []


async def test_without_a_free_descriptor_it_waits_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smart_support.cli.spread.SPARE_SECONDS", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with listening() as listener, Shares.made(1, tmp_path) as shares:
        async with working(listener, shares, [0]) as [worker]:
            client = socket.create_connection(listener.getsockname())
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                await asyncio.sleep(0.05)
                assert not worker.connections
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            async with asyncio.timeout(10):
                while not worker.connections:
                    await asyncio.sleep(0.01)
            client.close()
