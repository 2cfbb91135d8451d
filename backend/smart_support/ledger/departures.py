"""Which calls a process has let leave, in a file that outlives it when it is killed.

The ledger says `sent` a moment before the first byte leaves. Of a process that dies in between,
whoever comes after it on the same machine reads here that the call never left. The system keeps
what was written to a file however its writer dies; only the machine itself can lose it. So what a
file does not say counts under four conditions: it is of the process that the ledger names, that
process is dead, the machine has not been started anew since, and the file was never given up.
Otherwise nothing is known, and the call's outcome is unknown.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger()

KEPT_SECONDS = 86_400.0

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """What names the time since this machine was started; None if it cannot be told."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None


class Departures:
    """The file of the process `owner` in `folder`, and what those of others say."""

    def __init__(self, folder: Path, owner: int, *, boot: str | None = None) -> None:
        self.owner = owner
        self._folder = folder
        self._boot = boot or boot_id()
        self._file: int | None = None

    @contextmanager
    def kept(self) -> Iterator["Departures"]:
        """Write inside the block. Where no file can be kept, nothing will be known afterwards."""
        if self._boot is not None:
            try:
                self._clear_away()
                self._file = self._open()
            except OSError as error:
                log.warning("departures_not_kept", error=str(error))
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """Write no more. The file stays: a call may still be on its way to its end."""
        if self._file is not None:
            os.close(self._file)  # which lets go of its lock
            self._file = None

    def leaves(self, call_id: str) -> None:
        """Note that the first byte of this call is about to leave."""
        if self._file is None:
            return
        line = f"{call_id}\n".encode()
        try:
            written = os.write(self._file, line)
        except OSError as error:
            written, line = 0, str(error).encode()
        if written != len(line):
            log.error("departures_given_up", reason=line.decode(errors="replace").strip())
            with contextlib.suppress(FileNotFoundError):
                self._path(self.owner).unlink()
            self.close()

    def never_left(self, owner: int | None, call_id: str) -> bool:
        """Whether the call that `owner` has noted as sent surely never left it."""
        if owner is None or self._boot is None:
            return False
        try:
            with self._path(owner).open("rb") as file:
                # Held by whoever writes it for as long as it lives: it may just be about to.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return f"{call_id}\n".encode() not in file.readlines()
        except OSError:  # there is none, or its process lives
            return False

    def _path(self, owner: int) -> Path:
        return self._folder / f"{self._boot}.{owner}"

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self._path(self.owner), flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        return file

    def _clear_away(self) -> None:
        """Remove the files of processes that are long gone: their turns are over."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    path.unlink()
