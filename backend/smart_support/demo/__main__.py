"""Open the demo company: `python -m smart_support.demo --data DIR [--port 0]`.

Once it listens it prints one line of JSON, {"port": ..., "document": ...}, on standard output.
SIGTERM and SIGINT close it, with exit status 0.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import socket

from smart_support.demo.api import create_app
from smart_support.demo.company import Company, utc_now
from smart_support.demo.server import Server, address_of, bind
from smart_support.demo.store import DataFolderError, Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the shop until it is told to stop; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        listener = bind(options.host, options.port)
    except OSError as error:
        return _fail(f"Cannot listen on {options.host} port {options.port}: {error.strerror}.")
    with listener:
        try:
            asyncio.run(_run(options, listener))
        except DataFolderError as error:
            return _fail(str(error))
    return 0


def _fail(reason: str) -> int:
    sys.stderr.write(f"demo company: {reason}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m smart_support.demo",
        description="A shop with an HTTP API, to try Smart Support on.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that keeps its state")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one (default)")
    parser.add_argument("--api-key", help="require this key in the header X-Api-Key")
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="stop when standard input ends, so as not to outlive the parent",
    )
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


async def _run(options: argparse.Namespace, listener: socket) -> None:
    store = Store.open(options.data, utc_now)
    try:
        address = address_of(listener)
        app = create_app(Company(store, api_key=options.api_key), address)
        server = Server(app, lambda: _announce(listener.getsockname()[1], address))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        if options.until_stdin_closes:
            _watch_stdin(lambda: loop.call_soon_threadsafe(server.stop))
        await server.serve([listener])
    finally:
        await store.close()


def _announce(port: int, address: str) -> None:
    line = json.dumps({"port": port, "document": f"{address}/openapi.json"})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _watch_stdin(at_end: Callable[[], object]) -> None:
    """Call `at_end` when standard input ends.

    A thread, because an event loop cannot wait for every kind of file; a daemon, because nothing
    can wake it when the shop closes for another reason.
    """

    def read_to_end() -> None:
        while os.read(0, 4096):
            pass
        at_end()

    threading.Thread(target=read_to_end, name="stdin", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
