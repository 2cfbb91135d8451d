"""A company that counts what is done to it: a process of its own, which outlives whoever calls it.

    python -m tests.faults.company      # prints {"port": ...}, ends when its standard input closes

`POST /keyed` honours Idempotency-Key, `POST /keyless` takes none, `GET /read` changes nothing. The
first request of a run (`run` in body or query) is held before or after its effect if `hold` says
`before` or `after`, until the caller is gone or `/release` names the run. What was held before
its effect takes effect then, if `late` is set: the request had arrived, after all.
`/seen?run=` tells how many requests of the run came and how many effects they had.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter, defaultdict
from typing import Any
from urllib.parse import parse_qs, urlsplit

arrived: Counter[str] = Counter()
effects: Counter[str] = Counter()
keys: dict[str, int] = {}
released: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def take_effect(path: str, run: str, key: str | None) -> int:
    """The number of the effect; the same for the same key."""
    if path == "/read":
        return 0
    if path == "/keyed" and key is not None:
        if key not in keys:
            effects[run] += 1
            keys[key] = effects[run]
        return keys[key]
    effects[run] += 1
    return effects[run]


async def hold(run: str, reader: asyncio.StreamReader) -> None:
    gone = asyncio.ensure_future(reader.read(1))
    going = asyncio.ensure_future(released[run].wait())
    await asyncio.wait({gone, going}, return_when=asyncio.FIRST_COMPLETED)
    for each in (gone, going):
        each.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await each


async def answer(
    path: str, given: dict[str, Any], key: str | None, reader: asyncio.StreamReader
) -> dict[str, Any]:
    run = str(given["run"])
    if path == "/seen":
        return {"arrived": arrived[run], "effects": effects[run]}
    if path == "/release":
        released[run].set()
        return {}
    arrived[run] += 1
    how = given.get("hold") if arrived[run] == 1 else None
    if how == "before":
        await hold(run, reader)
        if not given.get("late"):
            raise ConnectionError
    number = take_effect(path, run, key)
    if how == "after":
        await hold(run, reader)
    return {"run": run, "number": number}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            url = urlsplit(head[0].split(" ")[1])
            given: dict[str, Any] = {k: v[0] for k, v in parse_qs(url.query).items()}
            given |= json.loads(body) if body else {}
            said = json.dumps(
                await answer(url.path, given, headers.get("idempotency-key"), reader)
            ).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                + f"Content-Length: {len(said)}\r\n\r\n".encode()
                + said
            )
            await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, lambda: os.read(0, 4096) or over.set())
    await over.wait()


if __name__ == "__main__":
    asyncio.run(main())
