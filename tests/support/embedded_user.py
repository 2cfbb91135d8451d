"""A program that uses an embedded PostgreSQL: says where it is, and leaves when its input ends."""

import asyncio
import signal
import sys
from pathlib import Path

from tests.support.database import FAST

from smart_support.database.embedded import embedded_postgres


async def main(folder: Path) -> None:
    async with embedded_postgres(folder, options=FAST) as url:
        print(url, flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


# A run in the background begins with SIGINT ignored, and asyncio leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    asyncio.run(main(Path(sys.argv[1])))
except KeyboardInterrupt:
    sys.exit(130)
