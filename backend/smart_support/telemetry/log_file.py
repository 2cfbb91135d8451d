"""A log file that begins anew when it is too large or a new period begins, and keeps so many."""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedWriter, FileIO, TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from smart_support.errors import SetupError
from smart_support.telemetry.metrics import LOG_DROPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """Where lines are kept: `path`, and `path.1` (the newest) to `path.<keep>` before it.

    `max_bytes`: size of one file. `period`: seconds, counted from midnight UTC, after which a
    new one begins. One process writes one file.
    """

    path: Path
    max_bytes: int = 10 * 1024 * 1024
    period: float = 86_400.0
    keep: int = 7
    clock: Callable[[], float] = time.time

    def open(self) -> logging.Handler:
        """What writes it.

        Raises:
            SetupError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _Rotating(self)
        except OSError as error:
            raise SetupError(
                f"Cannot write the log file {self.path}: {error.strerror}. Make its folder "
                "writable, or set SMART_SUPPORT_LOG_FILE to another place."
            ) from error


class _Rotating(RotatingFileHandler):
    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._period = file.clock() // file.period
        if file.path.exists():
            self._period = file.path.stat().st_mtime // file.period
        super().__init__(
            file.path, maxBytes=file.max_bytes, backupCount=file.keep, encoding="utf-8", delay=False
        )

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        raw = FileIO(self.baseFilename, "a", opener=private)
        return TextIOWrapper(BufferedWriter(raw), encoding="utf-8", errors="replace")

    def shouldRollover(self, record: logging.LogRecord) -> int:  # noqa: N802 - logging's name
        now = self._file.clock() // self._file.period
        if now != self._period:
            self._period = now
            if self._file.path.exists() and self._file.path.stat().st_size:
                return 1
        return super().shouldRollover(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # lines that a full disk refused were counted then
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        # A full disk: the line is lost, and the count says so. Telling it by a line would not help.
        LOG_DROPPED.inc()
