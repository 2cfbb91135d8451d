"""Log lines: an event name and fields, without secrets, written beside the event loop.

Our own lines (structlog) and those of libraries (logging) go through one renderer. Bind
`correlation_id`, `thread_id` and `turn_id` with `structlog.contextvars`; every line then has them.
What must not be in a line, `telemetry.redaction` takes out.
"""

import contextlib
import json
import logging
import queue
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from logging.handlers import QueueHandler, QueueListener
from typing import Any, TextIO

import orjson
import structlog
import uuid_utils
from structlog.typing import EventDict, Processor

from smart_support.telemetry.debug import DEBUG
from smart_support.telemetry.log_file import LogFile
from smart_support.telemetry.metrics import LOG_DROPPED
from smart_support.telemetry.redaction import HIDDEN, hide_secrets

__all__ = ["HIDDEN", "configure_logs", "hide_secrets", "new_correlation_id"]

QUEUE_LINES = 10_000
STOP_SECONDS = 5.0

# They log whole requests, which hold what customers wrote.
_TALKATIVE = (
    "alembic",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "langsmith",
    "openai",
    "urllib3",
    "uvicorn",
)


@contextlib.contextmanager
def configure_logs(
    level: str = "INFO",
    format: str = "console",  # noqa: A002 - the word of the setting
    *,
    stream: TextIO | None = None,
    file: LogFile | None = None,
    message_text: bool = False,
    queue_lines: int = QUEUE_LINES,
    stop_seconds: float = STOP_SECONDS,
) -> Iterator[None]:
    """Write every log line of this process, inside the block, to `stream`, and to `file` as JSON.

    Lines are rendered where they are logged, so that they show what was then, and written by a
    thread of its own. At the end of the block what is queued is written, and logging is as before.

    Args:
        level: DEBUG, INFO, WARNING or ERROR; lines below it are not logged.
        format: `console` for people, `json` (one object a line) for machines.
        stream: standard error if None.
        file: where to keep lines as well; each sink has a queue of its own, so that neither
            waits for the other.
        message_text: whether fields that hold what people wrote are shown.
        queue_lines: how many lines may wait to be written; beyond, lines are dropped and counted.
        stop_seconds: how long the end may take to write what is queued.
    """
    out = sys.stderr if stream is None else stream
    sinks: list[tuple[logging.Handler, logging.Formatter]] = [
        (logging.StreamHandler(out), _formatter(format, colors=out.isatty(), text=message_text))
    ]
    if file is not None:
        sinks.append((file.open(), _formatter("json", colors=False, text=message_text)))
    handlers, writers = [], []
    for sink, formatter in sinks:
        lines: queue.Queue[Any] = queue.Queue(queue_lines)
        handlers.append(_Queued(lines, level))
        handlers[-1].setFormatter(formatter)
        writers.append(_Writer(lines, sink, stop_seconds))
    with _sole_handlers(handlers, level):
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                *_shared(text=message_text),
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        for writer in writers:
            writer.start()
        try:
            yield
        finally:
            structlog.reset_defaults()
            for writer in writers:
                writer.stop()


def new_correlation_id() -> str:
    """An id that joins what a customer was told to what the log says; sorts by time (UUIDv7)."""
    return str(uuid_utils.uuid7())


def _shared(*, text: bool) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        partial(hide_secrets, message_text=text),
        # Ours, whatever was logged: not looked at for secrets.
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(format: str, *, colors: bool, text: bool) -> logging.Formatter:  # noqa: A002
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared(text=text),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _to_json(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event).decode()
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits
        return json.dumps(event)


@contextlib.contextmanager
def _sole_handlers(handlers: Sequence[logging.Handler], level: str) -> Iterator[None]:
    """Give the root logger these handlers alone; in the end restore what it had.

    While debug mode is on, every line reaches the handlers, and they choose.
    """
    root = logging.getLogger()
    talkative = [logging.getLogger(name) for name in _TALKATIVE]
    before, levels = root.handlers[:], [(each, each.level) for each in (root, *talkative)]
    root.handlers[:] = handlers
    root.setLevel(level)
    for each in talkative:
        each.setLevel(max(logging.WARNING, root.level))
    unwatch = DEBUG.watch(lambda on: root.setLevel(logging.DEBUG if on else level))
    try:
        yield
    finally:
        unwatch()
        root.handlers[:] = before
        for each, level_before in levels:
            each.setLevel(level_before)


class _Queued(QueueHandler):
    """Never waits: what does not fit into the queue is counted, and the count logged later."""

    def __init__(self, lines: "queue.Queue[Any]", level: str) -> None:
        super().__init__(lines)
        self._lines = lines
        self._least = logging.getLevelName(level)
        self._dropped = 0

    def filter(self, record: logging.LogRecord) -> Any:
        if record.levelno < self._least and not DEBUG.covers_here():
            return False
        return super().filter(record)

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._dropped += 1
            LOG_DROPPED.inc()
            return
        if self._dropped and self._lines.qsize() <= self._lines.maxsize // 2:
            dropped, self._dropped = self._dropped, 0
            structlog.get_logger(__name__).warning("log_lines_dropped", count=dropped)


class _Writer(QueueListener):
    """Writes until it is stopped; a stream that takes nothing more cannot hold up the end."""

    def __init__(
        self, lines: "queue.Queue[Any]", handler: logging.Handler, stop_seconds: float
    ) -> None:
        super().__init__(lines, handler)
        self._lines = lines
        self._stop_seconds = stop_seconds

    def stop(self) -> None:
        with contextlib.suppress(queue.Full):  # then it is stuck, and its thread ends with us
            self._lines.put(None, timeout=self._stop_seconds)  # None ends the loop of QueueListener
            thread = self._thread
            if thread is not None:
                thread.join(self._stop_seconds)
                if not thread.is_alive():  # else closing would wait for it
                    for sink in self.handlers:
                        sink.close()
