"""Keep the shop's state in one file that is always whole."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import IO, Self

from pydantic import ValidationError

from smart_support.demo.records import State
from smart_support.demo.seed import seed

Clock = Callable[[], datetime]


class DataFolderError(Exception):
    """The data folder cannot be used; the text says why and what to do."""


class Store:
    """The state in memory and its file on disk.

    Change `state` only while holding `changing`, call `changed`, and `save` before you answer:
    what was answered survives a crash, and a change is on disk either whole or not at all.
    """

    def __init__(self, folder: Path, lock: IO[str], state: State) -> None:
        self.state = state
        self.changing = asyncio.Lock()
        self._path = folder / "shop.json"
        self._lock = lock
        self._changes = 0
        self._saved = 0
        self._saving = asyncio.Lock()
        # One thread: snapshots reach the disk in the order in which they were taken, even when
        # the request that waited for one was cancelled.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shop-writer")

    @classmethod
    def open(cls, folder: Path, clock: Clock) -> Self:
        """Open the shop kept in `folder`, or a newly seeded one when there is none.

        Raises:
            DataFolderError: the folder cannot be written, belongs to a running shop, or holds a
                file that is not a shop's.
        """
        path = folder / "shop.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "shop.lock").open("a")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                state = State.model_validate_json(path.read_bytes())
            else:
                state = seed(clock())
                write_whole(path, state.model_dump_json())
        except BlockingIOError:
            lock.close()
            raise DataFolderError(
                f"{folder} is in use by another demo company. Stop it, or give another --data."
            ) from None
        except ValidationError as error:
            lock.close()
            raise DataFolderError(
                f"{path} is not a demo company's file ({error.error_count()} errors). "
                "Move it away to start afresh."
            ) from None
        except OSError as error:
            raise DataFolderError(
                f"{folder} cannot be used: {error.strerror}. Give another --data."
            ) from None
        return cls(folder, lock, state)

    def changed(self) -> None:
        """Note that the state on disk is no longer the newest."""
        self._changes += 1

    async def save(self) -> None:
        """Return when everything changed before this call is on disk.

        Calls that wait at the same time share one write.

        Raises:
            OSError: the disk refused; the change stays in memory and the next save takes it.
        """
        wanted = self._changes
        async with self._saving:
            if self._saved >= wanted:
                return
            async with self.changing:
                number, text = self._changes, self.state.model_dump_json()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, write_whole, self._path, text)
            self._saved = number

    async def close(self) -> None:
        """Save what is left and let the folder go."""
        try:
            await self.save()
        finally:
            self._writer.shutdown()
            self._lock.close()


def write_whole(path: Path, text: str) -> None:
    """Replace the file at `path` in one step, safely on disk before returning."""
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # the rename itself is data of the folder
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
